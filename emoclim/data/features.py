"""Tables of features: one row per item, and optionally one row per segment of each item.

Conventions: values are float32 and raw encoder output (heads normalise their own input); ids, rows and labels keep the
order in which they were asked for.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from emoclim.errors import CacheError, CacheMismatch
from emoclim.modality import MODALITIES, Modality

Setting = int | float | str

VIEWS = "views"  # name of the setting


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """What must be equal for two features to be comparable.

    Attributes
    ----------
    name
        Name of the encoder, or of the import.
    modality
        What the encoder takes.
    dim
        Number of values per feature, D.
    checkpoint
        ``"<file>@<first 12 hex of its sha256>"``, or ``"none"`` for an encoder without parameters.
    settings
        Everything else that changes a number: input length, overlap, resampler, pixel pipeline, precision.
    """

    name: str
    modality: Modality
    dim: int
    checkpoint: str
    settings: Mapping[str, Setting]

    @property
    def views(self) -> int:
        """Random views kept of each item as its segments; 0 where segments are its consecutive windows."""
        return int(self.settings.get(VIEWS, 0))

    @property
    def keyed_by_id(self) -> bool:
        """Whether items are known by their ids, for the features were imported; else by the content of their files."""
        return self.settings.get("keys") == "ids"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, settings sorted by name."""
        return asdict(self) | {"settings": dict(sorted(self.settings.items()))}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "FeatureSpec":
        """Inverse of :meth:`to_dict`."""
        return cls(**{field.name: data[field.name] for field in fields(cls)})

    def digest(self) -> str:
        """First 12 hex digits of the sha256 of the canonical JSON; part of a cache's file name."""
        canonical = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:12]

    def differences(self, other: "FeatureSpec") -> list[str]:
        """One line per entry in which `other` differs: ``"overlap: 0.75 here, 0.5 there"``."""
        mine, theirs = _flat(self), _flat(other)
        return [
            f"{name}: {mine.get(name, 'absent')} here, {theirs.get(name, 'absent')} there"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]

    def require(self, other: "FeatureSpec", what: str) -> None:
        """Raise :class:`CacheMismatch`, naming each difference, unless `other` equals this spec.

        Parameters
        ----------
        other
            The spec that was asked for.
        what
            What carries this spec, as the message shall name it: ``"cache images-clip.h5"``.
        """
        if lines := self.differences(other):
            raise CacheMismatch(f"{what} holds other features than asked for ({'; '.join(lines)})")


def _flat(spec: FeatureSpec) -> dict[str, Setting]:
    plain: dict[str, Any] = spec.to_dict()
    settings: dict[str, Setting] = plain.pop("settings")
    return plain | settings


@dataclass(frozen=True, slots=True)
class Features:
    """Features of N items, in a fixed order.

    Attributes
    ----------
    spec
        How they were made.
    ids
        N names.
    values
        ``(N, D)`` float32: the feature of each item (mean over its sliding windows; centre crop of an image).
    segments
        ``(R, D)`` float32: each window, or each cached random crop; None where none is kept.
    offsets
        ``(N + 1,)`` int64; item n owns ``segments[offsets[n]:offsets[n + 1]]``, possibly no row.
    starts
        ``(R,)`` float32: seconds at which each segment begins; 0 for a random crop of an image.
    seconds
        ``(N,)`` float32: decoded length of each item, 0 for an image; None if not known.
    """

    spec: FeatureSpec
    ids: tuple[str, ...]
    values: Tensor
    segments: Tensor | None = None
    offsets: Tensor | None = None
    starts: Tensor | None = None
    seconds: Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def windows(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """`segments`, `offsets` and `starts` if they are windows, whose average and place mean something; else None."""
        if self.spec.views or self.segments is None or self.offsets is None or self.starts is None:
            return None
        return self.segments, self.offsets, self.starts

    def draw(self, items: Tensor, generator: torch.Generator) -> Tensor:
        """One random segment of each asked item, or its value where no segment is kept.

        Parameters
        ----------
        items
            ``(B,)`` int64 row numbers.
        generator
            Source of randomness, on the CPU; advanced by B draws whether or not segments are kept.

        Returns
        -------
        Tensor
            ``(B, D)``.
        """
        position = torch.rand(len(items), generator=generator, dtype=torch.float64)
        values = self.values[items.to(self.values.device)]
        if self.segments is None or self.offsets is None:
            return values
        first, last = self.offsets[items], self.offsets[items + 1]
        row = first + (position * (last - first)).long()
        kept = last > first
        device = self.segments.device
        drawn = self.segments[torch.where(kept, row, 0).to(device)]
        return torch.where(kept.to(device)[:, None], drawn, values)

    def select(self, rows: Tensor) -> "Features":
        """The features of some items, ``rows`` ``(n,)`` int64, in that order, with their segments."""
        ids = tuple(self.ids[row] for row in rows.tolist())
        seconds = None if self.seconds is None else self.seconds[rows]
        values = self.values[rows]
        if self.segments is None or self.offsets is None or self.starts is None:
            return replace(self, ids=ids, values=values, seconds=seconds)
        counts = self.offsets[rows + 1] - self.offsets[rows]
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        within = torch.arange(int(offsets[-1])) - offsets[:-1].repeat_interleave(counts)
        picked = self.offsets[rows].repeat_interleave(counts) + within
        return Features(self.spec, ids, values, self.segments[picked], offsets, self.starts[picked], seconds)

    def to(self, device: torch.device) -> "Features":
        """The same features with values and segments on `device`; the small index tensors stay on the CPU."""
        segments = None if self.segments is None else self.segments.to(device)
        return replace(self, values=self.values.to(device), segments=segments)


@dataclass(frozen=True, slots=True)
class Split:
    """The labelled features of one part (train, val or test) of the data.

    Attributes
    ----------
    features
        Features by modality.
    labels
        ``(N,)`` int64 by modality: index into `classes`, after the taxonomy map.
    classes
        C names.
    """

    features: Mapping[Modality, Features]
    labels: Mapping[Modality, Tensor]
    classes: tuple[str, ...]

    def lasting(self, seconds: float) -> "Split":
        """The split without the items that are shorter than `seconds`, in the modalities whose items have a length.

        Raises
        ------
        CacheError
            The length of some items is not known.
        """
        features, labels = dict(self.features), dict(self.labels)
        for modality in [modality for modality in self.features if MODALITIES[modality].timed]:
            lengths = features[modality].seconds
            if lengths is None or not (lengths > 0).all():
                raise CacheError(
                    f"the features of {modality} do not say how long its items are; extract them here, or leave out "
                    "--min-seconds"
                )
            kept = (lengths >= seconds).nonzero()[:, 0]
            features[modality], labels[modality] = features[modality].select(kept), labels[modality][kept]
        return Split(features, labels, self.classes)
