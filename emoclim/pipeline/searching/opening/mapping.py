"""Lay out a library that is open in a plane, once for as long as its index is what it is. Used by the service."""

import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch

from emoclim.files import atomic, open_regular
from emoclim.pipeline.searching.opening.opened import Opened
from emoclim.stages import ItemMap, lay_out


def map_library(opened: Opened) -> ItemMap:
    """Lay out a library, or read how it was laid out before, which is kept beside its index; see :func:`lay_out`."""
    index = opened.indexed.index
    kept = None if index.folder is None else index.folder / f"map-{index.note.table}.npz"
    if kept is not None and (found := _read(kept, len(index.items))) is not None:
        return found
    made = lay_out(opened.embedded.vectors, opened.embedded.metric)
    if kept is not None:
        with suppress(OSError), atomic(kept) as partial, partial.open("wb") as file:  # it can be made again
            np.savez(file, rows=made.rows.numpy(), points=made.points.numpy())
    return made


def _read(path: Path, items: int) -> ItemMap | None:
    """Read a map of so many items; None where there is none, or it is spoilt."""
    with suppress(OSError, ValueError, KeyError, zipfile.BadZipFile), open_regular(path) as file:
        arrays = np.load(file, allow_pickle=False)
        rows, points = torch.from_numpy(arrays["rows"]), torch.from_numpy(arrays["points"])
        if rows.dtype == torch.int64 and points.shape == (len(rows), 2) and bool(((rows >= 0) & (rows < items)).all()):
            return ItemMap(rows, points)
    return None
