"""The tables of a run: one line for each candidate, and one for each of its epochs, as CSV and Parquet, and as JSON."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emoclim.losses import Terms
from emoclim.pipeline.sweeping import Sweep
from emoclim.reports.sweep import SweepReport


def history_dict(sweep: Sweep, terms: Terms) -> dict[str, Any]:
    """Losses of each candidate by epoch, for JSON."""
    return {
        "terms": [f"{anchor}_{contrast}" for anchor, contrast in terms],
        "heads": [
            {
                "candidate": line.number,
                "train_loss": history.train_loss[:, 0].tolist(),
                "val_loss": history.val_loss[:, 0].tolist(),
                "val_terms": history.val_terms[:, 0].tolist(),
            }
            for line, history in zip(sweep.lines, sweep.histories, strict=True)
        ],
    }


def write_tables(report: SweepReport, sweep: Sweep, folder: Path) -> None:
    """Write ``sweep.csv``, ``sweep.parquet`` and ``history.parquet``."""
    columns = report.columns()
    with (folder / "sweep.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    _write_parquet(columns, folder / "sweep.parquet")
    _write_parquet(_history_columns(sweep, report.terms), folder / "history.parquet")


def _history_columns(sweep: Sweep, terms: Terms) -> dict[str, list[Any]]:
    """One row for each candidate and epoch."""
    names = ("candidate", "epoch", "train_loss", "val_loss", *(f"val_loss_{a}_{b}" for a, b in terms))
    rows = [
        (line.number, epoch, float(train), float(val), *by_term.tolist())
        for line, history in zip(sweep.lines, sweep.histories, strict=True)
        for epoch, (train, val, by_term) in enumerate(
            zip(history.train_loss[:, 0], history.val_loss[:, 0], history.val_terms[:, 0], strict=True)
        )
    ]
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def _write_parquet(columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(dict(columns)), path)
