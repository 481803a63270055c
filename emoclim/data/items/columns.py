"""Hold the items of a large table as columns, and look at columns of any items at once.

Used by manifests, splits and libraries. Invariant: items are those that :func:`read_manifest` makes row by row; a
table with anything out of the ordinary is left to that, which tells what it is.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from emoclim.data.items.coded import Coded, Names
from emoclim.data.items.item import Item
from emoclim.data.items.remote import REMOTE, is_remote, path_within
from emoclim.data.texts import Texts

BLOCK = 1 << 15  # rows that are looked at together
CODED = ("label", "tags", "split", "group", "pair")  # columns whose values recur
COLUMNS = frozenset({"id", "path", *CODED})
SAID = ("id", "label", "tags", "split", "group")  # what a digest is of, in this order, before numbers and pairs
BARE = Item("", Path())  # has what items have by default


class ItemColumns(Sequence[Item]):
    """Items of a table whose columns are some of COLUMNS; each is made when it is asked for."""

    def __init__(self, ids: Any, paths: Any, folder: str, coded: Mapping[str, Coded]) -> None:
        self._ids, self._paths, self._folder, self._coded = ids, paths, folder, dict(coded)

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, place: int) -> Item: ...
    @overload
    def __getitem__(self, place: slice) -> "ItemColumns": ...
    def __getitem__(self, place: int | slice) -> "Item | ItemColumns":
        if isinstance(place, slice):
            return self.select(np.arange(len(self))[place])
        row = range(len(self))[place]
        return next(iter(self.select(np.array([row]))))

    def __iter__(self) -> Iterator[Item]:
        for id_, path, *values in self.columns("id", "path", *self._coded):
            yield Item(id_, path_within(self._folder, path), **dict(zip(self._coded, values, strict=True)))

    def columns(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """Yield some columns of each row; paths as they are written."""
        whole = {"id": self._ids, "path": self._ids if self._paths is None else self._paths}
        coded = {name: self.coded(name) for name in names if name not in whole}
        for first in range(0, len(self), BLOCK):
            part = slice(first, first + BLOCK)
            yield from zip(
                *(
                    map(coded[name].values.__getitem__, coded[name].codes[part].tolist())
                    if name in coded
                    else whole[name][part].to_pylist()
                    for name in names
                ),
                strict=True,
            )

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield the id and path of each item whose file lies on this machine."""
        import pyarrow.compute as pc

        paths = self._ids if self._paths is None else self._paths
        for first in range(0, len(self), BLOCK):
            ids, some = (column[first : first + BLOCK] for column in (self._ids, paths))
            here = pc.invert(pc.match_substring_regex(some, f"^{REMOTE.pattern}"))
            for id_, path in zip(ids.filter(here).to_pylist(), some.filter(here).to_pylist(), strict=True):
                yield id_, os.path.join(self._folder, path)  # noqa: PTH118 - a Path costs ten times as much

    def select(self, rows: NDArray[Any]) -> "ItemColumns":
        """Select some rows ``(n,)``, in that order."""
        coded = {name: Coded(one.values, one.codes[rows]) for name, one in self._coded.items()}
        taken = arrow_rows(rows)
        paths = self._paths if self._paths is None else self._paths.take(taken)
        return ItemColumns(self._ids.take(taken), paths, self._folder, coded)

    def with_column(self, name: str, column: Coded) -> "ItemColumns":
        """Replace a column."""
        return ItemColumns(self._ids, self._paths, self._folder, {**self._coded, name: column})

    @cached_property
    def digest(self) -> str:
        """See :func:`digest_of`."""
        return digest_of(self)

    def ids(self) -> Texts:
        """Return all ids."""
        return Texts.of(self._ids)

    def partners(self) -> Texts:
        """Return by what each item belongs together with others: its pair, or else its id."""
        import pyarrow.compute as pc

        pairs = self.coded("pair")
        names = pairs.values if isinstance(pairs.values, Names) else Texts.of(pair or "" for pair in pairs.values)
        own = names.arrow().take(arrow_rows(pairs.codes))
        return Texts.of(pc.if_else(pc.equal(pc.binary_length(own), 0), self._ids, own))

    def are_distinct(self) -> bool:
        """Tell whether all ids differ for certain; of ten million that do, it denies it once in 100,000 times."""
        hashes = np.concatenate([Texts.of(ids).hashes() for ids, _ in self.id_blocks()])
        hashes.sort()
        return bool((hashes[1:] != hashes[:-1]).all())

    def id_blocks(self) -> Iterator[tuple[Any, int]]:
        """Yield the ids, some at a time, as an array of Arrow with the row of the first."""
        return ((self._ids[first : first + BLOCK], first) for first in range(0, len(self), BLOCK))

    def coded(self, name: str) -> Coded:
        """Return a column; of one that the table lacks, what items have by default."""
        return self._coded.get(name) or Coded((getattr(BARE, name),), np.zeros(len(self), np.int32))


