"""The command `emoclim compare`: whether runs differ, and by how much."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from emoclim.commands.terminal import Json, Root, print_lines, print_result, print_table


def compare_command(
    runs: Annotated[list[str], typer.Argument(help="Runs, or evaluations: folders with queries.parquet.")],
    split: Annotated[str, typer.Option(help="Which evaluation of each run.")] = "test",
    metric: Annotated[list[str] | None, typer.Option(help="P@5, for example; may be repeated. Default all.")] = None,
    mean: Annotated[
        Literal["macro", "micro"], typer.Option(help="Mean over emotions (macro) or over queries (micro).")
    ] = "macro",
    over_seeds: Annotated[
        bool, typer.Option("--over-seeds", help="Take runs that differ in their seed only as one, by their mean.")
    ] = False,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap, and flips of the test.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Of both.")] = 42,
    output: Annotated[Path | None, typer.Option(help="JSON file to write the result to.")] = None,
    workspace: Root = Path(),
    as_json: Json = False,
) -> None:
    """Tell whether runs differ.

    Compares what `evaluate` found for each run with the first one, query by query: intervals by the bootstrap, p-values
    by a paired randomisation test.
    """
    from emoclim.pipeline import Workspace, compare_runs

    result = compare_runs(
        runs,
        split=split,
        metrics=metric or (),
        mean=mean,
        over_seeds=over_seeds,
        n_resamples=resamples,
        seed=seed,
        output=output,
        workspace=Workspace(workspace),
    )

    def show() -> None:
        print_table(result.report.table_rows(), title=result.title)
        print_lines(result.notes)

    print_result(result.to_dict(), as_json, show)
