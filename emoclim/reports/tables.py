"""Format percentages and numbers with their intervals as rows of text, for all tables of the reports.

A table is a list of rows, names of the columns first. Values are shares from 0 to 1, shown in percent.
"""

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emoclim.errors import on_one_line
from emoclim.metrics import BootstrapMeans

Row = tuple[str, ...]
Part = tuple[str, float]  # what adds how much to a score
PARTS, CELLS = 5, 20  # of each score that are shown, and the length of the longest bar
MARKDOWN = re.compile(r"[\\|`*\[\]~]|(?<!\w)_")  # within a word, an underscore is one


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, and how sure it is."""

    value: float
    low: float | None = None  # ends of the 95 % interval; None where no spread was seen
    high: float | None = None

    @classmethod
    def of(cls, found: BootstrapMeans, column: int) -> "Estimate":
        """Take one column of means ``(T,)``."""
        value, *ends = (float(numbers[column]) for numbers in (found.value, found.low, found.high))
        return cls(value, *(None if math.isnan(end) else end for end in ends))

    @property
    def ends(self) -> str:
        """``"31.2–35.8"``, in percent; nothing where there is no interval."""
        if self.low is None or self.high is None:
            return ""
        return "–".join(f"{round(100 * end, 1) + 0.0:.1f}" for end in (self.low, self.high))  # never -0.0

    @property
    def signed(self) -> str:
        """A difference, in percent: ``"+1.20"``."""
        return f"{round(100 * self.value, 2) + 0.0:+.2f}"


def percent(share: float | None) -> str:
    """Format a share as ``"31.20%"``; a dash where nothing is known."""
    return "–" if share is None else f"{share:.2%}"


def shorten(name: str, limit: int = 60) -> str:
    """Return a name as tables and pictures show it: of a long one the beginning and the end."""
    return name if len(name) <= limit else f"{name[: limit - 16]}…{name[-15:]}"


def main_parts(parts: Sequence[Part]) -> list[Part]:
    """Choose the parts of one score that weigh most, in their order, and add up the others to one."""
    least = sorted((abs(value) for _, value in parts), reverse=True)[:PARTS]
    chosen = [place for place, (_, value) in enumerate(parts) if abs(value) >= least[-1]][:PARTS] if parts else []
    shown, others = [parts[place] for place in chosen], len(parts) - len(chosen)
    rest = sum(value for place, (_, value) in enumerate(parts) if place not in chosen)
    return [*shown, (f"{others} more", rest)] if others else shown


def reason_rows(scores: Sequence[Sequence[Part]]) -> list[Row]:
    """Return a row of column names, then for each score, by its rank, what adds most to it and a bar of it."""
    rows: list[Row] = [("", "because of", "adds", "")]
    shown = [main_parts(parts) for parts in scores]
    longest = max((abs(value) for parts in shown for _, value in parts[:PARTS]), default=0) or 1.0
    for rank, parts in enumerate(shown, start=1):
        for place, (name, value) in enumerate(parts):
            bar = "" if place == PARTS else ("█" if value > 0 else "▒") * round(CELLS * abs(value) / longest)
            rows.append(("" if place else str(rank), shorten(name), f"{value:+.3f}", bar))
    return rows


def to_markdown(text: str) -> str:
    """Write text in one line of Markdown, and so that none of its signs is one: no cell, tag, link or code begins."""
    return MARKDOWN.sub(r"\\\g<0>", html.escape(on_one_line(" ".join(text.split())), quote=False))


def candidate_table(
    name: str,
    weights: Mapping[str, Sequence[float]],
    settings: Mapping[str, Sequence[Any]],
    results: Mapping[str, Sequence[str]],
    names: Sequence[str],
) -> list[Row]:
    """Tabulate candidates of a sweep, given by column: name, loss weights, settings, results."""
    columns = [
        names,
        *([f"{weight:.3g}" for weight in column] for column in weights.values()),
        *([f"{one:.4g}" if isinstance(one, float) else str(one) for one in column] for column in settings.values()),
        *results.values(),
    ]
    return [(name, *weights, *settings, *results), *zip(*columns, strict=True)]
