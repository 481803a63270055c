"""`emoclim evaluate`: options, and what is shown of retrieval and of tagging."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from emoclim.commands.terminal import (
    Device,
    Json,
    Root,
    TableFormat,
    print_lines,
    print_paper_table,
    print_result,
    print_table,
    read_numbers,
    track,
)
from emoclim.errors import ConfigError

if TYPE_CHECKING:
    from emoclim.reports import PaperTable

Average = Annotated[
    Literal["embeddings", "features"],
    typer.Option(help="What of a recording's segments is averaged: after or before the heads."),
]


def evaluate_command(
    run: Annotated[str | None, typer.Argument(help="Name of a run; default the newest.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    ks: Annotated[str | None, typer.Option("--k", help="The k of P@k; default 1,5,10.")] = None,
    measures: Annotated[
        str | None,
        typer.Option(help="What to compute besides; default MRR,mAP,R-precision. Without the last two: faster."),
    ] = None,
    head: Annotated[int | None, typer.Option(help="Number of a candidate; default the chosen one.")] = None,
    average: Annotated[
        Literal["embeddings", "features"] | None,
        typer.Option(help="What of a recording's segments is averaged: after (default) or before the heads."),
    ] = None,
    min_seconds: Annotated[float | None, typer.Option(min=0, help="Leave out shorter recordings.")] = None,
    memory: Annotated[int | None, typer.Option(min=1, help="MB that ranking may take; default 1024.")] = None,
    tagging: Annotated[
        Path | None,
        typer.Option(help="Tags: CSV of music with tags; for the options below, data/tagging.csv."),
    ] = None,
    on: Annotated[Literal["embeddings", "features"] | None, typer.Option(help="Tags: what they are found by.")] = None,
    aggregate: Annotated[
        Literal["probabilities", "embeddings"] | None, typer.Option(help="Tags: averaged over a recording's segments.")
    ] = None,
    tag_seeds: Annotated[int | None, typer.Option(min=1, help="Tags: train so many heads; default 3.")] = None,
    train_fraction: Annotated[str | None, typer.Option(help="Tags: shares of the items to learn from: .1,1.")] = None,
    tag_groups: Annotated[Path | None, typer.Option(help="Tags: TOML file, group = [tags].")] = None,
    drop_untagged: Annotated[bool, typer.Option("--drop-untagged", help="Tags: leave out music without any.")] = False,
    shuffle_tags: Annotated[bool, typer.Option("--shuffle-tags", help="Tags: a control that learns nothing.")] = False,
    latex: Annotated[
        bool, typer.Option("--latex", help="Print the papers' tables with this result, as LaTeX.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The same as Markdown.")] = False,
    plots: Annotated[bool, typer.Option(help="Draw the pictures and make report.html too.")] = True,
    device: Device = "auto",
    workspace: Root = Path(),
    as_json: Json = False,
) -> None:
    """Report how well emotions are found, or tags.

    Ranks one modality by the other, in every direction, and tells how often the emotion is the same. With --tagging
    tells how well tags of music are found by what the heads make of it.
    """
    from emoclim.pipeline import Workspace

    if latex + markdown + as_json > 1:
        raise ConfigError("--json, --latex and --markdown are forms of the same numbers; give one of them")
    form: TableFormat | None = "latex" if latex else "markdown" if markdown else None
    place = Workspace(workspace)
    of_tags = (tagging, on, aggregate, tag_seeds, train_fraction, tag_groups, drop_untagged, shuffle_tags)
    if any(option not in (None, False) for option in of_tags):
        if any(option is not None for option in (ks, measures, average, min_seconds, memory)):
            raise ConfigError(
                "--k, --measures, --average, --min-seconds and --memory are of retrieval, not of tags; leave them out"
            )
        from emoclim.pipeline import tag_run

        tagged = tag_run(
            run,
            tagging,
            on=on or "embeddings",
            aggregate=aggregate or "probabilities",
            split=split,
            seeds=tag_seeds or 3,
            train_fractions=read_numbers(train_fraction or "1", "--train-fraction", float),
            shuffle=shuffle_tags,
            untagged=not drop_untagged,
            tag_groups=tag_groups,
            head=head,
            plots=plots,
            workspace=place,
            device=device,
            track=track,
        )
        print_result(tagged.to_dict(), as_json, lambda: _show_tagging(tagged, form))
        return
    from emoclim.pipeline import EvaluateConfig, evaluate_run

    given: dict[str, Any] = {"head": head, "average": average, "min_seconds": min_seconds}
    given |= {"ks": ks and read_numbers(ks, "--k", int), "measures": measures and tuple(measures.split(","))}
    config = EvaluateConfig(split=split, **{name: value for name, value in given.items() if value is not None})
    result = evaluate_run(run, config, memory=(memory or 1024) << 20, plots=plots, workspace=place, device=device)
    print_result(result.to_dict(), as_json, lambda: show_evaluation(result, form))


def show_evaluation(result: Any, form: TableFormat | None = None) -> None:
    """Print what was found, as tables of a terminal or of a paper."""
    if form:
        _show_paper_tables(result.paper_tables(), form)
        return
    print_table(result.table_rows(), title=result.title)
    print_table(result.per_class_rows(), title=f"{result.shown_metric} by emotion")
    print_lines(result.summary())


def _show_tagging(result: Any, form: TableFormat | None) -> None:
    if form:
        _show_paper_tables([result.paper_table()], form)
        return
    print_table(result.table_rows(), title=result.title)
    print_table(result.report.per_tag_rows(), title="Tag by tag")
    if result.shows_curve:
        print_table(result.report.curve_rows(), title="By the share of training items")
    print_lines(result.summary())


def _show_paper_tables(tables: "Sequence[PaperTable]", form: TableFormat) -> None:
    if not tables:
        raise ConfigError("the papers' tables need images and music; leave out --latex and --markdown")
    for table in tables:
        print_paper_table(table.rows, table.title, table.note, form)
