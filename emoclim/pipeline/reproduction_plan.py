"""What `emoclim reproduce` is to do, what of it is done, and what is missing."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from emoclim.config import TrainConfig, preset
from emoclim.data import Manifest
from emoclim.learning import Augmentations, EncoderTuning
from emoclim.pipeline.departures import Departure, Kind, mark_of
from emoclim.pipeline.encoder_choice import EncoderChoice
from emoclim.pipeline.paper_rows import REMARKS, PaperRow, Target, choose_encoders

State = Literal["to do", "unfinished", "done", "not possible"]

PAPER = "paper"  # name of the preset


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be reproduced, and with what."""

    target: Target  # table or figure of the extended paper
    images: Path | None = None  # manifests; None looks in the workspace's `data/`
    audio: Path | None = None  # manifests; None looks in the workspace's `data/`
    tagging: Path | None = None  # manifests; None looks in the workspace's `data/`
    rows: tuple[str, ...] = ()  # names of rows or of their encoders; none is all
    # by role, see choose_encoders
    encoders: Mapping[str, EncoderChoice] = field(default_factory=lambda: choose_encoders(PAPER, {}, {}, {}))
    preset: str = PAPER  # whose settings the numbers are to be of: `paper` or `paper-code`
    config: TrainConfig = field(default_factory=lambda: preset(PAPER))
    tuning: EncoderTuning = EncoderTuning()  # noqa: RUF009 - immutable
    augmentations: Augmentations = Augmentations()  # noqa: RUF009
    store: bool = False  # keep decoded music for the training of encoders


class Missing(NamedTuple):
    """What is not there, and how to get it."""

    what: str
    advice: str


@dataclass(frozen=True, slots=True)
class RowPlan:
    """What is to be done for one row."""

    row: PaperRow  # which it is, and how the paper calls it
    title: str  # which it is, and how the paper calls it
    audio: EncoderChoice
    run: str  # name of its training, which tells all that the heads depend on; empty where it is not known
    state: State
    missing: tuple[Missing, ...]  # why it is not possible; nothing if it is
    departures: tuple[Departure, ...]  # in which way it is not the paper's
    min_seconds: float = 0.0  # shorter recordings are not ranked

    @property
    def mark(self) -> str:
        """A few words for a table."""
        lacking = " and ".join(one.what for one in self.missing)
        return f"not made: lacks {lacking}" if lacking else mark_of(self.departures)

    @property
    def training(self) -> str:
        """What is trained, and how far that is."""
        return f"{'heads' if self.row.frozen else 'heads and encoder'}: {self.state}"


@dataclass(frozen=True, slots=True)
class ReproductionPlan:
    """What is to be done for a target."""

    request: Request
    manifests: Mapping[str, Manifest]  # by name: `image`, `audio`, `tagging`
    usable: Mapping[str, Manifest]  # the same without items whose file is missing, or that are known to fail
    rows: tuple[RowPlan, ...]
    # by file in the workspace's `cache/`, how many features it holds; None where it is yet to be made
    caches: Mapping[str, int | None]
    data: Mapping[str, tuple[Departure, ...]]  # by name of a manifest: in which way it is not the paper's
    folder: Path

    def lost(self) -> float:
        """The share of items that cannot be used, of the manifest where it is largest."""
        sizes = ((len(one.items), len(self.usable[name].items)) for name, one in self.manifests.items())
        return max((n_items - n_usable) / n_items for n_items, n_usable in sizes)

    def lines(self) -> list[str]:
        """What a reader of the numbers must know, in sentences: departures, what is missing, and the paper's own."""
        every = [one for row in self.rows for one in row.departures] or [one for of in self.data.values() for one in of]
        every.sort(key=lambda one: get_args(Kind).index(one.kind))
        lacking = [one for row in self.rows for one in row.missing]
        code = "Settings and checkpoints are those of the published code, not of the paper."
        return [
            *([code] if self.request.preset != PAPER else []),
            *_once(f"Not as in the paper: {one.told}." for one in every),
            *_once(f"Missing: {one.what}; {one.advice}." for one in lacking),
            *REMARKS[self.request.target],
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "target": self.request.target,
            "manifests": {name: str(manifest.source) for name, manifest in self.manifests.items()},
            "caches": dict(self.caches),
            "notes": self.lines(),
            "rows": [
                {
                    "row": one.row.name,
                    "title": one.title,
                    "encoder": one.audio.name,
                    "run": one.run,
                    "state": one.state,
                    "mark": one.mark,
                    "missing": [missing._asdict() for missing in one.missing],
                }
                for one in self.rows
            ],
            "folder": str(self.folder),
        }

    def table_rows(self) -> list[tuple[str, ...]]:
        """A row of column names, then one per row of the target."""
        header = ("row", "the paper's", "encoder here", "training", "run", "own is")
        rows = [(one.row.name, one.title, one.audio.name, one.training, one.run, one.mark) for one in self.rows]
        return [header, *rows]

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        lines = []
        for name, one in self.manifests.items():
            unsplit = any(item.split is None and item.label is not None for item in one.items)
            splits = ", 80/10/10 splits yet to be made" if unsplit else ""
            lines.append(f"{name}: {one.source}, {len(one.items):,} items{splits}")
        for cache, held in self.caches.items():
            lines.append(f"{cache}: {'to be made' if held is None else f'holds {held:,} features; none is made again'}")
        return [*lines, *self.lines(), f"results go to {self.folder}"]


def _once(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(lines))
