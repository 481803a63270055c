"""The page on the format of a cache: its examples are run, on caches whose writer died in the middle of a commit."""

import json
import re
import zlib
from base64 import b64decode
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cache_files import STORES, die, edit_ledger
from contracts import DIM, SPEC, encoded

from emoclim.cache import open_cache
from emoclim.cache.formats.store import VERSION
from emoclim.cache.ledger.lines import COLUMNS
from emoclim.cache.waveforms import write_waveform
from emoclim.errors import CacheError

PAGE = Path(__file__).parents[2] / "docs" / "cache_format.md"
TEXT = PAGE.read_text(encoding="utf-8")
ITEMS = [encoded("a", 2), encoded("b", 0), encoded("c", 3)]
NAME = "cache/audio-clap-0123456789ab"


def blocks() -> Iterator[str]:
    """The examples, in their order."""
    return iter(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Both caches, with rows and half a line that nothing commits, and the table of a manifest."""
    monkeypatch.chdir(tmp_path)
    for suffix, store in STORES.items():
        path = tmp_path / f"{NAME}{suffix}"
        with open_cache(path, SPEC) as cache:
            cache.append(ITEMS[:2])
            cache.record_failure("f", "too short")
            cache.append(ITEMS[2:])
            with monkeypatch.context() as patch:
                patch.setattr(store, "write_line", die)
                with pytest.raises(CacheError):
                    cache.append([encoded("lost", 2)])
        edit_ledger(path, lambda text: text + b'["0123abcd",{"row":3,"seg')
    rows = [
        "id,state,key,reason",
        "songs/2.mp3,committed,c,",
        "songs/1.mp3,committed,a,",
        "songs/f.mp3,failed,f,too short",
    ]
    (tmp_path / f"{NAME}.songs.items.csv").write_text("\n".join([*rows, ""]))
    return tmp_path


def run(example: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(compile(example, str(PAGE), "exec"), names)
    return names


def values(keys: str) -> np.ndarray[Any, Any]:
    items = {item.key: item for item in ITEMS}
    return torch.stack([items[key].value for key in keys]).numpy()


def test_examples_read_what_was_committed(workspace: Path) -> None:
    pandas = pytest.importorskip("pandas")
    ours, hdf5, zarr, table, segments, checksums, _ = blocks()
    np.testing.assert_array_equal(run(ours, {})["values"], values("ac"))
    names: dict[str, Any] = {}
    for example in (zarr, hdf5):
        names = run(example, {})
        assert names["keys"] == [item.key for item in ITEMS]
        np.testing.assert_array_equal(names["values"], values("abc"))
        assert [line["failure"] for line in names["lines"] if "failure" in line] == [["f", "too short"]]
    run(table, names)
    assert isinstance(names["features"], pandas.DataFrame)
    assert list(names["features"].index) == ["songs/2.mp3", "songs/1.mp3"]
    np.testing.assert_array_equal(names["features"].to_numpy(), values("ca"))
    run(segments, names)
    assert names["seconds"].tolist() == [item.seconds for item in ITEMS]
    for item in ITEMS:
        assert item.segments is not None
        assert item.starts is not None
        np.testing.assert_array_equal(names["segments"][item.key], item.segments.numpy())
        np.testing.assert_array_equal(names["starts"][item.key], item.starts.numpy())
    assert run(checksums, names)["wrong"] == []
    names["values"][1, DIM - 1] += 1
    assert run(checksums, names)["wrong"] == ["b"]


def test_example_reads_decoded_recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    *_, example = blocks()
    written = {"a": torch.tensor([0.5, -1.0]), "b": torch.tensor([0.1, 3.7, -3.7])}
    store = tmp_path / "cache" / "audio-16000hz-0123456789ab.waveforms"
    for key in written:
        write_waveform(store / f"{key}.wav", partial(iter, [written[key]]), 16_000)
    found = run(example, {})["recordings"]
    assert found.keys() == written.keys()
    for key, waveform in written.items():
        np.testing.assert_array_equal(found[key], waveform.numpy())


def test_page_tells_the_format_as_it_is(workspace: Path) -> None:
    import google_crc32c
    import zarr

    group = zarr.open_group(workspace / f"{NAME}.zarr", mode="r")
    assert set(group.attrs) == {"format", "version", "spec", "digest"}
    assert f'`"{group.attrs["format"]}"`, {VERSION} |' in TEXT
    lines = (workspace / f"{NAME}.zarr" / "ledger.jsonl").read_bytes().split(b"\n")[:-1]
    for line in lines:
        checksum, record = re.fullmatch(rb'\["([0-9a-f]{8})",(.*)\]', line).groups()  # type: ignore[union-attr]
        assert zlib.crc32(record) == int(checksum, 16)
    [first] = [item for item in ITEMS if item.key == "a"]
    assert first.segments is not None
    assert first.starts is not None
    of_segments = google_crc32c.value(first.segments.numpy().tobytes() + first.starts.numpy().tobytes())
    record = json.loads(lines[0])[1]
    assert record.keys() == {"row", "segment", "keys", *COLUMNS}
    assert np.frombuffer(b64decode(record["segments"]), "<u4").tolist() == [of_segments, 0]
    assert {found.name for found in (workspace / f"{NAME}.zarr" / "values").iterdir()} == {"zarr.json", "c.0.0"}
