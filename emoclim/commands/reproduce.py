"""`emoclim reproduce`: the tables and figures of papers, own numbers beside the paper's."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from emoclim import pipeline
from emoclim.commands.interface.options import (
    BatchSize,
    Device,
    JointConfig,
    Root,
    Store,
    Workers,
    parse_settings,
    read_pairs,
)
from emoclim.commands.interface.terminal import Table, View, command, new_app, option, print_lines, track
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
    option("vad", Path | None, "Table word,valence,arousal of labels, for rows that take them; default none."),
    option(
        "word_vectors",
        str | None,
        "Table of words and their vectors, or a text encoder to embed labels in their place; default none.",
    ),
)


@command(app, forms=("json", "latex", "markdown"), then=[*MANIFESTS, *MATCHING])
def reproduce(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[PAPER] [TABLE]",
            help="A paper, for all its tables; a paper and a table of it; or a table of emo_clim: table1 to table5 or "
            "figure2, as its extended version (arXiv 2308.12610v1) numbers them, or ablations: one departure each. "
            "Those of won2021 are table1 to table3 and figure3, of expressivity table1, table2 and figure3, of vcmr "
            "table1 and figure2 to figure4.",
        ),
    ],
    tagging: Annotated[
        Path | None, typer.Option(help="For tables of tags: manifest of MagnaTagATune; default data/tagging.csv.")
    ] = None,
    manifest: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FILE of the paper's further data, as alm=data/alm.csv; default data/NAME.csv."),
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
    changes = {name: value for name, value in (("epochs", epochs), ("seed", seed)) if value is not None}
    manifests = {name: given[facts.folder] for name, facts in MODALITIES.items()} | {"tagging": tagging}
    named = {name: Path(file) for name, file in read_pairs(manifest, "--manifest", "alm=data/alm.csv").items()}
    requests = pipeline.make_requests(
        words,
        rows=rows.split(",") if rows else (),
        preset=preset,
        config=config,
        changes=changes,
        names=read_pairs(encoder, "--encoder", "clap=timbre"),
        checkpoints={role: Path(file) for role, file in read_pairs(checkpoint, "--checkpoint", "clap=FILE").items()},
        settings=_by_role(setting),
        manifests={name: path for name, path in manifests.items() if path} | named,
        store=store,
        n_seeds=seeds,
        label_map=given["label_map"],
        within=given["within"],
        vad=given["vad"],
        word_vectors=given["word_vectors"],
        workspace=pipeline.Workspace(workspace),
    )
    resources = pipeline.Resources(pipeline.Workspace(workspace), device, workers, track)
    if explain:
        found = [pipeline.plan_reproduction(one, workspace=resources.workspace) for one in requests]
    else:
        found = [
            pipeline.reproduce_table(one, resources, download=download, batch_size=batch_size, tell=_tell)
            for one in requests
        ]
    return View(
        found[0].to_dict() if len(found) == 1 else {"tables": [one.to_dict() for one in found]},
        [Table(*table) for one in found for table in (one.plan_tables() if explain else one.made_tables())],
        [line for one in found for line in (one.plan_summary() if explain else one.summary())],
        paper=[one.table for one in found],
        incomplete=not explain and any(not one.complete or one.lost > max_failures for one in found),
    )


def _tell(line: str) -> None:
    print_lines([line], err=True)


def _by_role(pairs: Sequence[str] | None) -> Mapping[str, Mapping[str, "Setting"]]:
    """``["clap.overlap=0.5"]`` as settings by role."""
    found: dict[str, dict[str, Setting]] = defaultdict(dict)
    for name, value in parse_settings(pairs, "clap.overlap=0.5").items():
        role, dot, setting = name.partition(".")
        if not dot:
            raise ConfigError(f"--setting {name}={value} does not say of which encoder; write clap.{name}={value}")
        found[role][setting] = value
    return found
