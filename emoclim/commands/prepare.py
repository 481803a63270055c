"""`emoclim prepare`: make a manifest of an official download, or of one's own files."""

from pathlib import Path
from typing import Annotated

import typer

from emoclim.commands.options import Root, read_pairs
from emoclim.commands.terminal import Table, View, command, new_app, track
from emoclim.errors import ConfigError

app = new_app()


@command(app, computing=False)
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
    seed: Annotated[int | None, typer.Option(min=0, help="Of a split that is made; default 42.")] = None,
    path_column: Annotated[str | None, typer.Option(help="Column of your table with the paths; default path.")] = None,
    label_column: Annotated[
        str | None, typer.Option(help="Column of your table with one emotion; default label.")
    ] = None,
    tags_column: Annotated[
        str | None, typer.Option(help="Column of your table with several tags, | between them; default tags.")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option(help="Column of your table with train, val or test; default split.")
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(help="Column of your table with the track or author, never in two parts; default group."),
    ] = None,
    modality: Annotated[
        str | None, typer.Option(help="Of your own files: image, audio, text, video or speech; default by suffix.")
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE of the data set, see --explain; repeatable; default its own."),
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
) -> View:
    """Make a manifest of a data set.

    Of an official download, or of your own files: emoclim prepare folder photos/. Nothing is downloaded. The same
    folder gives the same bytes on every machine.
    """
    if list_ == (dataset is not None) or not (list_ or explain or folder):
        raise ConfigError("give one of: prepare --list, prepare NAME --explain, prepare NAME FOLDER")
    if dataset is None:
        return _list()
    if explain or folder is None:
        return _explain(dataset)
    from emoclim.pipeline import Workspace, prepare_dataset

    named = {
        "path_column": path_column,
        "label_column": label_column,
        "tags_column": tags_column,
        "split_column": split_column,
        "group_column": group_column,
        "modality": modality,
    }
    pairs = [*(f"{name}={value}" for name, value in named.items() if value is not None), *(option or ())]
    result = prepare_dataset(
        dataset,
        folder,
        options=read_pairs(pairs, "--option", "min_agree=4"),
        output=output,
        split=split,
        seed=seed,
        max_missing=max_missing,
        hash_files=hash_files,
        force=force,
        workspace=Workspace(workspace),
        track=track,
    )
    return View(result.to_dict(), [Table(result.table_rows())], result.summary())


def _list() -> View:
    from emoclim.pipeline import dataset_rows, explain_datasets

    datasets = explain_datasets()
    return View({"datasets": [one.to_dict() for one in datasets]}, [Table(dataset_rows(datasets))])


def _explain(dataset: str) -> View:
    from emoclim.pipeline import explain_dataset

    explained = explain_dataset(dataset)
    return View(explained.to_dict(), [Table(explained.option_rows())], head=explained.summary())
