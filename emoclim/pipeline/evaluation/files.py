"""Read and write the files of an evaluation, ``report.json`` and ``queries.parquet``.

The same settings have the same folder, and no numbers are ever lost. ``queries.parquet`` has a row for each query and
direction: ``direction``, ``id``, ``class``, ``n_relevant`` and ``n_candidates``, then a column for each metric. Its
metadata has the key ``emoclim``: JSON with ``schema``, ``run``, ``split`` and ``settings``.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic_core import from_json

from emoclim.data import unpacked_bytes
from emoclim.errors import RunError
from emoclim.files import open_regular, parquet_bytes, require_memory, write_bytes, write_json
from emoclim.reports import QueryScores

log = logging.getLogger(__name__)

REPORT_FILE = "report.json"
QUERIES_FILE = "queries.parquet"
QUERIES_SCHEMA = 1
KEY = b"emoclim"
CELL_BYTES = 16  # as read, at the least
COLUMNS = ("direction", "id", "class", "n_relevant", "n_candidates")


@dataclass(frozen=True, slots=True)
class QueryTable:
    """Scores of the single queries of an evaluation."""

    run: str
    split: str
    # what else the scores depend on, as plain values: `head`, the number of the candidate, among them
    settings: Mapping[str, Any]
    directions: Mapping[str, QueryScores]  # scores by direction: `image_audio`


def write_queries(path: Path, table: QueryTable) -> None:
    """Write the file, whole or not at all; the same table gives the same bytes."""
    import pyarrow as pa

    names = {tuple(scores.metrics) for scores in table.directions.values()}
    if len(names) != 1:
        raise ValueError(f"directions have the metrics {sorted(names)}; one table takes one set of them")
    about = {"schema": QUERIES_SCHEMA, "run": table.run, "split": table.split, "settings": dict(table.settings)}
    parts = []
    for name, scores in table.directions.items():
        columns = {
            "direction": [name] * len(scores.ids),
            "id": scores.ids,
            "class": scores.classes,
            "n_relevant": scores.n_relevant.numpy(),
            "n_candidates": scores.n_candidates.numpy(),
        }
        parts.append(pa.table(columns | {metric: values.numpy() for metric, values in scores.metrics.items()}))
    whole = pa.concat_tables(parts).replace_schema_metadata({KEY: json.dumps(about, sort_keys=True, allow_nan=False)})
    write_bytes(path, parquet_bytes(whole))


def read_queries(path: Path) -> QueryTable:
    """Read what :func:`write_queries` wrote."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with open_regular(path) as file:
            table = parquet.ParquetFile(file, page_checksum_verification=True)
            cells = table.metadata.num_rows * table.metadata.num_columns
            require_memory(path, unpacked_bytes(file) + cells * CELL_BYTES, RunError)
            rows = table.read()
        about = from_json((rows.schema.metadata or {})[KEY])
        if about["schema"] != QUERIES_SCHEMA:
            raise RunError(
                f"{path} has schema {about['schema']}, and this version reads {QUERIES_SCHEMA}; evaluate again"
            )
        metrics = rows.column_names[len(COLUMNS) :]
        if tuple(rows.column_names[: len(COLUMNS)]) != COLUMNS or not metrics or not rows.num_rows:
            raise ValueError(f"it has {rows.num_rows} rows of {', '.join(rows.column_names)}")
        directions = {name: _scores(rows, name, metrics) for name in rows["direction"].unique().to_pylist()}
        return QueryTable(about["run"], about["split"], about["settings"], directions)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is no table of queries ({error}); evaluate again to write it anew") from error


def _scores(rows: Any, direction: str, metrics: list[str]) -> QueryScores:
    from pyarrow import compute

    part = rows.filter(compute.equal(rows["direction"], direction))
    numbers = {name: torch.tensor(part[name].to_numpy()) for name in (*COLUMNS[3:], *metrics)}
    ids, classes = (tuple(part[name].to_pylist()) for name in ("id", "class"))
    return QueryScores(
        ids, classes, numbers["n_relevant"], numbers["n_candidates"], {name: numbers[name] for name in metrics}
    )


def write_report(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``report.json``; a folder that holds other numbers is first moved to ``<folder>.<n>``."""
    file = folder / REPORT_FILE
    if folder.is_dir() and any(folder.iterdir()) and not _holds(file, content):
        number = 1
        while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
            number += 1
        folder.rename(aside)
        log.warning("%s held other numbers, which are in %s now", folder, aside)
    write_json(file, content)


def _holds(file: Path, content: Mapping[str, Any]) -> bool:
    """Whether a report says the same, but for the warnings, which may name a place."""
    try:
        with open_regular(file) as opened:
            told = from_json(opened.read())
        return bool(told | {"warnings": None} == json.loads(json.dumps(dict(content))) | {"warnings": None})
    except (OSError, ValueError, TypeError):
        return False
