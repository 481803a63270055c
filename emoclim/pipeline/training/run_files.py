"""The files of a run: heads, settings, losses, one line for each candidate and for each of its epochs, and pictures."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from emoclim.files import atomic, write_json
from emoclim.learning import SCORE_NAMES, Heads, History, SweepReport, own_score, save_heads, varying_settings
from emoclim.modality import MODALITIES
from emoclim.pipeline.run import SCHEMA
from emoclim.pipeline.training.sweep import Sweep
from emoclim.pipeline.workspace import HEADS_FILE, provenance
from emoclim.reports import plot_history, save_figure, sweep_figure


def write_run(
    folder: Path,
    settings: Mapping[str, Any],
    report: SweepReport,
    sweep: Sweep,
    heads: Heads,
    *,
    libraries: Sequence[str] = (),
    seconds: Mapping[str, float] | None = None,
) -> None:
    """Write everything; the heads that are kept come last and make it a run, once more if it was one.

    The versions of optional libraries that had a part in it, and the seconds that it took, go into ``run.json``.
    """
    (folder / HEADS_FILE).unlink(missing_ok=True)
    write_json(folder / "settings.json", {"schema": SCHEMA, **settings})
    write_json(folder / "history.json", _history_dict(sweep, report.terms))
    write_json(folder / "run.json", provenance(libraries) | ({"seconds": dict(seconds)} if seconds else {}))
    history = sweep.histories[report.chosen]
    best = torch.tensor([report.lines[report.chosen].best_epoch])
    plot_history(history.train_loss, history.val_loss, best, folder / "history.png")
    _write_tables(report, sweep, folder)
    if len(report.lines) > 1:
        _plot(report, folder / "sweep.png")
    save_heads(heads, folder / HEADS_FILE)


def candidate_entries(report: SweepReport, **config: Any) -> list[dict[str, Any]]:
    """List all candidates for ``settings.json``; `config` is added to the settings of each."""
    return [
        {
            "candidate": line.number,
            "loss_weights": list(line.candidate.loss_weights),
            "config": line.candidate.all_settings | config,
            "best_epoch": line.best_epoch,
            "validation": dict(line.metrics),
            "score": _finite([score])[0],
        }
        for line, score in zip(report.lines, report.scores, strict=True)
    ]


def _plot(report: SweepReport, path: Path) -> None:
    """Draw the scores over the loss weights and every numeric setting that varies."""
    lines, candidates = report.lines, [line.candidate for line in report.lines]
    weights = torch.tensor([line.candidate.loss_weights for line in lines])
    recipes = {recipe: number for number, recipe in enumerate(dict.fromkeys(line.recipe for line in lines))}
    columns = {name: [one.all_settings[name] for one in candidates] for name in varying_settings(candidates)}
    numeric = {name: values for name, values in columns.items() if all(type(one) in (int, float) for one in values)}
    figure = sweep_figure(
        weights / weights.sum(dim=1, keepdim=True),
        [_readable(term) for term in report.terms],
        torch.tensor([own_score(line, report.rule) for line in lines]),
        SCORE_NAMES[report.rule],
        [recipes[line.recipe] for line in lines],
        report.chosen,
        {name.replace("_", " "): torch.tensor(values) for name, values in numeric.items() if name != "seed"},
    )
    save_figure(figure, path)


def _readable(term: str) -> str:
    names: dict[str, str] = {modality: facts.name for modality, facts in MODALITIES.items()}
    return " → ".join(names.get(side, side) for side in term.split(">"))


def _history_dict(sweep: Sweep, terms: Sequence[str]) -> dict[str, Any]:
    """Return the losses of each candidate by epoch, for JSON."""
    return {
        "terms": [term.replace(">", "_") for term in terms],
        "heads": [
            _history_entry(line.number, history) for line, history in zip(sweep.lines, sweep.histories, strict=True)
        ],
    }


def _history_entry(number: int, history: History) -> dict[str, Any]:
    """Return the losses of one candidate by epoch, for JSON."""
    return {
        "candidate": number,
        "train_loss": _finite(history.train_loss[:, 0].tolist()),
        "val_loss": _finite(history.val_loss[:, 0].tolist()),
        "val_terms": [_finite(losses) for losses in history.val_terms[:, 0].tolist()],
    }


def _finite(losses: Sequence[float]) -> list[float | None]:
    """Replace what is not finite by null, which JSON can hold."""
    return [loss if math.isfinite(loss) else None for loss in losses]


def _write_tables(report: SweepReport, sweep: Sweep, folder: Path) -> None:
    """Write ``sweep.csv``, ``sweep.parquet`` and ``history.parquet``."""
    columns = report.columns()
    with atomic(folder / "sweep.csv") as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    write_parquet(columns, folder / "sweep.parquet")
    write_parquet(_history_columns(sweep, report.terms), folder / "history.parquet")


def _history_columns(sweep: Sweep, terms: Sequence[str]) -> dict[str, list[Any]]:
    """Make a row for each candidate and epoch."""
    names = ("candidate", "epoch", "train_loss", "val_loss", *("val_loss_" + term.replace(">", "_") for term in terms))
    rows = [
        (line.number, epoch, float(train), float(val), *by_term.tolist())
        for line, history in zip(sweep.lines, sweep.histories, strict=True)
        for epoch, (train, val, by_term) in enumerate(
            zip(history.train_loss[:, 0], history.val_loss[:, 0], history.val_terms[:, 0], strict=True)
        )
    ]
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def write_parquet(columns: Mapping[str, Sequence[Any]], path: Path) -> None:
    """Write columns by name to a Parquet file, whole or not at all."""
    import pyarrow
    from pyarrow import parquet

    with atomic(path) as partial:
        parquet.write_table(pyarrow.table(dict(columns)), partial)
