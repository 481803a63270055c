"""Hold tables of features: one row per item, and optionally one row per segment of each item.

Conventions: values are float32 and raw encoder output (heads normalise their own input); ids, rows and labels keep the
order in which they were asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from emoclim.data.labels.relevance import Taxonomy
from emoclim.data.spec import FeatureSpec
from emoclim.data.texts import Texts
from emoclim.errors import CacheError, ManifestError
from emoclim.modality import MODALITIES, Modality

CPU = torch.device("cpu")
MAPPED_ROWS = 1 << 13  # of a file that are in memory at once


@dataclass(frozen=True, slots=True)
class Features:
    """Features of N items, in a fixed order.

    Examples
    --------
    >>> spec = FeatureSpec("any", "audio", 2, "none", {})
    >>> features = Features(spec, ("a", "b"), torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> len(features), features.select(torch.tensor([1])).ids
    (2, ('b',))
    """

    spec: FeatureSpec
    ids: Sequence[str]  # a tuple of few, or Texts of many
    values: Tensor  # (N, D) float32: the mean over an item's windows; the centre crop of an image
    segments: Tensor | None = None  # (R, D) float32: each window, or each random view; None where none is kept
    offsets: Tensor | None = None  # (N + 1,) int64: item n owns segments[offsets[n]:offsets[n + 1]], possibly no row
    # (R,) float32: seconds at which each segment begins; of a passage its number; of a view 0
    starts: Tensor | None = None
    seconds: Tensor | None = None  # (N,) float32: decoded length of each item, 0 for an image; None if not known

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def windows(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """`segments`, `offsets` and `starts` if they are windows, whose average and place mean something; else None."""
        if self.spec.views or self.segments is None or self.offsets is None or self.starts is None:
            return None
        return self.segments, self.offsets, self.starts

    def draw(self, items: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a random segment of each of some rows ``(B,)``, or its value where no segment is kept: ``(B, D)``.

        The generator is on the CPU, and advanced by B draws whether or not segments are kept.
        """
        position = torch.rand(len(items), generator=generator, dtype=torch.float64)
        values = self.take(items)
        if self.segments is None or self.offsets is None:
            return values
        first, last = self.offsets[items], self.offsets[items + 1]
        row = first + (position * (last - first)).long()
        kept = last > first
        device = self.segments.device
        drawn = self.segments[torch.where(kept, row, 0).to(device)]
        return torch.where(kept.to(device)[:, None], drawn, values)

    def without_views(self) -> "Features":
        """Leave out random views, so that an image is its centre crop; windows of recordings stay."""
        return replace(self, segments=None, offsets=None, starts=None) if self.spec.views else self

    def select(self, rows: Tensor) -> "Features":
        """Select the features of some rows ``(n,)`` int64, in that order, with their segments."""
        own = self.ids
        ids = own.take(rows.numpy()) if isinstance(own, Texts) else tuple(own[row] for row in rows.tolist())
        seconds = None if self.seconds is None else self.seconds[rows]
        if self.segments is None or self.offsets is None or self.starts is None:
            return replace(self, ids=ids, seconds=seconds, **self._values_of(rows))
        counts = self.offsets[rows + 1] - self.offsets[rows]
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        within = torch.arange(int(offsets[-1])) - offsets[:-1].repeat_interleave(counts)
        picked = self.offsets[rows].repeat_interleave(counts) + within
        kept = replace(self, ids=ids, seconds=seconds, **self._values_of(rows))
        return replace(kept, segments=self.segments[picked], offsets=offsets, starts=self.starts[picked])

    def to(self, device: torch.device) -> "Features":
        """Move values and segments to a device; the small index tensors stay on the CPU."""
        segments = None if self.segments is None else self.segments.to(device)
        return replace(self, values=self.values.to(device), segments=segments)

    @property
    def device(self) -> torch.device:
        """Where the values lie."""
        return self.values.device

    def take(self, items: Tensor) -> Tensor:
        """Return the values of some rows ``(n,)`` int64: ``(n, D)``."""
        return self.values[items.to(self.values.device)]

    def blocks(self, size: int) -> Iterator[Tensor]:
        """Yield the values in order, so many rows at a time; one block, of none, where there are none."""
        yield from torch.split(self.values, size)

    def every_row(self, size: int) -> Iterator[Tensor]:
        """Yield the values and then the segments, so many rows at a time."""
        yield from self.blocks(size)
        if self.segments is not None:
            yield from torch.split(self.segments, size)

    def _values_of(self, rows: Tensor) -> dict[str, Any]:
        """Return the fields that hold the values, for some rows."""
        return {"values": self.values[rows]}


@dataclass(frozen=True, slots=True, eq=False)
class MappedRows:
    """N rows of D numbers in a file that is mapped into memory, read from there whenever they are asked for."""

    file: NDArray[np.uint8]  # (P, 4 D): as many bytes as a row has, from each byte of the file on; they share memory
    places: NDArray[np.int64]  # (N,): from which byte on the row lies

    def take(self, rows: NDArray[np.int64] | slice) -> NDArray[np.float32]:
        """Read some rows ``(n, D)``."""
        found: NDArray[np.float32] = self.file[self.places[rows]].view(np.float32)
        return found

    def blocks(self, size: int) -> Iterator[NDArray[np.float32]]:
        """Read all rows in order, so many at a time."""
        for first in range(0, max(1, len(self)), size):
            yield self.take(slice(first, first + size))

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        for block in self.blocks(MAPPED_ROWS):
            yield from block


@dataclass(frozen=True)
class MappedFeatures(Features):
    """Features on the CPU whose values stay in the file that they were written to.

    What takes `values` makes a copy of all, each time; :meth:`take` and :meth:`blocks` read what they give. The file
    may be replaced meanwhile, or rows be added to it; it must not be shortened or written over.
    """

    rows: MappedRows = field(kw_only=True, repr=False, compare=False)
    # in the place of the field, no argument of what makes or replaces such features
    values: Tensor = field(
        init=False, repr=False, compare=False, default=cast(Tensor, property(lambda own: own._on(CPU)))
    )

    @property
    @override
    def device(self) -> torch.device:
        return CPU

    @override
    def take(self, items: Tensor) -> Tensor:
        return torch.from_numpy(self.rows.take(items.numpy(force=True)))

    @override
    def blocks(self, size: int) -> Iterator[Tensor]:
        return map(torch.from_numpy, self.rows.blocks(size))

    @override
    def _values_of(self, rows: Tensor) -> dict[str, Any]:
        return {"rows": MappedRows(self.rows.file, self.rows.places[rows.numpy(force=True)])}

    def _on(self, device: torch.device) -> Tensor:
        """Copy all values, by blocks."""
        values = torch.empty(len(self), self.spec.dim, device=device)
        for block, part in zip(self.blocks(MAPPED_ROWS), torch.split(values, MAPPED_ROWS), strict=True):
            part.copy_(block)
        return values

    @override
    def to(self, device: torch.device) -> Features:
        if device.type == "cpu":
            return self
        segments = None if self.segments is None else self.segments.to(device)
        return Features(self.spec, self.ids, self._on(device), segments, self.offsets, self.starts, self.seconds)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as features that are in memory."""
        return Features, tuple(getattr(self, one.name) for one in fields(Features))


@dataclass(frozen=True, slots=True)
class Split:
    """The labelled features of one part (train, val or test) of the data.

    Examples
    --------
    >>> spec = FeatureSpec("any", "text", 2, "none", {})
    >>> poems = Features(spec, ("a", "b"), torch.zeros(2, 2))
    >>> Split({"text": poems}, {"text": torch.tensor([0, 1])}, ("joy", "fear")).classes
    ('joy', 'fear')
    """

    features: Mapping[Modality, Features]
    labels: Mapping[Modality, Tensor]  # (N,) int64: index into `classes`; -1 for none, see `numbers`
    classes: tuple[str, ...]
    label_vectors: Tensor | None = None  # (C, V): where the classes lie, in the order of `classes`
    numbers: Mapping[Modality, Tensor] | None = None  # (N, n) float32: what of each item is measured, not named
    pairs: Mapping[Modality, Tensor] | None = None  # (N,) int64: items of equal number belong together
    taxonomy: Taxonomy | None = None  # None: all classes are labels of all modalities, and relevant are equal ones

    def own_classes(self, modality: Modality) -> tuple[int, ...]:
        """Return which classes are labels of a modality."""
        return tuple(range(len(self.classes))) if self.taxonomy is None else self.taxonomy.own[modality]

    def without_views(self) -> "Split":
        """Leave out random views of images."""
        return replace(self, features={modality: one.without_views() for modality, one in self.features.items()})

    def labelled(self) -> "Split":
        """Leave out items that have no class, and modalities that have none besides."""
        kept = {modality: (labels >= 0).nonzero()[:, 0] for modality, labels in self.labels.items()}
        return replace(self, features={name: self.features[name] for name, rows in kept.items() if len(rows)}).select(
            {name: rows for name, rows in kept.items() if len(rows)}
        )

    def by_pairs(self) -> "Split":
        """Take pairs for classes, so that what is relevant to an item is its partner; leave out items without one."""
        if not self.pairs:
            raise ManifestError("the split does not say which items belong together; give it pairs")
        shared = set.intersection(*(set(numbers.tolist()) for numbers in self.pairs.values()))
        places = {number: place for place, number in enumerate(sorted(shared))}
        rows = {
            modality: torch.tensor(
                [row for row, one in enumerate(numbers.tolist()) if one in places], dtype=torch.int64
            )
            for modality, numbers in self.pairs.items()
        }
        kept = replace(self, taxonomy=None, label_vectors=None).select(rows)
        labels = {
            modality: torch.tensor([places[number] for number in numbers.tolist()], dtype=torch.int64)
            for modality, numbers in (kept.pairs or {}).items()
        }
        return replace(kept, labels=labels, classes=tuple(map(str, places)))

    def lasting(self, seconds: float) -> "Split":
        """Leave out items shorter than `seconds`, in the modalities whose items have a length."""
        kept = {}
        for modality in [modality for modality in self.features if MODALITIES[modality].timed]:
            lengths = self.features[modality].seconds
            if lengths is None or not (lengths > 0).all():
                raise CacheError(
                    f"the features of {modality} do not say how long its items are; extract them here, or leave out "
                    "--min-seconds"
                )
            kept[modality] = (lengths >= seconds).nonzero()[:, 0]
        return self.select(kept)

    def select(self, rows: Mapping[Modality, Tensor]) -> "Split":
        """Select items by modality; of a modality that is not named, all are kept."""
        features, tables = dict(self.features), [dict(table or {}) for table in (self.labels, self.numbers, self.pairs)]
        for modality, kept in rows.items():
            features[modality] = features[modality].select(kept)
            for table in tables:
                if modality in table:
                    table[modality] = table[modality][kept]
        labels, numbers, pairs = tables
        return replace(self, features=features, labels=labels, numbers=numbers or None, pairs=pairs or None)
