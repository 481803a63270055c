"""Hold the items of a large table as columns, and look at columns of any items at once.

Used by manifests, splits and libraries. Invariant: items are those that :func:`read_manifest` makes row by row; a
table with anything out of the ordinary is left to that, which tells what it is.
"""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from emoclim.data.item import SPLITS, Item
from emoclim.data.media.containers.parquet import text_bytes, unpacked_bytes
from emoclim.data.tables import SEPARATOR
from emoclim.errors import ManifestError
from emoclim.files import open_regular, require_memory

LARGE = 100_000  # rows, from which items are not all made at once
BLOCK = 1 << 15  # rows that are looked at together
CODED = ("label", "tags", "split", "group", "pair")  # columns whose values recur
COLUMNS = frozenset({"id", "path", *CODED})
BARE = Item("", Path())  # has what items have by default


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of N values that recur: each of them once, and the number of each row's."""

    values: Sequence[Any]
    codes: NDArray[np.int32]  # (N,)

    @classmethod
    def of(cls, values: Iterable[Hashable]) -> "Coded":
        """Number values in the order of their first occurrence."""
        numbers: dict[Hashable, int] = {}
        codes = np.fromiter((numbers.setdefault(value, len(numbers)) for value in values), np.int32)
        return cls(tuple(numbers), codes)

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[Any]:
        return map(self.values.__getitem__, self.codes.tolist())

    def where(self, chosen: Iterable[bool]) -> NDArray[np.bool_]:
        """Tell of each row ``(N,)`` whether its value is chosen, given that of each of the `values`."""
        return np.fromiter(chosen, np.bool_, len(self.values))[self.codes]

    def counts(self) -> dict[Any, int]:
        """Count the rows of each value that has any."""
        found = np.bincount(self.codes, minlength=len(self.values)).tolist()
        return {value: count for value, count in zip(self.values, found, strict=True) if count}


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
            yield Item(id_, Path(self._folder, path), **dict(zip(self._coded, values, strict=True)))

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

    def select(self, rows: NDArray[Any]) -> "ItemColumns":
        """Select some rows ``(n,)``, in that order."""
        coded = {name: Coded(one.values, one.codes[rows]) for name, one in self._coded.items()}
        paths = self._paths if self._paths is None else self._paths.take(rows)
        return ItemColumns(self._ids.take(rows), paths, self._folder, coded)

    def with_column(self, name: str, column: Coded) -> "ItemColumns":
        """Replace a column."""
        return ItemColumns(self._ids, self._paths, self._folder, {**self._coded, name: column})

    def ids(self) -> list[str]:
        """Return all ids."""
        found: list[str] = self._ids.to_pylist()
        return found

    def n_ids(self) -> int:
        """Count the different ids."""
        import pyarrow.compute as pc

        return int(pc.count_distinct(self._ids).as_py())

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


def ids_of(items: Sequence[Item]) -> list[str]:
    """Return the ids of items."""
    return items.ids() if isinstance(items, ItemColumns) else [item.id for item in items]


def where(items: Sequence[Item], chosen: NDArray[np.bool_]) -> Sequence[Item]:
    """Select the items that are chosen ``(N,)``."""
    rows = np.flatnonzero(chosen)
    return items.select(rows) if isinstance(items, ItemColumns) else [items[row] for row in rows.tolist()]


def with_values(items: Sequence[Item], name: str, values: Iterable[Any]) -> Sequence[Item]:
    """Replace what items have of one of CODED."""
    if isinstance(items, ItemColumns):
        return items.with_column(name, Coded.of(values))
    return tuple(replace(item, **{name: value}) for item, value in zip(items, values, strict=True))


