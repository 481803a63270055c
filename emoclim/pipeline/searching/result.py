"""Hold what a search found, and show it as plain values and tables."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from emoclim.errors import EmoclimError
from emoclim.modality import Modality
from emoclim.pipeline.searching.query_kinds import Query, shown_query
from emoclim.reports import reason_rows, shorten
from emoclim.stages import Reason

SHOWN_EMOTIONS, SHOWN_SHARE = 2, 0.05  # of each item in tables: how many at most, and how likely at least

APPROXIMATE = "Not all items were read: most of the nearest are found, and percentiles are estimates"

Emotions = Mapping[str, float]  # probability by class, see EmotionReader


@dataclass(frozen=True, slots=True)
class Found:
    """A hit, with what its manifest says of it."""

    rank: int  # from 1
    id: str
    row: int  # of the library's items
    path: Path | str | None  # an address is a text
    label: str | None
    score: float  # cosine of the two embeddings, augmented where the objective compares by distances
    parts: Mapping[str, float]  # standardised scores that a mixed one is the mean of; of a point, where the item lies
    percentile: float  # percent of the ranked items that score lower
    emotions: Emotions | None  # read from its embedding; None where the run's training items are not at hand
    reasons: tuple[Reason, ...]  # what its score is the sum of, if that was asked for and has names, the greatest first
    start: float | None  # seconds at which its best passage begins, or its number; None for what has no segments
    place: str  # the same in words; empty for what has no segments
    text: str | None  # its best passage, or all of it; None for what is no text
    query_start: float | None  # of the query's passage that it is nearest to; None where the query has but one
    query_place: str
    query_text: str | None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The answer to one query."""

    query: Query
    run: str  # its name; "words" without one
    head: int | None  # its number among those of the run; None by words
    encoders: Mapping[Modality, str]  # of what is compared
    why: str | None  # that it is by words, with these encoders, in a sentence; None by a run
    mix: str | None  # what scores are the mean of, in a sentence; None where they are not mixed
    placed: str | None  # where emotions lie that a place of valence and arousal is compared with, in a sentence
    approximate: str | None  # that not all items were read, in a sentence; None where they were
    unexplained: str | None  # why there are no reasons that were asked for, in a sentence
    library: str
    candidates: int  # how many items were ranked
    left_out: tuple[str, ...]  # ids of the items that are the query itself or equal to it
    emotions: Emotions | None  # read in the query
    found: tuple[Found, ...]  # the nearest first

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return dict(to_jsonable_python(self))

    @property
    def title(self) -> str:
        """The query, what is read in it, by which run, and what was not ranked."""
        by = f"run {self.run}" if self.head is not None else f"by {self.run}"
        read = _told(self.emotions)  # nothing where all are as likely
        title = f"{shown_query(self.query)}{f': reads as {read}' if read else ''} ({by}"
        title += f"; {len(self.left_out)} equal to it left out)" if self.left_out else ")"
        if self.found:
            return title
        if self.candidates:
            return f"{title}: retrieves nothing of {self.library}, as its emotion is none of the labels there"
        return f"{title}: nothing else in {self.library} to rank"

    @property
    def _mixed(self) -> Collection[str]:
        return self.found[0].parts if self.found else ()

    def table_rows(self) -> list[tuple[str, ...]]:
        """Return a row of column names, then one row per hit; without columns of which nothing is known."""
        columns = {
            "": [str(one.rank) for one in self.found],
            "path": [_shown(one.path) if one.path else one.id for one in self.found],
            "label": [shorten(one.label or "") for one in self.found],
            "reads as": [_told(one.emotions) for one in self.found],
            "score": [f"{one.score:.3f}" for one in self.found],
            **{name: [f"{one.parts[name]:+.2f}" for one in self.found] for name in self._mixed},
            "percentile": [f"{one.percentile:.1f}" for one in self.found],
            "best passage": [one.place for one in self.found],
            "text": [shorten(" ".join((one.text or "").split())) for one in self.found],
            "passage of the query": [one.query_place for one in self.found],
            "its text": [shorten(" ".join((one.query_text or "").split())) for one in self.found],
        }
        known = {name: cells for name, cells in columns.items() if any(cells)}
        return [tuple(known), *zip(*known.values(), strict=True)]

    def reason_rows(self) -> list[tuple[str, ...]]:
        """Return a row of column names, then by hit what adds most to its score, or takes most of it, with bars."""
        return reason_rows([[(one.name, one.contribution) for one in each.reasons] for each in self.found])


@dataclass(frozen=True, slots=True)
class FailedQuery:
    """A query that could not be answered."""

    query: Query
    error: EmoclimError

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON, in the form of all errors."""
        return {
            "query": to_jsonable_python(self.query),
            "error": {"type": type(self.error).__name__, "message": str(self.error)},
        }


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of each query."""

    each: tuple[SearchResult | FailedQuery, ...]  # in the order they were asked in

    @property
    def results(self) -> list[SearchResult]:
        """Those that were answered."""
        return [one for one in self.each if isinstance(one, SearchResult)]

    @property
    def bridges(self) -> list[str]:
        """Say what some were answered by, what scores are, what was not read, and what has no reasons."""
        each = ((one.why, one.mix, one.placed, one.approximate, one.unexplained) for one in self.results)
        return list(dict.fromkeys(told for lines in each for told in lines if told))

    @property
    def failures(self) -> list[str]:
        """Say why others were not."""
        return [str(one.error) for one in self.each if isinstance(one, FailedQuery)]

    def to_dict(self) -> list[dict[str, Any]]:
        """Return plain values by query, for JSON."""
        return [one.to_dict() for one in self.each]


def _told(emotions: Emotions | None) -> str:
    """``"happy 62 %, funny 21 %"``."""
    ordered = sorted((emotions or {}).items(), key=lambda pair: -pair[1])[:SHOWN_EMOTIONS]
    return ", ".join(f"{shorten(name)} {share:.0%}" for name, share in ordered if share >= SHOWN_SHARE)


def _shown(path: Path | str) -> str:
    """Return a path as a reader would type it: relative to the current folder where it lies in it."""
    if isinstance(path, Path) and path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    return str(path)
