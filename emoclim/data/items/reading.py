"""Read large tables of items column by column. Used by manifests.

Invariant: a table with anything out of the ordinary is left to the look at each row, which tells what it is.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclim.data.items.coded import Coded, Names
from emoclim.data.items.columns import BLOCK, CODED, COLUMNS, ItemColumns
from emoclim.data.items.item import SPLITS, Item
from emoclim.data.items.remote import name_of
from emoclim.data.media.containers.parquet import arrow_source, text_bytes, unpacked_bytes
from emoclim.data.tables import SEPARATOR
from emoclim.data.texts import Texts
from emoclim.errors import ManifestError
from emoclim.files import open_regular, require_memory

LARGE = 100_000  # rows, from which items are not all made at once
RENAMED = r"(?s):/([^/]|/?$|//|.*[@?\x1f])"  # of addresses that are shown otherwise: their slashes, or what is secret
DELETE = 127  # the first byte that may be of white space beyond " "


def read_columns(source: Path, *, unlabelled: bool) -> ItemColumns | None:
    """Read a large Parquet table; None where it is small, or one that only a look at each row can judge."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_regular(source) as stream:
            found = pq.ParquetFile(content := arrow_source(stream))
            names = [name.strip().lower() for name in found.schema_arrow.names]
            if found.metadata.num_rows < LARGE or not _is_usual(names, found.schema_arrow.types):
                return None
            require_memory(source, unpacked_bytes(stream), ManifestError)
            # a value that recurs stays one in memory, where a small file may repeat a long one without end
            file = pq.ParquetFile(content, read_dictionary=found.schema_arrow.names, page_checksum_verification=True)
            items = _gather(source, names, file.iter_batches(BLOCK, use_threads=False), unlabelled)
            del file
            pa.default_memory_pool().release_unused()  # several times what the columns take
            return items
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
    cells: dict[str, list[Any]] = {name: [] for name in names if name in CODED}
    ids, paths, texts = [], [], 0
    for batch in batches:
        sizes = dict(zip(names, map(text_bytes, batch.columns), strict=True))
        texts += sizes["path"] + sizes.get("id", 0)
        require_memory(source, texts + sum(sizes.values()), ManifestError)
        columns = dict(zip(names, batch.columns, strict=True))
        path = _texts(columns["path"])
        own = _own_ids(_texts(columns["id"]), path) if "id" in columns else _shown(path)
        if _lacks_any(own) or _lacks_any(path):
            return None
        ids.append(own)
        paths.append(own if own.equals(path) else path)
        for name, parts in cells.items():
            parts.append(_texts(columns[name]).dictionary_encode())
            texts += parts[-1].dictionary.nbytes  # of these, each value is kept once in a batch
    coded = {name: _normal(name, *_numbered(parts)) for name, parts in cells.items()}
    if unlabelled:
        coded = {name: one for name, one in coded.items() if name not in ("label", "pair")}
    if "split" in coded and not {None, *SPLITS}.issuperset(coded["split"].values):
        return None
    same = all(one is other for one, other in zip(ids, paths, strict=True))
    items = ItemColumns(_whole(ids), None if same else _whole(paths), str(source.parent), coded)
    return items if items.are_distinct() else None


def _texts(column: Any) -> Any:
    """Return the cells of some rows as texts, an empty one as ``""``."""
    import pyarrow as pa
    import pyarrow.compute as pc

    column.validate(full=True)  # damage may point to anything
    whole = getattr(column, "dictionary_decode", lambda: column)().cast(pa.large_string())
    return pc.fill_null(whole, "") if whole.null_count else whole


def _own_ids(ids: Any, paths: Any) -> Any:
    """Return the ids of rows; where there is none, the path."""
    found = Texts.of(ids)
    if found.lengths().all() and _is_bare(found):
        return ids
    return Texts.of(id_.strip() or path for id_, path in zip(found, Texts.of(_shown(paths)), strict=True)).arrow()


def _is_bare(texts: Texts) -> bool:
    """Tell whether texts neither begin nor end with white space."""
    some = texts.lengths() > 0
    ends = texts.data[np.concatenate([texts.offsets[:-1][some], texts.offsets[1:][some] - 1])]
    return bool(((ends > ord(" ")) & (ends < DELETE)).all())


def _shown(paths: Any) -> Any:
    """Return paths as ids may be: addresses without what is secret in them."""
    import pyarrow.compute as pc

    if not pc.any(pc.match_substring_regex(paths, RENAMED)).as_py():
        return paths
    return Texts.of(map(name_of, Texts.of(paths))).arrow()


def _lacks_any(texts: Any) -> bool:
    return not Texts.of(texts).lengths().all()


def _numbered(parts: Sequence[Any]) -> tuple[Texts, NDArray[np.int32]]:
    """Join columns that number their cells: each cell once, in the order of its first row, and the numbers of all."""
    import pyarrow as pa

    known = pa.chunked_array(parts).unify_dictionaries().chunks
    return Texts.of(known[0].dictionary), np.concatenate([np.from_dlpack(part.indices) for part in known])


def _whole(parts: Sequence[Any]) -> Any:
    import pyarrow as pa

    return pa.chunked_array(parts).combine_chunks()


def _normal(name: str, cells: Texts, codes: NDArray[np.int32]) -> Coded:
    """Make values of cells as an item has them; cells may be spelt differently and have one."""
    if len(cells) > BLOCK and name != "tags" and _is_bare(cells) and (cells.bytes() < DELETE).all():
        return Coded(Names(cells.data, cells.offsets), codes)
    normal = (getattr(item_with(name, cell), name) for cell in cells)
    if len(cells) <= BLOCK or name == "tags":
        values = Coded.of(normal)
        return Coded(values.values, values.codes[codes])
    joined = Texts.of(one or "" for one in normal).arrow().dictionary_encode()
    kept = Texts.of(joined.dictionary)
    return Coded(Names(kept.data, kept.offsets), np.from_dlpack(joined.indices)[codes])


def item_with(name: str, cell: str) -> Item:
    """Make an item that has one column of CODED."""
    if name == "tags":
        return Item("", Path(), tags=tuple(tag.strip() for tag in cell.split(SEPARATOR) if tag.strip()))
    given: dict[str, Any] = {name: cell.strip() or None}
    return Item("", Path(), **given)
