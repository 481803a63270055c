"""What every cache asks of the items it is given and of the keys it is asked for."""

import math
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import Tensor

from emoclim.errors import CacheError, name_some

if TYPE_CHECKING:
    from emoclim.cache.contract import EncodedItem

T = TypeVar("T")


def check_items(items: Sequence["EncodedItem"], dim: int, committed: Collection[str], where: str) -> None:
    """Raise :class:`CacheError` unless all `items` may be appended."""
    new: set[str] = set()
    for item in items:
        if fault := _fault(item, dim):
            raise CacheError(f"item {item.key!r} cannot be kept in {where}: {fault}")
        if item.key in committed or item.key in new:
            raise CacheError(f"{where} holds {item.key!r} already, or was given it twice; append each key once")
        new.add(item.key)


def look_up(keys: Sequence[str], committed: Mapping[str, T], where: str) -> list[T]:
    """What is `committed` under each of `keys`; raise :class:`CacheError`, counting and naming the unknown ones."""
    try:
        return [committed[key] for key in keys]
    except KeyError:
        unknown = list(dict.fromkeys(key for key in keys if key not in committed))
    raise CacheError(
        f"{where} does not hold {len(unknown)} of the {len(keys)} keys asked for ({name_some(unknown)}); "
        "extract these items first"
    )


def repair_with(cache: Path) -> str:
    """The command that leaves damaged items out of a cache, and keeps the others."""
    return f"emoclim cache verify {shlex.quote(str(cache))} --repair"


def _fault(item: "EncodedItem", dim: int) -> str | None:
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
        if not bool(torch.isfinite(tensor).all()):
            return f"its {name} has a number that is not finite"
    if not (math.isfinite(item.seconds) and item.seconds >= 0):
        return f"its length is {item.seconds} seconds"
    return None
