"""The command `emoclim prepare`: from an official download, or from your own files, to a manifest."""

from pathlib import Path
from typing import Annotated

import typer

from emoclim.commands.terminal import (
    Json,
    Root,
    print_lines,
    print_result,
    print_table,
    refuse_what_has_no_effect,
    track,
)
from emoclim.errors import ConfigError

OF_A_FOLDER = (
    *("output", "split", "seed", "option", "max_missing", "hash_files", "force", "workspace", "modality"),
    *("path_column", "label_column", "tags_column", "split_column", "group_column"),
)


def prepare_command(
    context: typer.Context,
    dataset: Annotated[str | None, typer.Argument(help="Name of a data set; see --list.")] = None,
    folder: Annotated[Path | None, typer.Argument(help="What was downloaded; for csv, your table.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the data sets.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Tell more of a data set: what must be where.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Manifest to write, CSV or Parquet; default in data/ of the workspace.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Shares (80-10-10), the name of a published split, official, given or none.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of a split that is made; default 42.")] = None,
    path_column: Annotated[str | None, typer.Option(help="Of your table; so are the next four.")] = None,
    label_column: Annotated[str | None, typer.Option(help="One emotion.")] = None,
    tags_column: Annotated[str | None, typer.Option(help="Several tags, with | between them.")] = None,
    split_column: Annotated[str | None, typer.Option(help="train, val or test.")] = None,
    group_column: Annotated[str | None, typer.Option(help="Track, author: never in two parts.")] = None,
    modality: Annotated[str | None, typer.Option(help="Of your own files: image or audio; default by suffix.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of the data set; see --explain.")] = None,
    max_missing: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of listed files that may be missing or broken.")
    ] = None,
    hash_files: Annotated[
        bool, typer.Option("--hash/--no-hash", help="Read each file, to keep equal ones in one part.")
    ] = True,
    force: Annotated[bool, typer.Option("--force", help="Replace a manifest that holds something else.")] = False,
    workspace: Root = Path(),
    as_json: Json = False,
) -> None:
    """Make a manifest of a data set.

    Of an official download, or of your own files: emoclim prepare folder photos/. Nothing is downloaded. The same
    folder gives the same bytes on every machine.
    """
    if list_ + explain + (folder is not None) != 1 or (dataset is None) != list_:
        raise ConfigError("give one of: prepare --list, prepare NAME --explain, prepare NAME FOLDER")
    refuse_what_has_no_effect(context, frozenset(), dict.fromkeys(OF_A_FOLDER, "folder"))
    if dataset is None or folder is None:
        _tell(dataset, as_json)
        return
    from emoclim.pipeline import Workspace, prepare_dataset

    named = {
        "path_column": path_column,
        "label_column": label_column,
        "tags_column": tags_column,
        "split_column": split_column,
        "group_column": group_column,
        "modality": modality,
    }
    result = prepare_dataset(
        dataset,
        folder,
        options=_options(option or [], {name: text for name, text in named.items() if text is not None}),
        output=output,
        split=split,
        seed=seed,
        max_missing=max_missing,
        hash_files=hash_files,
        force=force,
        workspace=Workspace(workspace),
        track=track,
    )

    def show() -> None:
        print_table(result.table_rows())
        print_lines(result.summary())

    print_result(result.to_dict(), as_json, show)


def _tell(dataset: str | None, as_json: bool) -> None:
    """Show one data set, or all of them."""
    from emoclim.pipeline import explain_dataset, list_datasets

    if dataset is None:
        datasets = list_datasets()
        print_result(datasets.to_dict(), as_json, lambda: print_table(datasets.table_rows()))
        return
    explained = explain_dataset(dataset)

    def show() -> None:
        print_lines(explained.summary())
        if explained.options:
            print_table(explained.option_rows())

    print_result(explained.to_dict(), as_json, show)


def _options(pairs: list[str], named: dict[str, str]) -> dict[str, str]:
    """``["min_agree=4"]`` as a mapping, with those that have an option of the command to themselves."""
    options = dict(named)
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--option {pair!r} is not NAME=VALUE; write for example min_agree=4")
        if name in options:
            raise ConfigError(f"{name} is given twice ({options[name]!r}, {text!r}); give one value")
        options[name] = text
    return options
