"""Hold what a manifest says of one thing to encode. Used by everything that knows manifests."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emoclim.data.labels.valence_arousal import NUMBERS
from emoclim.data.listing import composed
from emoclim.errors import ManifestError

SPLITS = ("train", "val", "test")
NONE: Mapping[str, float] = {}  # further numbers of all items that have none


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to encode.

    Raises
    ------
    ManifestError
        There is neither a path nor a text, or there are numbers that are not two, or not finite.

    Examples
    --------
    >>> Item("a", Path("a.wav"), label="happy", start=3.0, duration=5.0).label
    'happy'
    """

    id: str  # unique in its manifest
    path: Path | None = None  # the file that holds it, or
    text: str | None = None
    start: float | None = None  # seconds: where the part of the file begins that is meant
    duration: float | None = None
    label: str | None = None  # one emotion in the manifest's own taxonomy; None for what is only to be searched
    tags: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None  # track, author or piece; never in two splits
    pair: str | None = None  # what it belongs together with, items of all modalities; None: those of its id
    numbers: tuple[float, ...] = ()  # valence and arousal, in the manifest's own scale; or none
    # further numbers, by lower-case column
    measures: Mapping[str, float] = field(default_factory=lambda: NONE, hash=False)

    def __post_init__(self) -> None:
        if self.path is None and self.text is None:
            raise ManifestError(f"item {self.id!r} has neither a path nor a text; give one of them")
        if self.numbers and (len(self.numbers) != len(NUMBERS) or not all(map(math.isfinite, self.numbers))):
            raise ManifestError(f"item {self.id!r} has the numbers {self.numbers}; give valence and arousal, finite")
        if isinstance(self.path, str):
            object.__setattr__(self, "path", Path(self.path))
        for name in ("label", "split", "group", "pair"):
            if (given := getattr(self, name)) and not given.isascii():
                object.__setattr__(self, name, composed(given) or None)
        if self.tags:
            object.__setattr__(self, "tags", tuple(dict.fromkeys(filter(None, map(composed, self.tags)))))

    @property
    def annotated(self) -> bool:
        """Whether heads can learn from it: it has a label, valence and arousal, or a pair that is named."""
        return self.label is not None or bool(self.numbers) or self.pair is not None
