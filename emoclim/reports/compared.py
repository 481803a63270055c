"""Tables of the extended paper, each line with the same line made anew below it.

Figures of the paper are those of :mod:`emoclim.reports.papers`, as printed there, in percent; numbers made anew are
shares from 0 to 1, or counts, and are shown likewise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emoclim.reports.papers import DIRECTIONS, METRICS, TABLE_1, TABLE_3, TABLE_4, TABLE_5, TITLES
from emoclim.reports.queries import Intervals
from emoclim.reports.retrieval import RetrievalReport
from emoclim.reports.tables import Estimate, Row
from emoclim.reports.tagging import TaggingReport

UNKNOWN = "–"


@dataclass(frozen=True, slots=True)
class Number:
    """A share with its 95 % interval, or a count; None where there is none."""

    value: float | int | None
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        """As a table shows it, shares in percent."""
        if self.value is None:
            return UNKNOWN
        return f"{self.value:,}" if isinstance(self.value, int) else f"{100 * self.value:.2f}"

    @property
    def ends(self) -> str:
        """Of the interval, in percent; nothing where there is none."""
        return "" if self.low is None or self.high is None else f"{100 * self.low:.1f}–{100 * self.high:.1f}"

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain values."""
        return {"value": self.value, "low": self.low, "high": self.high}


@dataclass(frozen=True, slots=True)
class Own:
    """What was made anew for one line."""

    mark: str  # in which way it is, or is not, what the paper has; or why it was not made
    numbers: tuple[Number, ...] = ()  # one for each metric of the table; none if it was not made
    about: tuple[str, ...] = ()  # cells that are no numbers


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table."""

    title: str
    about: tuple[str, ...]  # cells that are no numbers
    paper: tuple[str, ...]  # the paper's numbers, one for each metric; none in a line that the paper does not have
    own: Own | None = None  # none where nothing was to be made anew


@dataclass(frozen=True, slots=True)
class ComparedTable:
    """A table of the paper with what was made anew."""

    title: str
    columns: tuple[str, ...]  # names of the first cell and of those that are no numbers
    metrics: tuple[str, ...]
    lines: tuple[Line, ...]

    def rows(self) -> tuple[Row, ...]:
        """Rows of text in the layout of the paper, names of the columns first."""
        rows: list[Row] = [(*self.columns, *self.metrics)]
        for line in self.lines:
            if line.paper:
                rows.append((line.title, *line.about, *line.paper))
            if line.own:
                title = f"own ({line.own.mark})" if line.paper else f"own: {line.title} ({line.own.mark})"
                about = line.own.about or ("",) * (len(self.columns) - 1)
                numbers = line.own.numbers or (Number(None),) * len(self.metrics)
                rows.append((title, *about, *(number.text for number in numbers)))
                if any(number.ends for number in numbers):
                    rows.append(("95 % interval", *[""] * len(about), *(number.ends for number in numbers)))
        return tuple(rows)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        lines = []
        for line in self.lines:
            own = line.own
            named = zip(self.metrics, own.numbers, strict=True) if own and own.numbers else ()
            lines.append(
                {
                    "title": line.title,
                    "about": list(line.about),
                    "paper": dict(zip(self.metrics, line.paper, strict=True)) if line.paper else {},
                    "mark": own.mark if own else None,
                    "own_about": list(own.about) if own else [],
                    "own": {name: number.to_dict() for name, number in named},
                }
            )
        return {"title": self.title, "columns": list(self.columns), "metrics": list(self.metrics), "lines": lines}


def by_direction(table: ComparedTable) -> tuple[Row, ...]:
    """Table 1 for a terminal: a row for each encoder and direction, own numbers beside the paper's.

    Lines of which nothing was to be made are left out.
    """
    per_direction = len(METRICS)
    rows: list[Row] = [(table.columns[0], "own is", "direction", *(f"{m} {who}" for m in METRICS for who in BOTH))]
    for line in table.lines:
        if line.own is None:
            continue
        shown = [number.text for number in line.own.numbers] or [UNKNOWN] * len(line.paper)
        for place, direction in enumerate(TITLES):
            part = slice(place * per_direction, (place + 1) * per_direction)
            pairs = zip(line.paper[part], shown[part], strict=True)
            first = (line.title, line.own.mark.partition(":")[0]) if place == 0 else ("", "")
            rows.append((*first, direction, *(cell for pair in pairs for cell in pair)))
    return tuple(rows)


BOTH = ("paper", "own")


def table_1(made: Mapping[str, Own]) -> ComparedTable:
    """Retrieval in four directions, by title of the line; see :func:`macro_numbers`."""
    lines = [(name, (), tuple(f"{value:.2f}" for value in values)) for name, values in TABLE_1.items()]
    metrics = tuple(f"{title} {metric}" for title in TITLES for metric in METRICS)
    return ComparedTable("Table 1: retrieval (%)", ("audio encoder",), metrics, _with(made, lines))


def table_3(made: Mapping[str, Own]) -> ComparedTable:
    """Music for images beside music for words and for speech."""
    lines = [(row[0], row[1:4], row[4:]) for row in TABLE_3]
    columns = ("method", "modalities", "non-music data", "music data")
    title = "Table 3: other emotion-supervised retrieval (%)"
    return ComparedTable(title, columns, ("P@5", "MRR"), _with(made, lines))


def table_4(made: Mapping[str, Own]) -> ComparedTable:
    """Tagging; see :func:`tagging_numbers`."""
    lines = [(row[0], row[1:2], row[2:]) for row in TABLE_4]
    title = "Table 4: music tagging, MagnaTagATune (%)"
    return ComparedTable(title, ("method", "pre-training"), ("ROC-AUC", "PR-AUC"), _with(made, lines))


def table_5(made: Mapping[str, Own]) -> ComparedTable:
    """P@5 by emotion, with CLAP; emotions that the paper does not have come last. See :func:`class_numbers`."""
    lines: list[tuple[str, Row, Row]] = [(row[0], (), row[1:]) for row in TABLE_5]
    known = {row[0] for row in TABLE_5}
    lines += [(name, (), ()) for name in made if name not in known]
    metrics = (*TITLES, "images", "music clips")
    return ComparedTable("Table 5: P@5 by emotion, with CLAP (%)", ("emotion",), metrics, _with(made, lines))


def figure_2(made: Mapping[str, Own]) -> ComparedTable:
    """How many images and music clips each panel shows; the paper's are its test sets, which its Table 5 counts."""
    sizes = tuple(f"{sum(int(row[column]) for row in TABLE_5):,}" for column in (-2, -1))
    lines = [(title, (), sizes) for title in made]
    return ComparedTable("Figure 2: joint spaces (t-SNE)", ("panel",), ("images", "music clips"), _with(made, lines))