def read_columns(source: Path, *, unlabelled: bool) -> ItemColumns | None:
    """Read a large Parquet table; None where it is small, or one that only a look at each row can judge."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_regular(source) as stream:
            found = pq.ParquetFile(stream)
            names = [name.strip().lower() for name in found.schema_arrow.names]
            if found.metadata.num_rows < LARGE or not _is_usual(names, found.schema_arrow.types):
                return None
            require_memory(source, unpacked_bytes(stream), ManifestError)
            # a value that recurs stays one in memory, where a small file may repeat a long one without end
            file = pq.ParquetFile(stream, read_dictionary=found.schema_arrow.names, page_checksum_verification=True)
            return _gather(source, names, file.iter_batches(BLOCK), unlabelled)
    except (pa.ArrowException, OSError, ValueError, TypeError):  # which the look at rows tells
        return None


def _is_usual(names: Sequence[str], kinds: Sequence[Any]) -> bool:
    """Tell whether columns are single ones of COLUMNS, of text, and paths among them."""
    import pyarrow as pa

    plain = [getattr(kind, "value_type", kind) if pa.types.is_dictionary(kind) else kind for kind in kinds]
    texts = all(pa.types.is_string(kind) or pa.types.is_large_string(kind) for kind in plain)
    return texts and "path" in names and len(set(names)) == len(names) and COLUMNS.issuperset(names)


def _gather(source: Path, names: Sequence[str], batches: Iterable[Any], unlabelled: bool) -> ItemColumns | None:
    """Join the columns of batches; None where an id or a path lacks or is there twice, or a split is none."""
    import pyarrow as pa

    numbers: dict[str, dict[str, int]] = {name: {} for name in names if name in CODED}
    codes: dict[str, list[NDArray[np.int32]]] = {name: [] for name in numbers}
    ids, paths, texts = [], [], 0
    for batch in batches:
        sizes = dict(zip(names, map(text_bytes, batch.columns), strict=True))
        texts += sizes["path"] + sizes.get("id", 0)  # of the others, each value is kept once
        require_memory(source, texts + sum(sizes.values()), ManifestError)
        cells = dict(zip(names, map(_cells, batch.columns), strict=True))
        own = (
            cells["path"]
            if "id" not in cells
            else [id_.strip() or path for id_, path in zip(cells["id"], cells["path"], strict=True)]
        )
        if not all(own) or not all(cells["path"]):
            return None
        ids.append(pa.array(own, pa.large_string()))
        paths.append(ids[-1] if own == cells["path"] else pa.array(cells["path"], pa.large_string()))
        for name, known in numbers.items():
            codes[name].append(np.fromiter((known.setdefault(cell, len(known)) for cell in cells[name]), np.int32))
    coded = {name: _normal(name, numbers[name], np.concatenate(codes[name])) for name in numbers}
    if unlabelled:
        coded = {name: one for name, one in coded.items() if name not in ("label", "pair")}
    if "split" in coded and not {None, *SPLITS}.issuperset(coded["split"].values):
        return None
    same = all(one is other for one, other in zip(ids, paths, strict=True))
    items = ItemColumns(_whole(ids), None if same else _whole(paths), str(source.parent), coded)
    return items if items.n_ids() == len(items) else None


def _cells(column: Any) -> list[str]:
    """Return the cells of some rows; a dictionary of theirs may be that of very many."""
    column.validate(full=True)  # damage may point to anything
    cells: list[str | None] = getattr(column, "dictionary_decode", lambda: column)().to_pylist()
    return [cell or "" for cell in cells]


def _whole(parts: Sequence[Any]) -> Any:
    import pyarrow as pa

    return pa.chunked_array(parts).combine_chunks()


def _normal(name: str, cells: Iterable[str], codes: NDArray[np.int32]) -> Coded:
    """Make values of cells as an item has them; cells may be spelt differently and have one."""
    values = Coded.of(getattr(item_with(name, cell), name) for cell in cells)
    return Coded(values.values, values.codes[codes])


def item_with(name: str, cell: str) -> Item:
    """Make an item that has one column of CODED."""
    if name == "tags":
        return Item("", Path(), tags=tuple(tag.strip() for tag in cell.split(SEPARATOR) if tag.strip()))
    given: dict[str, Any] = {name: cell.strip() or None}
    return Item("", Path(), **given)
