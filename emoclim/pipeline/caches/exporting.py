"""Write the features of a cache for other programs, and for `emoclim cache import`: `emoclim cache export`.

What is written appears whole or not at all, and the same cache gives the same bytes. Parquet is written block by block,
so that of all items only ids, keys and labels are in memory, and not their numbers; an npz is one block.
"""

import json
import logging
import math
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from emoclim.cache import (
    CacheNote,
    FeatureCache,
    ItemStatus,
    SourceRef,
    item_statuses,
    item_table_path,
    key_of,
    open_cache,
    read_item_table,
    refreshed,
)
from emoclim.data import NUMBERS, ContentKeys
from emoclim.errors import CacheError, ConfigError, EmoclimError, reason_of
from emoclim.files import atomic
from emoclim.pipeline.caches.collect import collect_partials
from emoclim.pipeline.find_caches import find_cache
from emoclim.pipeline.library import open_library
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent
from emoclim.reports import to_markdown

log = logging.getLogger(__name__)

Format = Literal["npz", "parquet", "hf"]  # hf: a folder that Hugging Face's `datasets` loads
FORMATS: Mapping[str, Format] = {".npz": "npz", ".parquet": "parquet", "": "hf"}
PARTS = {"train": "train", "val": "validation", "test": "test", "": "unlabelled"}  # what has a label has a split
ROWS = 2**13  # values and segments read at once, about
NONE = (math.nan, math.nan)
Row = tuple[Any, ...]  # id, key in the cache, label, split; if any item has them, valence and arousal


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What one `emoclim cache export` did."""

    cache: Path
    out: Path
    format: Format
    manifest: str | None  # whose items; None for all items of a cache without manifests, by their keys
    items: int
    lacking: Mapping[str, int]  # items of the manifest without features, by state
    others: int  # items that the cache holds beside them

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        of = f" of manifest {self.manifest}" if self.manifest else ""
        lines = [f"{self.items} items{of} in {self.cache} -> {self.out} ({self.format})"]
        lines += [f"{count} items of it have no features: {state}" for state, count in self.lacking.items()]
        if self.others:
            lines.append(f"{self.others} other items of the cache were left out; name their manifest with --manifest")
        return lines


def export_features(
    name: str,
    out: Path,
    *,
    kind: Format | None = None,
    manifest: str | None = None,
    workspace: Workspace,
    track: Track = silent,
) -> ExportResult:
    """Write the features of a manifest's items, by default of the newest that was extracted into the cache."""
    kind = kind or FORMATS.get(out.suffix)
    if kind is None:
        raise ConfigError(f"the suffix of {out} is none of .npz and .parquet; say --format npz, parquet or hf")
    if out.exists():
        raise ConfigError(f"{out} exists already; delete it, or give another name")
    note = find_cache(workspace, name)
    source = _source(note, manifest)
    keys = workspace.content_keys()
    with open_cache(note.path) as cache:
        states = _states(note, source, cache, keys)
        keys.save()
        rows = _rows(note, source, states)
        collect_partials(out)
        try:
            with atomic(out) as partial:
                WRITERS[kind](partial, cache, rows, track)
        except OSError as error:
            room = "see that its disk has room and lets you write"
            raise CacheError(f"{out} could not be written ({reason_of(error)}); {room}") from error
        others = len(cache) - len({row[1] for row in rows})
    lacking = dict(Counter[str](state.state for state in states if state.state != "committed"))
    return ExportResult(note.path, out, kind, source.name if source else None, len(rows), lacking, others)


def _source(note: CacheNote, name: str | None) -> SourceRef | None:
    """Return the newest manifest of a cache, or the newest of that name; None if it has none."""
    found = [source for source in note.sources if name in (None, source.name)]
    if name is not None and not found:
        there = ", ".join(source.name for source in note.sources) or "none"
        raise CacheError(f"cache {note.path} holds no manifest {name!r} (there are: {there}); name one of them")
    return found[-1] if found else None


def _states(note: CacheNote, source: SourceRef | None, cache: FeatureCache, keys: ContentKeys) -> list[ItemStatus]:
    """Tell what became of items by their table, for their files need not be there; without it, by the files."""
    if source is None:
        return [ItemStatus(key, "committed", key) for key in cache]
    path = item_table_path(note.path, source.name)
    if not path.is_file():
        items = open_library(note, source).manifest.items
        return item_statuses(items, lambda item: key_of(item, note.spec, keys), cache.keys(), cache.failures())
    return [refreshed(status, cache) for status in read_item_table(path)]