def values_of(items: Sequence[Item], name: str) -> Coded:
    """Return what items have of one of CODED."""
    return items.coded(name) if isinstance(items, ItemColumns) else Coded.of(getattr(item, name) for item in items)


def columns_of(items: Sequence[Item], names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield some of what each item has, but for its path, without making items of columns."""
    if isinstance(items, ItemColumns):
        return items.columns(*names)
    return (tuple(getattr(item, name) for name in names) for item in items)


def files_of(items: Sequence[Item]) -> Iterator[tuple[str, str]]:
    """Yield the id and path of each item whose file lies on this machine."""
    if isinstance(items, ItemColumns):
        return items.files()
    return ((item.id, str(item.path)) for item in items if item.path is not None and not is_remote(item.path))


def digest_of(items: Sequence[Item]) -> str:
    """Hash what is said of items to 12 hex digits."""
    hashed, before = hashlib.sha256(b"["), b""  # all of it as one JSON list, which may be too long to be made at once
    for some in _json_of_columns(items) if isinstance(items, ItemColumns) else _json_of_items(items):
        hashed.update(before)
        hashed.update(some)
        before = b", "
    hashed.update(b"]")
    return hashed.hexdigest()[:12]


def _json_of_items(items: Sequence[Item]) -> Iterator[bytes]:
    """Yield what is said of items, some at a time, as parts of one JSON list; at the end, their further numbers."""
    rows: Iterator[Any] = columns_of(items, (*SAID, "numbers", "pair"))
    rows = ((*row, *numbers, pair) if pair else (*row, *numbers) for *row, numbers, pair in rows)
    rows = chain(rows, (list(own.measures.items()) for own in items if own.measures))
    while some := list(islice(rows, BLOCK)):
        yield json.dumps(some)[1:-1].encode()


def _json_of_columns(items: ItemColumns) -> Iterator[bytes]:
    """Yield what is said of items as :func:`_json_of_items` does, without a Python object of each."""
    import pyarrow.compute as pc

    columns = [items.coded(name) for name in (*SAID[1:], "pair")]
    texts = [Texts.of(f", {json.dumps(value)}" for value in one.values).arrow() for one in columns[:-1]]
    texts.append(Texts.of(f", {json.dumps(pair)}" if pair else "" for pair in columns[-1].values).arrow())
    begin, end, nothing = Texts.of(["[", "], ", ""]).arrow()
    for ids, first in items.id_blocks():
        codes = (arrow_rows(one.codes[first : first + len(ids)]) for one in columns)
        cells = (text.take(own) for text, own in zip(texts, codes, strict=True))
        rows = Texts.of(pc.binary_join_element_wise(begin, _json_of_texts(ids), *cells, end, nothing))
        yield rows.bytes()[: -len(", ")].tobytes()


def _json_of_texts(texts: Any) -> Any:
    """Write each of some texts as JSON."""
    import pyarrow.compute as pc

    own = Texts.of(texts).bytes()
    if ((own < ord(" ")) | (own > ord("~")) | (own == ord('"')) | (own == ord("\\"))).any():
        return Texts.of(map(json.dumps, Texts.of(texts))).arrow()
    quote, nothing = Texts.of(['"', ""]).arrow()
    return pc.binary_join_element_wise(quote, texts, quote, nothing)


def arrow_rows(rows: NDArray[Any]) -> Any:
    """Make an array of Arrow of the numbers of rows ``(n,)``; `pyarrow.array` would load pandas, where that is."""
    import pyarrow as pa

    return pa.Array.from_buffers(pa.int64(), len(rows), [None, pa.py_buffer(rows.astype(np.int64))])


def ids_of(items: Sequence[Item]) -> Sequence[str]:
    """Return the ids of items, a tuple of few or Texts of many."""
    return items.ids() if isinstance(items, ItemColumns) else tuple(item.id for item in items)


def partners_of(items: Sequence[Item]) -> Sequence[str]:
    """Return by what items belong together: their pairs, or else their ids; a tuple of few or Texts of many."""
    return items.partners() if isinstance(items, ItemColumns) else tuple(item.pair or item.id for item in items)


def select_items(items: Sequence[Item], chosen: NDArray[np.bool_]) -> Sequence[Item]:
    """Select the items that are chosen ``(N,)``."""
    rows = np.flatnonzero(chosen)
    if len(rows) == len(items):
        return items
    return items.select(rows) if isinstance(items, ItemColumns) else [items[row] for row in rows.tolist()]


def with_values(items: Sequence[Item], name: str, values: Iterable[Any]) -> Sequence[Item]:
    """Replace what items have of one of CODED."""
    if isinstance(items, ItemColumns):
        return items.with_column(name, Coded.of(values))
    return tuple(replace(item, **{name: value}) for item, value in zip(items, values, strict=True))
