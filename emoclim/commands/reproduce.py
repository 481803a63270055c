"""`emoclim reproduce`: the tables and figures of papers, own numbers beside the paper's."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from emoclim import pipeline, recipes
from emoclim.commands.options import BatchSize, Device, JointConfig, Root, Store, Workers, parse_settings, read_pairs
from emoclim.commands.terminal import Table, View, command, new_app, option, print_lines, track
from emoclim.errors import ConfigError
from emoclim.modality import MODALITIES

if TYPE_CHECKING:
    from emoclim.data import Setting

app = new_app()
MANIFESTS = tuple(
    option(facts.folder, Path | None, f"Manifest of {facts.nouns}; default data/{facts.folder}.csv.")
    for facts in MODALITIES.values()
)


MATCHING = (
    option(
        "label_map",
        Path | None,
        "TOML file, or name of a published map: of one class for each label to train on, of several to say what is "
        "relevant; default labels meet as in the paper.",
    ),
    option(
        "within",
        Literal["group"] | None,
        "Rank only candidates that have the query's own entry in this column; default all.",
    ),
)


@command(app, forms=("json", "latex", "markdown"), then=[*MANIFESTS, *MATCHING])
def reproduce(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[PAPER] [TABLE]",
            help="A paper, for all its tables; a paper and a table of it; or a table of emo_clim: table1 to table5 or "
            "figure2, as its extended version (arXiv 2308.12610v1) numbers them, or ablations: one departure each.",
        ),
    ],
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
        typer.Option(
            help="PAPER'S=NAME of an encoder that stands in for one of the paper's, as clap=timbre; default none."
        ),
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
        str, typer.Option(help="Settings: of the text (paper), or of the published code (paper-code).")
    ] = "paper",
    config: JointConfig = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each training; default as in --preset.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the trainings; default 42.")] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Seeds to train each row with, from --seed on; numbers are means over them.")
    ] = 1,
    store: Store = False,
    batch_size: BatchSize = None,
    workers: Workers = None,
    max_failures: Annotated[
        float, typer.Option(min=0, max=1, help="Share of a manifest's items that may be missing or fail.")
    ] = 0.01,
    device: Device = "auto",
    workspace: Root = Path(),
    **given: Any,
) -> View:
    """Make tables of a paper anew.

    Extracts, trains heads and encoders, evaluates, and shows the paper's numbers beside your own. What is done is not
    done again. Whatever is not as in the paper, or in its code, is told. Exit code 3: some rows could not be
    made, or more items than --max-failures could not be used. See: emoclim prepare --list, for the data.
    """
    from emoclim.learning import load_joint_config, load_objective

    recipe, tables = recipes.choose_tables(words)
    base = recipe.preset(preset).training
    objective = load_objective(recipe.objective).Settings
    training, own, tuning, augmentations = load_joint_config(config, base, objective)
    changes = {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    files = {role: Path(file) for role, file in read_pairs(checkpoint, "--checkpoint", "clap=FILE").items()}
    names = read_pairs(encoder, "--encoder", "clap=timbre")
    manifests = {name: given[facts.folder] for name, facts in MODALITIES.items()} | {"tagging": tagging}
    request = pipeline.Request(
        recipe,
        tables[0],
        tuple(rows.split(",")) if rows else (),
        pipeline.choose_encoders(recipe, preset, names, files, _by_role(setting)),
        preset,
        training.updated(**changes),
        objective(**own),
        {name: path for name, path in manifests.items() if path},
        tuning,
        augmentations,
        store,
        seeds,
        given["label_map"],
        given["within"],
    )
    if len(tables) > 1:
        tables = tuple(table for table in tables if replace(request, target=table).has_chosen())
    place = pipeline.Workspace(workspace)
    if explain:
        plans = [pipeline.plan_reproduction(replace(request, target=table), workspace=place) for table in tables]
        lines = [line for one in plans for line in one.plan_summary()]
        return View(
            _data(plans),
            [Table(one.plan_rows(), one.title) for one in plans],
            lines,
            paper=[one.table for one in plans],
        )
    results = [
        pipeline.reproduce_table(
            replace(request, target=table),
            download=download,
            batch_size=batch_size,
            workers=workers,
            workspace=place,
            device=device,
            track=track,
            tell=lambda line: print_lines([line], err=True),
        )
        for table in tables
    ]
    return View(
        _data(results),
        [table for one in results for table in _shown(one)],
        [line for one in results for line in one.summary()],
        paper=[one.table for one in results],
        incomplete=any(not one.complete or one.lost > max_failures for one in results),
    )


def _shown(result: "pipeline.Reproduction") -> list[Table]:
    """Show a table, and the tests between its rows if there are any."""
    tests = [Table(result.test_rows(), f"{result.title}, between rows")] if result.tests else []
    return [Table(result.table_rows(), result.title), *tests]


def _data(results: Sequence["pipeline.Reproduction"]) -> Mapping[str, Any]:
    """Give one table as it is, several in a list."""
    found = [one.to_dict() for one in results]
    return found[0] if len(found) == 1 else {"tables": found}


def _by_role(pairs: Sequence[str] | None) -> Mapping[str, Mapping[str, "Setting"]]:
    """``["clap.overlap=0.5"]`` as settings by role."""
    found: dict[str, dict[str, Setting]] = defaultdict(dict)
    for name, value in parse_settings(pairs, "clap.overlap=0.5").items():
        role, dot, setting = name.partition(".")
        if not dot:
            raise ConfigError(f"--setting {name}={value} does not say of which encoder; write clap.{name}={value}")
        found[role][setting] = value
    return found