def _with(made: Mapping[str, Own], lines: Sequence[tuple[str, Row, Row]]) -> tuple[Line, ...]:
    return tuple(Line(title, about, paper, made.get(title)) for title, about, paper in lines)


def macro_numbers(
    report: RetrievalReport,
    intervals: Mapping[str, Intervals],
    directions: Sequence[str] = DIRECTIONS,
    metrics: Sequence[str] = METRICS,
) -> tuple[Number, ...]:
    """Macro means, all metrics of the first direction first."""
    return tuple(
        _number(report.directions[direction].metrics.get(metric), intervals[direction].macro.get(metric))
        for direction in directions
        for metric in metrics
    )


def class_numbers(
    report: RetrievalReport, intervals: Mapping[str, Intervals], name: str, metric: str = "P@5"
) -> tuple[Number, ...]:
    """One metric of the queries of a class in each direction, then how many images and music clips it has."""
    found = [report.directions[direction].per_class[name] for direction in DIRECTIONS]
    ends = [intervals[direction].classes.get(name, {}).get(metric) for direction in DIRECTIONS]
    shares = (_number(one.metrics.get(metric), end) for one, end in zip(found, ends, strict=True))
    images, music = (found[DIRECTIONS.index(own)].n_queries for own in ("image_image", "audio_audio"))
    return (*shares, Number(images), Number(music))


def tagging_numbers(report: TaggingReport) -> tuple[Number, ...]:
    """ROC-AUC and PR-AUC, macro means over tags."""
    return _estimated(report.macro.roc_auc), _estimated(report.macro.average_precision)


def _number(share: float | None, interval: Estimate | None) -> Number:
    return Number(share) if interval is None else Number(share, interval.low, interval.high)


def _estimated(estimate: Estimate | None) -> Number:
    return Number(None) if estimate is None else Number(estimate.value, estimate.low, estimate.high)
