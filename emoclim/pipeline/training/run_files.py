"""What a training gave and the files of its run: heads, settings, losses, a line for each candidate, and pictures.

While a sweep is trained, its leading heads are shown, and event files are written for TensorBoard: each bank of heads
has one of its own, ``tensorboard/<round>-<bank>/``, with ``train_loss/head_<number>``, ``val_loss/head_<number>`` and,
before weighting, ``val_loss_<anchor>_<contrast>/head_<number>``.
"""

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from emoclim.errors import MissingLibrary
from emoclim.files import csv_bytes, parquet_bytes, write_bytes, write_json
from emoclim.learning import (
    SCORE_NAMES,
    Candidate,
    Epoch,
    Heads,
    Leaders,
    SweepReport,
    column_name,
    own_score,
    save_heads,
    varying_settings,
)
from emoclim.modality import MODALITIES
from emoclim.pipeline.machine import provenance
from emoclim.pipeline.run import SCHEMA
from emoclim.pipeline.splits import without_numbers
from emoclim.pipeline.training.inputs import Labelled
from emoclim.pipeline.training.label_vectors import told_of
from emoclim.pipeline.training.sweep import Sweep
from emoclim.pipeline.workspace import HEADS_FILE
from emoclim.reports import findings, plot_history, save_figure, shorten, sweep_figure, sweep_points

SHOWN_HEADS = 10
EVENTS_FILE, EVENTS_VERSION = "events.out.tfevents", "brain.Event:2"


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training gave."""

    folder: Path
    inputs: Labelled  # what it was trained on
    plan: str  # digest of what was to be done
    sweep: Sweep
    report: SweepReport  # all candidates that were trained, and the chosen one
    keep: int | None = None  # how many of the best heads are kept; None: all
    heads_file: ClassVar[str] = HEADS_FILE  # where they are written

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped early."""
        return self.sweep.interrupted

    @property
    def kept(self) -> Sequence[int]:
        """Places in the report of the heads that are kept."""
        return range(len(self.report.lines)) if self.keep is None else self.report.best(self.keep)

    @property
    def heads(self) -> Heads:
        """The heads that are kept."""
        return self.sweep.heads.select(*self.kept)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"run": str(self.folder), **self.settings()}

    def settings(self, **config: Any) -> dict[str, Any]:
        """Return the content of settings.json; `config` is added to the settings of each candidate."""
        lines = self.report.lines
        return self.inputs.settings() | {
            "plan": self.plan,
            "select": self.report.rule,
            "heads": [
                {
                    "candidate": line.number,
                    "loss_weights": list(line.candidate.loss_weights),
                    "config": line.candidate.all_settings | config,
                    "best_epoch": line.best_epoch,
                    "validation": dict(line.metrics),
                    "score": score if math.isfinite(score) else None,
                }
                for line, score in zip(lines, self.report.scores, strict=True)
            ],
            "kept": [lines[place].number for place in self.kept],
            "chosen": lines[self.report.chosen].number,
            "interrupted": self.interrupted,
        }

    def table_rows(self) -> list[tuple[str, ...]]:
        """Return a row of column names, then one row per pair of heads, the best first."""
        return self.report.table_rows(SHOWN_HEADS)

    def findings(self) -> list[str]:
        """Say how far the chosen candidate leads the others and whether that is luck, as the picture does."""
        points = sweep_points({}, *_choices(self.report))
        return findings(points, SCORE_NAMES[self.report.rule]) if len(self.report.lines) > 1 else []

    def ending(self, command: str) -> list[str]:
        """Say how to go on, which heads rank by luck, what the classes are and where the run is."""
        early = [f"stopped early; go on with: emoclim {command} --resume {self.folder.name}"] * self.interrupted
        return [
            *early,
            *self.report.notes(),
            *without_numbers(self.inputs.libraries, self.inputs.numbered()),
            f"classes: {', '.join(map(shorten, self.inputs.label_map.classes)) or 'none, labels were not needed'}",
            *filter(None, [told_of(self.inputs.vectors)]),
            f"run: {self.folder}",
        ]

    def write(self, libraries: Sequence[str] = (), **about: Any) -> None:
        """Write everything; the heads come last and make it a run, once more if it was one.

        The versions of optional libraries that had a part in it go into ``run.json``, and so does `about`.
        """
        folder, report, sweep = self.folder, self.report, self.sweep
        (folder / self.heads_file).unlink(missing_ok=True)
        write_json(folder / "settings.json", {"schema": SCHEMA, **self.settings()})
        write_json(folder / "history.json", _history_dict(sweep, report.terms))
        write_json(folder / "run.json", provenance(libraries) | about)
        history = sweep.histories[report.chosen]
        best = torch.tensor([report.lines[report.chosen].best_epoch])
        plot_history(history.train_loss, history.val_loss, best, folder / "history.png")
        _write_tables(report, sweep, folder)
        if len(report.lines) > 1:
            _plot(report, folder / "sweep.png")
        save_heads(self.heads, folder / self.heads_file)


