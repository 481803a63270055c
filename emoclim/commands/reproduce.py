"""The command `emoclim reproduce`: the extended paper's tables and figure, beside its own numbers."""

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from emoclim.commands.terminal import (
    Device,
    Json,
    Root,
    TableFormat,
    given_options,
    print_lines,
    print_paper_table,
    print_result,
    print_table,
    read_settings,
    track,
)
from emoclim.errors import ConfigError

if TYPE_CHECKING:
    from emoclim.data import Setting
    from emoclim.pipeline import Target

ROLES = "clip, short_chunk_cnn, harmonic_cnn, clap"
OF_ENCODERS = frozenset(
    "encoder checkpoint setting download preset config epochs seed store batch_size workers device".split()
)
OF_WORK = frozenset("download batch_size workers device latex markdown max_failures".split())  # --explain does none


def reproduce_command(
    context: typer.Context,
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
        str | None, typer.Option(help="Only these: names as --explain shows them, or encoders; clap,harmonic_cnn.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Tell what would be done, and do nothing.")] = False,
    encoder: Annotated[
        list[str] | None, typer.Option(help=f"PAPER'S=NAME of one that stands in; the paper's: {ROLES}.")
    ] = None,
    checkpoint: Annotated[list[str] | None, typer.Option(help="PAPER'S=FILE of its parameters.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="PAPER'S.NAME=VALUE of its settings, e.g. clip.views=8.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch checkpoints that are not on this machine.")
    ] = False,
    preset: Annotated[
        Literal["paper", "paper-code"], typer.Option(help="Settings: what the paper says, or what its code does.")
    ] = "paper",
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings; also [encoder] and [augmentations].")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Of 100 batches.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the trainings.")] = None,
    store: Annotated[
        bool, typer.Option("--store", help="Decode all music once, and keep it: encoders are trained quicker.")
    ] = False,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Segments per forward pass of an extraction; default 8, on a GPU 64.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Decoding processes; default one per core.")] = None,
    max_failures: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a manifest's items that may be missing or fail.")
    ] = 0.01,
    latex: Annotated[bool, typer.Option("--latex", help="Print the table in the paper's layout, as LaTeX.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The same as Markdown.")] = False,
    device: Device = "auto",
    workspace: Root = Path(),
    as_json: Json = False,
) -> None:
    """Make a table of the paper anew.

    Extracts, trains heads and encoders, evaluates, and shows the paper's numbers beside your own. What is done is not
    done again. Whatever is not as in the paper (data, encoders, settings) is told. Exit code 3: some rows could not be
    made, or more items than --max-failures could not be used. See: emoclim prepare --list, for the data.
    """
    from emoclim.config import preset as find_preset
    from emoclim.learning import Augmentations, EncoderTuning, load_joint_config
    from emoclim.pipeline import Request, Workspace, choose_encoders, plan_reproduction
    from emoclim.pipeline import reproduce as make

    if latex + markdown + as_json > 1:
        raise ConfigError("--json, --latex and --markdown are forms of the same numbers; give one of them")
    chosen = tuple(rows.split(",")) if rows else ()
    _refuse_useless(given_options(context), target, chosen, explain)
    base = find_preset(preset)
    told = load_joint_config(config, base) if config else (base, EncoderTuning(), Augmentations())
    settings, tuning, augmentations = told
    given = {"epochs": epochs, "seed": seed}
    files = {role: Path(file) for role, file in _by_role(checkpoint or [], "--checkpoint", "clap=FILE").items()}
    request = Request(
        target,
        images,
        audio,
        tagging,
        chosen,
        choose_encoders(
            preset, _by_role(encoder or [], "--encoder", "clap=timbre"), files, _settings_by_role(setting or [])
        ),
        preset,
        settings.updated(**{name: value for name, value in given.items() if value is not None}),
        tuning,
        augmentations,
        store,
    )
    place = Workspace(workspace)
    if explain:
        plan = plan_reproduction(request, workspace=place)
        print_result(plan.to_dict(), as_json, lambda: _show_plan(plan))
        return
    result = make(
        request,
        download=download,
        batch_size=batch_size,
        workers=workers,
        workspace=place,
        device=device,
        track=track,
        tell=lambda line: typer.echo(line, err=True),
    )
    form: TableFormat | None = "latex" if latex else "markdown" if markdown else None
    print_result(result.to_dict(), as_json, lambda: _show(result, form))
    if not result.complete or result.lost > max_failures:
        raise typer.Exit(3)


def _refuse_useless(given: Set[str], target: "Target", rows: Sequence[str], explain: bool) -> None:
    """Take options that change nothing of a target, or of what --explain tells, for mistakes."""
    from emoclim.pipeline import choose_rows

    chosen = choose_rows(target, rows)
    useless: set[str] = set() if target == "table4" else {"tagging"}
    if all(row.frozen for row in chosen):
        useless.add("store")
    if not chosen:
        useless |= OF_ENCODERS
    for names, place in ((useless, target), (OF_WORK if explain else frozenset(), "--explain")):
        if found := sorted(given & names):
            listed = ", ".join(f"--{name.replace('_', '-')}" for name in found)
            raise ConfigError(f"{listed} would have no effect on {place}; leave out what is not meant")


def _show_plan(plan: Any) -> None:
    if plan.rows:
        print_table(plan.table_rows())
    print_lines(plan.summary())


def _show(result: Any, form: TableFormat | None) -> None:
    if form:
        table = result.paper_table()
        print_paper_table(table.rows, table.title, table.note, form)
        return
    print_table(result.table_rows(), title=result.title)
    print_lines(result.summary())


def _by_role(pairs: Sequence[str], option: str, example: str) -> dict[str, str]:
    """``["clap=timbre"]`` as a mapping."""
    found = {}
    for pair in pairs:
        role, equals, value = pair.partition("=")
        if not equals or not value:
            raise ConfigError(f"{option} {pair!r} does not name one of the paper's encoders ({ROLES}): {example}")
        if role in found:
            raise ConfigError(f"{option} is given twice for {role}; leave out one of the two")
        found[role] = value
    return found


def _settings_by_role(pairs: Sequence[str]) -> "Mapping[str, Mapping[str, Setting]]":
    """``["clap.overlap=0.5"]`` as settings by role."""
    found: dict[str, dict[str, Setting]] = defaultdict(dict)
    for name, value in read_settings(pairs).items():
        role, dot, setting = name.partition(".")
        if not dot:
            raise ConfigError(f"--setting {name}={value} does not say of which encoder; write clap.{name}={value}")
        found[role][setting] = value
    return found
