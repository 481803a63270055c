"""`emoclim reproduce`: the extended paper's tables and figure, beside its own numbers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from emoclim.commands.options import BatchSize, Device, JointConfig, Root, Store, Workers, read_pairs, read_settings
from emoclim.commands.terminal import Table, View, command, new_app, print_lines, track
from emoclim.errors import ConfigError

if TYPE_CHECKING:
    from emoclim.data import Setting

ROLES = "clip, short_chunk_cnn, harmonic_cnn, clap"
app = new_app()


@command(app, forms=("json", "latex", "markdown"))
def reproduce(
    target: Annotated[
        Literal["table1", "table2", "table3", "table4", "table5", "figure2"],
        typer.Argument(help="As the extended version of the paper numbers them."),
    ],
    images: Annotated[Path | None, typer.Option(help="Manifest of the pictures; default data/images.csv.")] = None,
    audio: Annotated[Path | None, typer.Option(help="Manifest of the music; default data/audio.csv.")] = None,
    tagging: Annotated[
        Path | None, typer.Option(help="For table4: manifest of MagnaTagATune; default data/tagging.csv.")
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="Rows to make, as --explain names them or by encoder, as clap,clip; default all.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what would be done and what is missing; do nothing.")
    ] = False,
    encoder: Annotated[
        list[str] | None,
        typer.Option(help=f"PAPER'S=NAME of an encoder that stands in, the paper's being {ROLES}; default these."),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="PAPER'S=FILE of an encoder's parameters, as clap=FILE; default the published."),
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="PAPER'S.NAME=VALUE of an encoder, as clip.views=8; default the preset's.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download checkpoints that are not on this machine.")
    ] = False,
    preset: Annotated[
        Literal["paper", "paper-code"], typer.Option(help="Settings: what the paper says, or what its code does.")
    ] = "paper",
    config: JointConfig = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each training; default as in --preset.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the trainings; default 42.")] = None,
    store: Store = False,
    batch_size: BatchSize = None,
    workers: Workers = None,
    max_failures: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a manifest's items that may be missing or fail.")
    ] = 0.01,
    device: Device = "auto",
    workspace: Root = Path(),
) -> View:
    """Make a table of the paper anew.

    Extracts, trains heads and encoders, evaluates, and shows the paper's numbers beside your own. What is done is not
    done again. Whatever is not as in the paper (data, encoders, settings) is told. Exit code 3: some rows could not be
    made, or more items than --max-failures could not be used. See: emoclim prepare --list, for the data.
    """
    from emoclim.config import Settings
    from emoclim.config import preset as find_preset
    from emoclim.learning import Augmentations, EncoderTuning, load_joint_config
    from emoclim.pipeline import Request, Workspace, choose_encoders, plan_reproduction
    from emoclim.pipeline import reproduce as make

    base = find_preset(preset)
    settings, tuning, augmentations = base, EncoderTuning(), Augmentations()
    if config:
        settings, _, tuning, augmentations = load_joint_config(config, base, Settings)
    given = {"epochs": epochs, "seed": seed}
    files = {role: Path(file) for role, file in read_pairs(checkpoint, "--checkpoint", "clap=FILE").items()}
    names = read_pairs(encoder, "--encoder", "clap=timbre")
    request = Request(
        target,
        images,
        audio,
        tagging,
        tuple(rows.split(",")) if rows else (),
        choose_encoders(preset, names, files, _by_role(setting)),
        preset,
        settings.updated(**{name: value for name, value in given.items() if value is not None}),
        tuning,
        augmentations,
        store,
    )
    place = Workspace(workspace)
    if explain:
        plan = plan_reproduction(request, workspace=place)
        return View(plan.to_dict(), [Table(plan.table_rows())], plan.summary())
    result = make(
        request,
        download=download,
        batch_size=batch_size,
        workers=workers,
        workspace=place,
        device=device,
        track=track,
        tell=lambda line: print_lines([line], err=True),
    )
    return View(
        result.to_dict(),
        [Table(result.table_rows(), result.title)],
        result.summary(),
        paper=[result.paper_table()],
        incomplete=not result.complete or result.lost > max_failures,
    )


def _by_role(pairs: Sequence[str] | None) -> Mapping[str, Mapping[str, "Setting"]]:
    """``["clap.overlap=0.5"]`` as settings by role."""
    found: dict[str, dict[str, Setting]] = defaultdict(dict)
    for name, value in read_settings(pairs, "clap.overlap=0.5").items():
        role, dot, setting = name.partition(".")
        if not dot:
            raise ConfigError(f"--setting {name}={value} does not say of which encoder; write clap.{name}={value}")
        found[role][setting] = value
    return found