class EpochEvents:
    """Take in the epochs of banks; what was taken in is in the event files, or raises OSError."""

    def __init__(self, terms: Sequence[str], show: Callable[[Leaders], None] | None, folder: Path | None) -> None:
        self._leaders, self._show, self._folder = Leaders(terms), show, folder
        self._names = ["train_loss", "val_loss", *map(_loss_name, terms)]
        self._begun: set[str] = set()
        if folder:
            try:
                from tensorboard.compat.proto.event_pb2 import Event
                from tensorboard.summary.writer.record_writer import RecordWriter
            except ImportError as error:
                raise MissingLibrary("--tensorboard needs TensorBoard: pip install 'emoclim[tensorboard]'") from error
            # torch's own writer has a thread for each file, whose errors come late, with a traceback of its own.
            self._event, self._writer = Event, RecordWriter

    def __call__(self, bank: str, numbers: Sequence[int], candidates: Sequence[Candidate], epoch: Epoch) -> None:
        """Take in an epoch of the bank ``"<round>-<number>"``, which holds candidates of some numbers."""
        if self._folder:
            self._write(self._folder / bank, numbers, epoch)
        if self._show:
            val_loss, val_terms = epoch.val_loss.tolist(), epoch.val_terms.tolist()
            self._leaders.update(numbers, candidates, epoch.number, val_loss, val_terms)
            self._show(self._leaders)

    def _write(self, folder: Path, numbers: Sequence[int], epoch: Epoch) -> None:
        told = self._event(wall_time=time.time(), step=epoch.number)
        rows = torch.column_stack([epoch.train_loss, epoch.val_loss, epoch.val_terms]).tolist()
        for number, row in zip(numbers, rows, strict=True):
            for name, loss in zip(self._names, row, strict=True):
                told.summary.value.add(tag=f"{name}/head_{number}", simple_value=loss)
        events = [told]
        if folder.name not in self._begun:
            shutil.rmtree(folder, ignore_errors=True)  # a run that is resumed tells of all its epochs again
            folder.mkdir(parents=True)
            self._begun.add(folder.name)
            events.insert(0, self._event(wall_time=time.time(), file_version=EVENTS_VERSION))
        with (folder / EVENTS_FILE).open("ab") as file:
            writer = self._writer(file)
            for event in events:
                writer.write(event.SerializeToString())


def _plot(report: SweepReport, path: Path) -> None:
    """Draw the scores over the loss weights and every numeric setting that varies."""
    lines, candidates = report.lines, [line.candidate for line in report.lines]
    weights = torch.tensor([line.candidate.loss_weights for line in lines])
    score, choice, chosen = _choices(report)
    columns = {name: [one.all_settings[name] for one in candidates] for name in varying_settings(candidates)}
    numeric = {name: values for name, values in columns.items() if all(type(one) in (int, float) for one in values)}
    figure = sweep_figure(
        weights / weights.sum(dim=1, keepdim=True),
        [_readable(term) for term in report.terms],
        score,
        SCORE_NAMES[report.rule],
        choice,
        chosen,
        {name.replace("_", " "): torch.tensor(values) for name, values in numeric.items() if name != "seed"},
    )
    save_figure(figure, path)


def _choices(report: SweepReport) -> tuple[Tensor, list[int], int]:
    """Return the score of each candidate, the number of its choice of all but the seed, and the chosen one's place."""
    recipes = {recipe: number for number, recipe in enumerate(dict.fromkeys(line.recipe for line in report.lines))}
    scores = torch.tensor([own_score(line, report.rule) for line in report.lines])
    return scores, [recipes[line.recipe] for line in report.lines], report.chosen


def _readable(term: str) -> str:
    names: dict[str, str] = {modality: facts.name for modality, facts in MODALITIES.items()}
    return " → ".join(names.get(side, side) for side in term.split(">"))


def _loss_name(term: str) -> str:
    return "val_loss_" + column_name(term)


def _history_dict(sweep: Sweep, terms: Sequence[str]) -> dict[str, Any]:
    """Return the losses of each candidate by epoch, for JSON."""
    heads = [
        {
            "candidate": line.number,
            "train_loss": _finite(history.train_loss[:, 0]),
            "val_loss": _finite(history.val_loss[:, 0]),
            "val_terms": _finite(history.val_terms[:, 0]),
        }
        for line, history in zip(sweep.lines, sweep.histories, strict=True)
    ]
    return {"terms": [column_name(term) for term in terms], "heads": heads}


def _finite(losses: Tensor) -> list[Any]:
    """Replace what is not finite by null, which JSON can hold."""
    values = losses.numpy()
    found: list[Any] = np.where(np.isfinite(values), values.astype(object), np.array(None)).tolist()
    return found


def _write_tables(report: SweepReport, sweep: Sweep, folder: Path) -> None:
    """Write ``sweep.csv``, ``sweep.parquet`` and ``history.parquet``."""
    columns = report.columns()
    write_bytes(folder / "sweep.csv", csv_bytes([columns, *zip(*columns.values(), strict=True)]))
    write_bytes(folder / "sweep.parquet", parquet_bytes(columns))
    write_bytes(folder / "history.parquet", parquet_bytes(_history_columns(sweep, report.terms)))


def _history_columns(sweep: Sweep, terms: Sequence[str]) -> dict[str, list[Any]]:
    """Make a row for each candidate and epoch."""
    names = ("candidate", "epoch", "train_loss", "val_loss", *map(_loss_name, terms))
    rows = [
        (line.number, epoch, float(train), float(val), *by_term.tolist())
        for line, history in zip(sweep.lines, sweep.histories, strict=True)
        for epoch, (train, val, by_term) in enumerate(
            zip(history.train_loss[:, 0], history.val_loss[:, 0], history.val_terms[:, 0], strict=True)
        )
    ]
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
