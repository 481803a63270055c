"""`emoclim compare`: whether runs differ, and by how much."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from emoclim.commands.options import Root
from emoclim.commands.terminal import Table, View, command, new_app

app = new_app()


@command(app)
def compare(
    runs: Annotated[list[str], typer.Argument(help="Runs by name, or folders with queries.parquet of an evaluation.")],
    split: Annotated[str, typer.Option(help="Which evaluation of each run: train, val or test.")] = "test",
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric to compare, P@5 for example; may be repeated; default all.")
    ] = None,
    mean: Annotated[
        Literal["macro", "micro"], typer.Option(help="Mean over emotions (macro) or over queries (micro).")
    ] = "macro",
    over_seeds: Annotated[
        bool, typer.Option("--over-seeds", help="Take runs that differ only in their seed as one, by their mean.")
    ] = False,
    resamples: Annotated[
        int, typer.Option(help="Number of bootstrap resamples, and of random flips in the test.")
    ] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of resamples and flips.")] = 42,
    output: Annotated[Path | None, typer.Option(help="JSON file to write the result to, too; default none.")] = None,
    workspace: Root = Path(),
) -> View:
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
    return View(result.to_dict(), [Table(result.report.table_rows(), result.title)], result.notes)
