"""Encoded items: what caches take, what they check of it, and how it becomes rows. Loads no torch by itself."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from emoclim.cache.formats.store import Rows, Table
from emoclim.cache.ledger.checksums import segment_checksums, value_checksums
from emoclim.cache.ledger.lines import Commit
from emoclim.data import FeatureSpec, Texts
from emoclim.errors import CacheError, name_some

if TYPE_CHECKING:
    from torch import Tensor

    from emoclim.data import Features, MappedRows

T = TypeVar("T")
BLOCK_ITEMS = 256


@dataclass(frozen=True, slots=True)
class EncodedItem:
    """What an encoder made of one item; segments and starts go together."""

    key: str  # of the content
    value: "Tensor"  # (D,) float32: the feature of the item
    segments: "Tensor | None" = None  # (S, D) float32; None if no segment is to be kept
    starts: "Tensor | None" = None  # (S,) float32, seconds
    seconds: float = 0.0  # decoded length; 0 for an image


def check_items(items: Sequence[EncodedItem], dim: int, committed: Collection[str], where: str) -> None:
    """Raise :class:`CacheError` unless all `items` may be appended."""
    new: set[str] = set()
    for item in items:
        if fault := _fault(item, dim):
            raise CacheError(f"item {item.key!r} cannot be kept in {where}: {fault}; encode it again")
        if item.key in committed or item.key in new:
            raise CacheError(f"{where} holds {item.key!r} already, or was given it twice; append each key once")
        new.add(item.key)


def refuse_unknown(keys: Sequence[str], committed: Collection[str], where: str) -> NoReturn:
    """Raise :class:`CacheError` that counts and names those of `keys` that are not `committed`."""
    unknown = list(dict.fromkeys(key for key in keys if key not in committed))
    raise CacheError(
        f"{where} does not hold {len(unknown)} of the {len(keys)} keys asked for ({name_some(unknown)}); "
        "extract these items first"
    )


class NewRows(NamedTuple):
    """Rows that are to be committed at once."""

    keys: Sequence[str]
    tables: dict[Table, Rows]  # values (n, D), and segments (R, D) and starts (R,) if any item has a segment
    counts: NDArray[np.int64]  # (n,): segments of each item
    seconds: NDArray[np.float64]  # (n,)

    def commit(self) -> Commit:
        """Describe them for the ledger."""
        tables, counts = self.tables, self.counts
        sums = segment_checksums(tables.get("segments"), tables.get("starts"), counts)
        columns = {"count": counts, "seconds": self.seconds, "value": value_checksums(tables["values"])}
        return Commit.of(self.keys, columns | {"segments": sums})

    @classmethod
    def of_items(cls, items: Sequence[EncodedItem]) -> "NewRows":
        """Stack what items have."""
        rows: dict[Table, Rows] = {"values": _stack([item.value[None] for item in items])}
        segments = [item.segments for item in items if item.segments is not None and len(item.segments)]
        if segments:
            starts = [item.starts for item in items if item.starts is not None]
            rows |= {"segments": _stack(segments), "starts": _stack(starts)}
        counts = np.array([0 if item.segments is None else len(item.segments) for item in items], np.int64)
        seconds = np.array([item.seconds for item in items], np.float64)
        return cls([item.key for item in items], rows, counts, seconds)

    @classmethod
    def of_features(cls, features: "Features") -> "NewRows":
        """Take what features have, their `ids` as keys."""
        tables: dict[Table, Tensor] = {"values": features.values}
        if features.segments is not None and features.starts is not None and len(features.segments):
            tables |= {"segments": features.segments, "starts": features.starts}
        rows = {table: np.ascontiguousarray(part.detach().cpu().numpy()) for table, part in tables.items()}
        seconds = np.zeros(len(features)) if features.seconds is None else features.seconds.double().cpu().numpy()
        return cls(features.ids, rows, np.diff(_offsets(features)), seconds)


def to_features(
    spec: FeatureSpec,
    keys: Sequence[str],
    tables: "tuple[Rows | MappedRows, Rows | MappedRows]",
    seconds: NDArray[np.float64],
    places: tuple[NDArray[np.int64], Rows],
) -> "Features":
    """Make features of values and segments, which loads torch; `places` are the offsets and starts of segments."""
    from torch import from_numpy

    from emoclim.data import Features, MappedFeatures, MappedRows

    values, segments = tables
    offsets, starts = map(from_numpy, places)
    ids, lasting = keys if isinstance(keys, Texts) else tuple(keys), from_numpy(seconds.astype(np.float32))
    held: dict[str, Any]
    found: dict[str, Any] = {"offsets": offsets, "starts": starts} if len(segments) else {}
    if isinstance(values, MappedRows) and isinstance(segments, MappedRows):
        held = {"rows": values, "segment_rows": segments if found else None}
        return MappedFeatures(spec, ids, seconds=lasting, **held, **found)
    held = {"values": from_numpy(values), "segments": from_numpy(segments) if found else None}
    return Features(spec, ids, seconds=lasting, **held, **found)


def split_features(features: "Features") -> Iterator[EncodedItem]:
    """Split features into items, to be appended elsewhere; their `ids` become keys."""
    ends = _offsets(features).tolist()
    seconds = [0.0] * len(features) if features.seconds is None else features.seconds.tolist()
    for n, (first, last) in enumerate(pairwise(ends)):
        item = EncodedItem(features.ids[n], features.values[n], seconds=seconds[n])
        if features.segments is not None and features.starts is not None and last > first:
            item = replace(item, segments=features.segments[first:last], starts=features.starts[first:last])
        yield item


def _offsets(features: "Features") -> NDArray[np.int64]:
    """Return where the segments of each item begin, and the last end ``(n + 1,)``, if these are the segments there."""
    held = 0 if features.segments is None else len(features.segments)
    none = np.zeros(len(features) + 1, np.int64)
    offsets = none if features.offsets is None else features.offsets.numpy(force=True)
    fits = offsets.shape == none.shape and not offsets[0] and offsets[-1] == held and (np.diff(offsets) >= 0).all()
    if not fits or (held and features.starts is None):
        advice = f"give {len(none)} that rise from 0 to the number of segments, and the start of each"
        raise CacheError(f"the offsets and starts of features do not fit their {held} segments; {advice}")
    return offsets


def are_sound(features: "Features", dim: int) -> bool:
    """Tell whether all items of features may be appended, but for keys that are there already.

    :func:`check_items` says what is wrong with which.
    """
    items, count = len(features), 0 if features.segments is None else len(features.segments)
    shapes = {"values": (items, dim), "segments": (count, dim), "starts": (count,), "seconds": (items,)}
    arrays = {name: getattr(features, name).numpy() for name in shapes if getattr(features, name) is not None}
    return (
        "" not in features.ids
        and all(array.dtype == np.float32 and array.shape == shapes[name] for name, array in arrays.items())
        and all(np.isfinite(array).all() for array in arrays.values())
        and bool((arrays.get("seconds", np.zeros(1)) >= 0).all())
    )


def in_blocks(keys: Sequence[T], size: int = BLOCK_ITEMS) -> list[Sequence[T]]:
    """Cut keys into blocks that are read or committed at once."""
    return [keys[first : first + size] for first in range(0, len(keys), size)]


def _stack(parts: "Sequence[Tensor]") -> Rows:
    import torch  # which whoever has tensors has loaded

    rows: Rows = torch.cat(list(parts)).detach().cpu().numpy()
    return np.ascontiguousarray(rows)


def _fault(item: EncodedItem, dim: int) -> str | None:
    import torch

    if not item.key:
        return "its key is empty"
    if (item.segments is None) != (item.starts is None):
        return "segments and starts go together, and one of them is missing"
    count = 0 if item.segments is None else len(item.segments)
    expected = {"value": (dim,), "segments": (count, dim), "starts": (count,)}
    for name, shape in expected.items():
        tensor: Tensor | None = getattr(item, name)
        if tensor is None:
            continue
        if tensor.shape != shape or tensor.dtype != torch.float32:
            return f"its {name} is {tensor.dtype} {tuple(tensor.shape)}, not torch.float32 {shape}"
        if not np.isfinite(tensor.detach().cpu().numpy()).all():  # in a fifth of the time that torch takes
            return f"its {name} has a number that is not finite"
    if not (math.isfinite(item.seconds) and item.seconds >= 0):
        return f"its length is {item.seconds} seconds"
    return None
