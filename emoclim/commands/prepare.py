"""`emoclim prepare`: make a manifest of an official download, or of one's own files."""

from pathlib import Path
from typing import Annotated, Any

import typer

from emoclim import pipeline
from emoclim.commands.interface.options import Root, read_pairs
from emoclim.commands.interface.terminal import Table, View, command, new_app, option, track
from emoclim.errors import ConfigError
from emoclim.modality import MODALITIES

app = new_app()
COLUMNS = {
    "path": "the paths",
    "label": "one emotion",
    "tags": "several tags, | between them",
    "split": "train, val or test",
    "group": "the track or author, never in two parts",
}
OWN_FILES = [
    *(
        option(f"{name}_column", str | None, f"Column of your table with {what}; default {name}.")
        for name, what in COLUMNS.items()
    ),
    option("modality", str | None, f"Modality of your own files: {', '.join(MODALITIES)}; default by suffix."),
]


@command(app, computing=False, then=OWN_FILES)
def prepare(
    dataset: Annotated[str | None, typer.Argument(help="Data set, by name; see --list.")] = None,
    folder: Annotated[
        Path | None, typer.Argument(help="Folder that was downloaded; of the data set csv, your table.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the data sets.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what a data set needs and which options it takes; do nothing.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Manifest to write, CSV or Parquet; default in data/ of the workspace.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Shares as 80-10-10, a published split, official, given or none; default: see --explain."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of a split that is made; default 42.")] = None,
    *,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--option", help="NAME=VALUE of the data set, see --explain; repeatable; default its own."),
    ] = None,
    max_missing: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of listed files that may be missing or broken; default mostly 0.1."),
    ] = None,
    hash_files: Annotated[
        bool, typer.Option("--hash/--no-hash", help="Read each file, to keep equal ones in one part.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace a manifest that holds something else.")] = False,
    workspace: Root = Path(),
    **options: Any,
) -> View:
    """Make a manifest of a data set.

    Of an official download, or of your own files: emoclim prepare folder photos/. Nothing is downloaded. The same
    folder gives the same bytes on every machine.
    """
    if list_ == (dataset is not None) or not (list_ or explain or folder):
        raise ConfigError("give one of: prepare --list, prepare NAME --explain, prepare NAME FOLDER")
    if dataset is None:
        datasets = pipeline.explain_datasets()
        return View({"datasets": [one.to_dict() for one in datasets]}, [Table(pipeline.dataset_rows(datasets))])
    if explain or folder is None:
        explained = pipeline.explain_dataset(dataset)
        return View(explained.to_dict(), [Table(explained.option_rows())], head=explained.summary())
    named = [f"{one.name}={options[one.name]}" for one in OWN_FILES if options[one.name] is not None]
    result = pipeline.prepare_dataset(
        dataset,
        folder,
        options=read_pairs([*named, *(pairs or ())], "--option", "items=descriptions"),
        output=output,
        split=split,
        seed=seed,
        max_missing=max_missing,
        hash_files=hash_files,
        force=force,
        workspace=pipeline.Workspace(workspace),
        track=track,
    )
    return View(result.to_dict(), [Table(result.table_rows())], result.summary())
