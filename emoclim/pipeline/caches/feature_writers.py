"""Features as ``.npz``, as Parquet, and as a folder that Hugging Face's ``datasets`` loads.

Conventions: one row per item, ids and labels as text; values float32 as they are cached; segments and their starts only
if any item has some. Parquet is written block by block, so that memory does not grow with the cache.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from emoclim.cache.base import FeatureCache
from emoclim.features import Features
from emoclim.progress import Track, silent

ROWS = 2**13  # values and segments read at once, about
PARTS = {"train": "train", "val": "validation", "test": "test", None: "unlabelled"}  # what has a label has a split


@dataclass(frozen=True, slots=True)
class Selection:
    """Items to be written.

    Attributes
    ----------
    cache
        Open for reading.
    ids, keys
        What each item is called, and under what the cache holds it.
    labels, splits
        Of each; None where it has none.
    """

    cache: FeatureCache
    ids: Sequence[str]
    keys: Sequence[str]
    labels: Sequence[str | None]
    splits: Sequence[str | None]

    @property
    def has_segments(self) -> bool:
        """Whether the cache keeps any."""
        return self.cache.n_segments > 0

    def part(self, split: str | None) -> "Selection":
        """The items of one split."""
        rows = [row for row, its in enumerate(self.splits) if its == split]
        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            keys=[self.keys[row] for row in rows],
            labels=[self.labels[row] for row in rows],
            splits=[split] * len(rows),
        )

    def blocks(self) -> Iterator[tuple[slice, Features]]:
        """Which items, and their features, some at a time."""
        n_all = len(self.cache)
        step = max(1, ROWS * n_all // (n_all + self.cache.n_segments))
        for first in range(0, len(self.keys), step):
            rows = slice(first, first + step)
            yield rows, self.cache.read(self.keys[rows])


def write_npz(path: Path, items: Selection, track: Track = silent) -> None:
    """Arrays ids, values, seconds and spec (JSON); segments, offsets and starts; labels and splits."""
    parts = [features for _, features in track(items.blocks(), description=f"export {path.name}")]
    columns: dict[str, list[Tensor]] = {
        "values": [part.values for part in parts],
        "seconds": [part.seconds for part in parts if part.seconds is not None],
    }
    arrays: dict[str, Any] = {"ids": np.array(items.ids)}
    if items.has_segments:
        columns["segments"] = [part.segments for part in parts if part.segments is not None]
        columns["starts"] = [part.starts for part in parts if part.starts is not None]
        arrays["offsets"] = np.concatenate([[0], np.concatenate([_counts(part) for part in parts]).cumsum()])
    arrays |= {name: np.concatenate([tensor.numpy() for tensor in tensors]) for name, tensors in columns.items()}
    for name, texts in (("labels", items.labels), ("splits", items.splits)):
        if any(texts):
            arrays[name] = np.array([text or "" for text in texts])
    with path.open("wb") as file:
        np.savez(file, spec=np.array(json.dumps(items.cache.spec.to_dict())), **arrays)


def write_parquet(path: Path, items: Selection, track: Track = silent) -> None:
    """Columns id, label, split, seconds, values (lists), and segments (lists of lists) with their starts."""
    import pyarrow.parquet as pq

    schema = _schema(items)
    with pq.ParquetWriter(path, schema, use_dictionary=["label", "split"]) as writer:
        for rows, features in track(items.blocks(), description=f"export {path.name}"):
            writer.write_table(_table(items, rows, features, schema))


def write_parts(folder: Path, items: Selection, title: str, track: Track = silent) -> None:
    """``README.md``, and ``data/<part>-00000-of-00001.parquet`` for each split there is."""
    (folder / "data").mkdir()
    names = []
    for split, name in PARTS.items():
        part = items.part(split)
        if part.ids:
            write_parquet(folder / "data" / f"{name}-00000-of-00001.parquet", part, track)
            names.append(name)
    (folder / "README.md").write_text(_card(items, names, title), encoding="utf-8")


def _schema(items: Selection) -> Any:
    import pyarrow as pa

    floats = pa.list_(pa.float32())
    columns = {"id": pa.string(), "label": pa.string(), "split": pa.string(), "seconds": pa.float32(), "values": floats}
    if items.has_segments:
        columns |= {"segments": pa.list_(floats), "starts": floats}
    return pa.schema(list(columns.items()), metadata={"emoclim.spec": json.dumps(items.cache.spec.to_dict())})


def _table(items: Selection, rows: slice, features: Features, schema: Any) -> Any:
    import pyarrow as pa

    columns: dict[str, Any] = {
        "id": list(items.ids[rows]),
        "label": list(items.labels[rows]),
        "split": list(items.splits[rows]),
        "seconds": None if features.seconds is None else features.seconds.numpy(),
        "values": _lists(features.values),
    }
    if items.has_segments:
        ends = np.concatenate([[0], _counts(features).cumsum()])
        none = features.values[:0]
        segments = none if features.segments is None else features.segments
        starts = none[:, 0] if features.starts is None else features.starts
        columns["segments"] = pa.ListArray.from_arrays(ends.astype(np.int32), _lists(segments))
        columns["starts"] = pa.ListArray.from_arrays(ends.astype(np.int32), pa.array(starts.numpy()))
    return pa.table(columns, schema=schema)


def _lists(rows: Tensor) -> Any:
    """``(n, D)`` as a column of n lists."""
    import pyarrow as pa

    ends = np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1]
    return pa.ListArray.from_arrays(ends, pa.array(rows.numpy().reshape(-1)))


def _counts(features: Features) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Number of segments of each item ``(n,)``."""
    if features.offsets is None:
        return np.zeros(len(features), np.int64)
    counts: np.ndarray[Any, np.dtype[np.int64]] = np.diff(features.offsets.numpy())
    return counts


def _card(items: Selection, names: Sequence[str], title: str) -> str:
    """The dataset card: a head in YAML that says where the parts lie and what their columns are; then words."""
    spec = items.cache.spec
    plain = {"id": "string", "label": "string", "split": "string", "seconds": "float32"}
    lines = ["---", f"pretty_name: {json.dumps(title)}", "configs:", "- config_name: default", "  data_files:"]
    for name in names:
        lines += [f"  - split: {name}", f"    path: data/{name}-*"]
    lines += ["dataset_info:", "  features:"]
    for column, kind in plain.items():
        lines += [f"  - name: {column}", f"    dtype: {kind}"]
    lines += ["  - name: values", "    sequence: float32"]
    if items.has_segments:
        lines += ["  - name: segments", "    sequence:", "      sequence: float32"]
        lines += ["  - name: starts", "    sequence: float32"]
    lines += ["---", "", f"# {title}", ""]
    lines.append(f"{len(items.ids)} {spec.modality} features of {spec.dim} values, made as follows.")
    lines += ["", "| entry | value |", "|---|---|", f"| encoder | {spec.name} |", f"| checkpoint | {spec.checkpoint} |"]
    lines += [f"| {name} | {value} |" for name, value in sorted(spec.settings.items())]
    lines += [
        "",
        "`values` is the feature of an item; `segments`, where there are any, are those of its parts, which begin at",
        '`starts` (seconds). Load them with `datasets.load_dataset("<this folder>")` or `pandas.read_parquet`.',
    ]
    return "\n".join(lines) + "\n"