def _rows(note: CacheNote, source: SourceRef | None, states: Sequence[ItemStatus]) -> list[Row]:
    """List the items that have features, with what their manifest says of them if it is still there."""
    said: dict[str, tuple[Any, ...]] = {}
    none: tuple[float, ...] = ()
    if source is not None:
        try:
            items = open_library(note, source, need_files=False).manifest.items
            none = NONE if any(item.numbers for item in items) else ()
            said = {item.id: (item.label or "", item.split or "", *(item.numbers or none)) for item in items}
        except EmoclimError as error:
            log.warning("labels and splits are left out: %s", error)
    rows = [(one.id, one.key, *said.get(one.id, ("", "", *none))) for one in states if one.state == "committed"]
    if not rows:
        raise CacheError(f"cache {note.path} holds no features of {source.name if source else 'anything'}; extract it")
    return rows


def _blocks(cache: FeatureCache, rows: Sequence[Row]) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield arrays of some rows at a time; `counts` are the numbers of their segments."""
    step = max(1, ROWS * len(cache) // (len(cache) + cache.n_segments))
    for first in range(0, len(rows), step):
        ids, keys, labels, splits, *numbers = map(np.array, zip(*rows[first : first + step], strict=True))
        features = cache.read(keys.tolist())
        n, none = len(features), features.values[:0]
        tensors = {
            "values": features.values,
            "seconds": torch.zeros(n) if features.seconds is None else features.seconds,
            "segments": none if features.segments is None else features.segments,
            "starts": none[:, 0] if features.starts is None else features.starts,
            "counts": torch.zeros(n).long() if features.offsets is None else features.offsets.diff(),
        }
        of_items = {"ids": ids, "labels": labels, "splits": splits, **dict(zip(NUMBERS, numbers, strict=False))}
        yield of_items | {name: tensors[name].numpy() for name in tensors}


def _write_npz(path: Path, cache: FeatureCache, rows: Sequence[Row], track: Track) -> None:
    """Write arrays ids, labels, splits, values, seconds and spec (JSON); valence and segments etc. if there are."""
    blocks = list(track(_blocks(cache, rows), description="export npz"))
    arrays = {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}
    arrays["spec"] = np.array(json.dumps(cache.spec.to_dict()))
    arrays["offsets"] = np.concatenate([[0], arrays.pop("counts").cumsum()])
    if not cache.n_segments:
        del arrays["segments"], arrays["starts"], arrays["offsets"]
    with zipfile.ZipFile(path, "w") as archive:  # numpy's savez leaves it open after an error
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)  # type: ignore[no-untyped-call]


def _write_parquet(path: Path, cache: FeatureCache, rows: Sequence[Row], track: Track) -> None:
    """Write columns id, label, split, seconds, values (lists); valence, arousal, segments and starts if there are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    spec = cache.spec
    vector, vectors = pa.list_(pa.float32(), spec.dim), pa.FixedSizeListArray.from_arrays
    columns = {"id": pa.string(), "label": pa.string(), "split": pa.string(), "seconds": pa.float32()}
    numbers = NUMBERS[: len(rows[0]) - 4]
    columns |= dict.fromkeys(numbers, pa.float64()) | {"values": vector}
    if cache.n_segments:
        columns |= {"segments": pa.list_(vector), "starts": pa.list_(pa.float32())}
    schema = pa.schema(list(columns.items()), metadata={"emoclim.spec": json.dumps(spec.to_dict())})
    with pq.ParquetWriter(path, schema, use_dictionary=["label", "split"], write_page_checksum=True) as writer:
        for block in track(_blocks(cache, rows), description="export Parquet"):
            texts = [pa.array(block[name], mask=block[name] == "") for name in ("ids", "labels", "splits")]
            values, segments = (vectors(block[name].ravel(), spec.dim) for name in ("values", "segments"))
            offsets = np.concatenate([[0], block["counts"].cumsum()]).astype(np.int32)
            lists = [pa.ListArray.from_arrays(offsets, flat) for flat in (segments, pa.array(block["starts"]))]
            places = [pa.array(block[name], mask=np.isnan(block[name])) for name in numbers]
            arrays = [*texts, pa.array(block["seconds"]), *places, values, *lists]
            writer.write_table(pa.table(arrays[: len(schema)], schema=schema))


def _write_folder(folder: Path, cache: FeatureCache, rows: Sequence[Row], track: Track) -> None:
    """Write a file of Parquet for each split, named as `datasets` finds them, and a card."""
    (folder / "data").mkdir(parents=True)
    for split, name in PARTS.items():
        if part := [row for row in rows if row[3] == split]:
            _write_parquet(folder / "data" / f"{name}-00000-of-00001.parquet", cache, part, track)
    spec = json.dumps(cache.spec.to_dict(), indent=2)
    title = f"{to_markdown(cache.spec.name)} features of {len(rows)} {cache.spec.modality} items"
    card = f"# {title}\n\n```json\n{spec}\n```\n"
    (folder / "README.md").write_text(card, encoding="utf-8")


WRITERS = {"npz": _write_npz, "parquet": _write_parquet, "hf": _write_folder}
