"""A library that fails in all ways, encoded by one process and by many; what both leave must be the same."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from cache_files import assert_same
from PIL import Image

from emoclim.cache import SHARDS, item_table_path, open_cache, read_item_table, read_note
from emoclim.cluster import Engine
from emoclim.config import ExtractConfig
from emoclim.pipeline.extract import extract_features
from emoclim.pipeline.extraction_result import ExtractionResult
from emoclim.pipeline.workspace import Workspace

SMALL = ExtractConfig(encoder="colour", workers=0, settings={"size": 64})


def write_library(root: Path, count: int) -> None:
    """Pictures, of which one is broken, one a copy, and one is not there."""
    (folder := root / "data" / "pictures").mkdir(parents=True)
    rows = ["path,label"]
    for n in range(count):
        pixels = np.random.default_rng(n).integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{n}.png")
    shutil.copyfile(folder / "0.png", folder / "copy.png")
    (folder / "broken.png").write_bytes(b"no picture")
    names = [*map(str, range(count)), "copy", "broken", "gone"]
    rows += [f"pictures/{name}.png,{('calm', 'glad')[number % 2]}" for number, name in enumerate(names)]
    (root / "data" / "images.csv").write_text("\n".join(rows) + "\n")


def encode(root: Path, on: Engine | None = None, config: ExtractConfig = SMALL) -> ExtractionResult:
    """Encode the library, on the workers of an engine if one is given."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emoclim.pipeline.extract.open_engine", lambda text, device: on)
        patch.setattr("emoclim.pipeline.scaling.extraction.WORTH_A_SHARD", 4)
        patch.setattr("emoclim.cluster.supervising.POLL", 0.02)
        return extract_features("image", config=config, workspace=Workspace(root), on="some" if on else None)


def require_same(root: Path, other: Path) -> None:
    """Compare the features, tables and notes of two workspaces."""
    path, whole = (next((one / "cache").glob("*.h5")) for one in (root, other))
    with open_cache(path) as cache, open_cache(whole) as expected:
        assert cache.keys() == expected.keys()
        assert len(list(cache)) == len(cache.keys())
        assert cache._ledger.taken == expected._ledger.taken  # rows in the file: none was put there twice
        assert_same(cache.read(sorted(cache)), expected.read(sorted(cache)))
        assert cache.failures() == expected.failures()
    assert read_item_table(item_table_path(path, "images")) == read_item_table(item_table_path(whole, "images"))
    assert sum(run["encoded"] for run in read_note(path).made) == sum(run["encoded"] for run in read_note(whole).made)
    assert not path.with_suffix(SHARDS).exists()
