"""Hold tables of features: one row per item, and optionally one row per segment of each item.

Conventions: values are float32 and raw encoder output (heads normalise their own input); ids, rows and labels keep the
order in which they were asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from emoclim.data.items.mapped_rows import BLOCK, CPU, MappedRows, copied, in_blocks, selected
from emoclim.data.labels.relevance import Taxonomy
from emoclim.data.spec import FeatureSpec
from emoclim.data.texts import Texts
from emoclim.errors import CacheError, ManifestError
from emoclim.modality import MODALITIES, Modality


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
    def device(self) -> torch.device:
        """Where values and segments lie."""
        return self._tables[0].device

    @property
    def n_segments(self) -> int:
        """Count the segments of all items."""
        segments = self._tables[1]
        return 0 if segments is None else len(segments)

    @property
    def has_windows(self) -> bool:
        """Whether there are :attr:`windows`."""
        return not self.spec.views and None not in (self._tables[1], self.offsets, self.starts)

    @property
    def windows(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """`segments`, `offsets` and `starts` if they are windows, whose average and place mean something; else None."""
        if not self.has_windows or self.segments is None or self.offsets is None or self.starts is None:
            return None
        return self.segments, self.offsets, self.starts

    def take(self, items: Tensor) -> Tensor:
        """Return the values of some rows ``(n,)`` int64: ``(n, D)``."""
        return self._tables[0][items.to(self.device)]

    def blocks(self, size: int) -> Iterator[Tensor]:
        """Yield the values in order, so many rows at a time; one block, of none, where there are none."""
        return in_blocks(self._tables[0], size)

    def segment_blocks(self, size: int) -> Iterator[Tensor]:
        """Yield the segments, if any are kept, as :meth:`blocks` does values."""
        segments = self._tables[1]
        return iter(()) if segments is None else in_blocks(segments, size)

    def count_not_finite(self) -> int:
        """Count the rows of values and segments that hold NaN or infinity."""
        finite = (rows.isfinite() for blocks in (self.blocks, self.segment_blocks) for rows in blocks(BLOCK))
        return sum(0 if found.all() else int((~found).any(dim=1).sum()) for found in finite)

    def draw(self, items: Tensor, generator: torch.Generator) -> Tensor:
        """Draw a random segment of each of some rows ``(B,)``, or its value where no segment is kept: ``(B, D)``.

        The generator is on the CPU, and advanced by B draws whether or not segments are kept.
        """
        position = torch.rand(len(items), generator=generator, dtype=torch.float64)
        values, segments = self.take(items), self._tables[1]
        if segments is None or self.offsets is None:
            return values
        first, last = self.offsets[items], self.offsets[items + 1]
        row = first + (position * (last - first)).long()
        kept = last > first
        drawn = segments[torch.where(kept, row, 0).to(self.device)]
        return torch.where(kept.to(self.device)[:, None], drawn, values)

    def without_views(self) -> "Features":
        """Leave out random views, so that an image is its centre crop; windows of recordings stay."""
        return self._with(self._tables[0], None, offsets=None, starts=None) if self.spec.views else self

    def select(self, rows: Tensor) -> "Features":
        """Select the features of some rows ``(n,)`` int64, in that order, with their segments."""
        own, (values, segments) = self.ids, self._tables
        ids = own.take(rows.numpy()) if isinstance(own, Texts) else tuple(own[row] for row in rows.tolist())
        seconds = None if self.seconds is None else self.seconds[rows]
        values = selected(values, rows)
        if segments is None or self.offsets is None or self.starts is None:
            return self._with(values, segments, ids=ids, seconds=seconds)
        counts = self.offsets[rows + 1] - self.offsets[rows]
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        within = torch.arange(int(offsets[-1])) - offsets[:-1].repeat_interleave(counts)
        picked = self.offsets[rows].repeat_interleave(counts) + within
        places = {"offsets": offsets, "starts": self.starts[picked]}
        return self._with(values, selected(segments, picked), ids=ids, seconds=seconds, **places)

    def to(self, device: torch.device) -> "Features":
        """Move values and segments to a device; the small index tensors stay on the CPU."""
        segments = None if self.segments is None else self.segments.to(device)
        return replace(self, values=self.values.to(device), segments=segments)

    @property
    def _tables(self) -> "tuple[Tensor | MappedRows, Tensor | MappedRows | None]":
        """Values and segments as they are held."""
        return self.values, self.segments

    def _with(self, values: Any, segments: Any, **others: Any) -> "Features":
        """Replace values and segments by such as are held alike, and others."""
        return replace(self, values=values, segments=segments, **others)


_copies: tuple[Any, Any] = property(lambda own: copied(own.rows)), property(lambda own: copied(own.segment_rows))


@dataclass(frozen=True)
class MappedFeatures(Features):
    """Features on the CPU whose values and segments stay in the file that they were written to.

    What takes `values` or `segments` makes a copy of all, each time; what takes some, or blocks, reads these. The file
    may be replaced meanwhile, or rows be added to it; it must not be shortened or written over.
    """

    rows: MappedRows = field(kw_only=True)
    segment_rows: MappedRows | None = field(kw_only=True, default=None)
    # properties in the place of the fields
    values: Tensor = field(init=False, repr=False, compare=False, default=_copies[0])
    segments: Tensor | None = field(init=False, repr=False, compare=False, default=_copies[1])

    @override
    def to(self, device: torch.device) -> Features:
        return self if device.type == "cpu" else Features(*self._copied(device))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as features that are in memory."""
        return Features, self._copied(CPU)

    def _copied(self, device: torch.device) -> tuple[Any, ...]:
        values, segments = (copied(table, device) for table in self._tables)
        return self.spec, self.ids, values, segments, self.offsets, self.starts, self.seconds

    @property
    @override
    def _tables(self) -> tuple[MappedRows, MappedRows | None]:
        return self.rows, self.segment_rows

    @override
    def _with(self, values: Any, segments: Any, **others: Any) -> Features:
        return replace(self, rows=values, segment_rows=segments, **others)


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
        numbers = [torch.unique(own) for own in self.pairs.values()]
        shared = numbers[0][torch.stack([torch.isin(numbers[0], own) for own in numbers]).all(dim=0)]
        rows = {modality: torch.isin(own, shared).nonzero()[:, 0] for modality, own in self.pairs.items()}
        kept = replace(self, taxonomy=None, label_vectors=None).select(rows)
        labels = {modality: torch.searchsorted(shared, own) for modality, own in (kept.pairs or {}).items()}
        return replace(kept, labels=labels, classes=tuple(map(str, shared.tolist())))

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
