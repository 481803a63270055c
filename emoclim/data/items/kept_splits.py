"""Read the splits that are kept beside a large table, as columns. Used by `splits`.

Invariant: whatever is not as :func:`~emoclim.data.splits.with_splits` writes it is left to that, to tell what it is.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclim.data.items.coded import Coded
from emoclim.data.items.columns import ItemColumns
from emoclim.data.items.item import SPLITS
from emoclim.data.texts import Texts
from emoclim.errors import ManifestError
from emoclim.files import read_regular

HEADER = b"id,split\n"
SIGNS = np.frombuffer(b",\n", np.uint8)  # of a row, one of each


def kept_splits(path: Path, items: ItemColumns) -> Coded | None:
    """Return the split of each item, None of those that have none in a file; None where only rows tell what it is."""
    if (table := _read_table(path)) is None:
        return None
    import pyarrow.compute as pc

    ids, splits = table
    found = pc.index_in(items.ids().arrow(), value_set=ids)
    codes = splits[np.from_dlpack(pc.fill_null(found, len(ids)) if found.null_count else found)]
    used, first, numbers = np.unique(codes, return_index=True, return_inverse=True)
    order = first.argsort()  # values are in the order of their first rows
    values = [(*SPLITS, None)[code] for code in used[order]]
    return Coded(tuple(values), order.argsort()[numbers.ravel()].astype(np.int32))


def _read_table(path: Path) -> tuple[Any, NDArray[np.int32]] | None:
    """Read the ids of a table, as an array of Arrow, and the number of each one's split, behind them that of none."""
    try:
        content = read_regular(path, ManifestError, follow=True)
        text = content[len(HEADER) :].decode()
    except (OSError, UnicodeDecodeError):
        return None
    raw = np.frombuffer(content, np.uint8)[len(HEADER) :]
    signs = raw[np.isin(raw, SIGNS)]
    rows = signs.reshape(-1, 2) if len(signs) and not len(signs) % 2 else None
    usual = content.startswith(HEADER) and content.endswith(b"\n") and not {'"', "\r", "\0"}.intersection(text)
    if not usual or rows is None or (rows != SIGNS).any():
        return None
    cells = Texts.split(text[:-1].replace("\n", ","), ",")
    ids, splits = cells[::2].arrow(), cells[1::2].arrow().dictionary_encode()
    named = splits.dictionary.to_pylist()
    if not set(named).issubset(SPLITS) or len(ids.unique()) < len(ids):
        return None
    numbers = np.array([SPLITS.index(name) for name in named])[np.from_dlpack(splits.indices)]
    return ids, np.append(numbers, len(SPLITS)).astype(np.int32)
