"""Export: what goes out comes in again with the same numbers; and real features, from import to search."""

import csv
import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from cache_files import assert_same
from cache_workspace import answer, cache_called, features_of, run
from cache_workspace import extracted as extracted
from cache_workspace import root as root
from hypothesis import given
from hypothesis import strategies as st
from soaking import examples, soak

from emoclim.cache import item_table_path, open_cache, read_item_table, write_item_table
from emoclim.config import EvaluateConfig, ExtractConfig, ImportConfig, TrainConfig
from emoclim.data.content import ContentKeys
from emoclim.data.features import Features
from emoclim.errors import CacheError, ConfigError, ManifestError
from emoclim.files import partial_beside
from emoclim.pipeline.caches import collect, exporting
from emoclim.pipeline.caches.exporting import export_features
from emoclim.pipeline.caches.importing import import_features
from emoclim.pipeline.evaluation.evaluate import evaluate_run
from emoclim.pipeline.extract import extract_features
from emoclim.pipeline.run import Resources, start
from emoclim.pipeline.searching.searcher import Searcher
from emoclim.pipeline.training.config import HeadsConfig
from emoclim.pipeline.training.train_heads import TrainHeads
from emoclim.pipeline.workspace import Workspace

OUT = ["out.npz", "out.parquet", "out"]


def same_as(before: Features, after: Features) -> None:
    """Whether all is equal but the spec and the order of items."""
    rows = torch.tensor([before.ids.index(id_) for id_ in after.ids])
    names = ("ids", "values", "segments", "offsets", "starts", "seconds")
    assert_same(Features(before.spec, *(getattr(after, name) for name in names)), before.select(rows))


@pytest.mark.parametrize("out", OUT)
def test_an_export_comes_in_again_with_the_same_numbers(root: Path, out: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "ROWS", 5)
    result = export_features("timbre", root / out, workspace=Workspace(root))
    assert (result.items, dict(result.lacking), result.others) == (8, {"failed": 1}, 0)
    assert import_features(root / out, "audio", "again", workspace=Workspace(root)).imported == 8
    same_as(features_of(root, "timbre"), features_of(root, "again"))


@soak
@examples(12)
@given(
    counts=st.lists(st.integers(0, 3), min_size=1, max_size=6),
    ids=st.lists(st.text("abäß/,\" '|=.\u2028", min_size=1, max_size=5), min_size=6, max_size=6, unique=True),
    dim=st.integers(1, 3),
    out=st.sampled_from(OUT),
    seed=st.integers(0, 99),
)
def test_whatever_comes_in_goes_out_and_in_again(
    counts: list[int], ids: list[str], dim: int, out: str, seed: int
) -> None:
    n, n_segments, random = len(counts), sum(counts), np.random.default_rng(seed)
    arrays: dict[str, Any] = {"ids": [f"x{id_}x" for id_ in ids[:n]], "seconds": random.random(n, np.float32)}
    arrays |= {"values": random.random((n, dim), np.float32), "segments": random.random((n_segments, dim), np.float32)}
    arrays |= {"offsets": np.cumsum([0, *counts]), "starts": random.random(n_segments, np.float32)}
    with TemporaryDirectory() as folder:
        space, manifest = Workspace(Path(folder)), Path(folder) / "items.csv"
        with manifest.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "path"), *((id_, f"{n}.wav") for n, id_ in enumerate(arrays["ids"]))])
        np.savez(Path(folder) / "one.npz", **arrays)
        import_features(Path(folder) / "one.npz", "audio", "one", source=manifest, workspace=space)
        export_features("one", Path(folder) / out, workspace=space)
        import_features(Path(folder) / out, "audio", "two", source=manifest, workspace=space)
        with open_cache(cache_called(Path(folder), "one")) as one, open_cache(cache_called(Path(folder), "two")) as two:
            same_as(one.features(), two.features())
            assert np.array_equal(one.features(arrays["ids"]).values.numpy(), arrays["values"])


def test_an_export_says_what_it_holds_and_is_the_same_each_time(root: Path) -> None:
    for out in ("a.npz", "b.npz", "a.parquet", "b.parquet"):
        export_features("timbre", root / out, workspace=Workspace(root))
    with np.load(root / "a.npz", allow_pickle=False) as arrays:
        assert arrays["ids"][0] == "music/piece0.wav"
        assert arrays["labels"].tolist() == ["happy", "sad"] * 4
        assert arrays["splits"].tolist() == ["train", "train", "val", "val", "test", "test", "train", "train"]
        assert json.loads(str(arrays["spec"]))["name"] == "timbre"
        assert arrays["offsets"][-1] == len(arrays["segments"]) == len(arrays["starts"])
        assert arrays["seconds"][4] == 2.5
    assert (root / "a.npz").read_bytes() == (root / "b.npz").read_bytes()
    assert (root / "a.parquet").read_bytes() == (root / "b.parquet").read_bytes()


def test_an_export_has_valence_and_arousal_where_any_item_has(root: Path) -> None:
    manifest = root / "data" / "audio.csv"
    header, *rows = manifest.read_text().splitlines()
    lines = [f"{header},valence,arousal", *(f"{row},{n},{n / 2}" if n else f"{row},," for n, row in enumerate(rows))]
    manifest.write_text("\n".join(lines))
    for out in ("a.npz", "a.parquet", "folder"):
        export_features("timbre", root / out, workspace=Workspace(root))
    with np.load(root / "a.npz", allow_pickle=False) as arrays:
        assert np.isnan(arrays["valence"][0])
        assert arrays["arousal"][1:].tolist() == [n / 2 for n in range(1, 8)]
    assert pq.read_table(root / "a.parquet")["valence"].to_pylist() == [None, *map(float, range(1, 8))]
    for part in (root / "folder" / "data").iterdir():
        assert {"valence", "arousal"} < set(pq.read_table(part).column_names)


def test_a_folder_for_datasets_has_a_file_for_each_split(root: Path) -> None:
    result = answer("cache", "export", "timbre", root / "out", "--workspace", root)
    assert (result["format"], result["items"]) == ("hf", 8)
    files = sorted(path.relative_to(root / "out").as_posix() for path in (root / "out").rglob("*") if path.is_file())
    parts = {"test": 2, "train": 4, "validation": 2}
    assert files == ["README.md", *(f"data/{name}-00000-of-00001.parquet" for name in parts)]
    for name, count in parts.items():
        table = pq.read_table(root / "out" / "data" / f"{name}-00000-of-00001.parquet")
        assert table.num_rows == count
        assert table.column_names == ["id", "label", "split", "seconds", "values", "segments", "starts"]
        assert table.schema.field("values").type.list_size == table.schema.field("segments").type.value_type.list_size


def test_an_export_needs_no_more_memory_for_more_items(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "ROWS", 6)
    export_features("timbre", root / "out.parquet", workspace=Workspace(root))
    with pq.ParquetFile(root / "out.parquet") as file:
        groups = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sum(groups) == 8
    assert max(groups) <= 3


@pytest.mark.parametrize(("out", "writer"), [("x.npz", "np.lib.format.write_array"), ("x.parquet", "np.concatenate")])
def test_an_export_that_fails_leaves_nothing(
    root: Path, out: str, writer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    before = {path.name for path in root.iterdir()}
    monkeypatch.setattr(f"emoclim.pipeline.caches.exporting.{writer}", full)
    assert "No space left" in run("cache", "export", "timbre", root / out, "--workspace", root, code=2).stderr
    assert {path.name for path in root.iterdir()} == before


def test_an_export_takes_away_what_a_killed_one_to_the_same_place_left(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    gone, other = (root / f".{name}.{int(dead.stdout)}.0123abcd.partial" for name in ("out", "out.npz"))
    own = partial_beside(root / "out")
    (gone / "data").mkdir(parents=True)
    for path in (gone / "data" / "x", other, own):
        path.touch()
    export_features("timbre", root / "out", workspace=Workspace(root))
    assert gone.exists()  # another machine may be writing it
    (root / "out").rename(root / "first")
    monkeypatch.setattr(collect, "RECENT", 0)
    export_features("timbre", root / "out", workspace=Workspace(root))
    assert not gone.exists()
    assert all(path.exists() for path in (own, other))


def test_exports_that_cannot_be_are_refused(root: Path) -> None:
    space = Workspace(root)
    (root / "there.npz").touch()
    with pytest.raises(ConfigError, match=r"there.npz"):
        export_features("timbre", root / "there.npz", workspace=space)
    with pytest.raises(ConfigError, match=r"out.txt"):
        export_features("timbre", root / "out.txt", workspace=space)
    with pytest.raises(CacheError, match=r"'images'.*audio"):
        export_features("timbre", root / "out", manifest="images", workspace=space)
    assert export_features("timbre", root / "out.txt", kind="npz", workspace=space).items == 8


def test_an_export_needs_neither_the_files_nor_their_manifest(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(root / "data" / "music")
    export_features("timbre", root / "a.npz", workspace=Workspace(root))
    (root / "data" / "audio.csv").unlink()
    export_features("timbre", root / "b.npz", workspace=Workspace(root))
    with np.load(root / "a.npz") as before, np.load(root / "b.npz") as after:
        assert np.array_equal(before["ids"], after["ids"])
        assert (before["labels"] != "").all()
        assert (after["labels"] == "").all()
    assert "labels and splits are left out" in caplog.text


def test_a_cache_of_two_manifests_is_exported_by_either(root: Path) -> None:
    (root / "few.csv").write_text("path\n" + str(root / "data" / "music" / "piece3.wav") + "\n")
    extract_features("audio", root / "few.csv", ExtractConfig(encoder="timbre", workers=0), workspace=Workspace(root))
    few = export_features("timbre", root / "few.npz", workspace=Workspace(root))
    assert (few.manifest, few.items, few.others) == ("few", 1, 7)
    assert any("7 other items" in line for line in few.summary())
    assert export_features("timbre", root / "all.npz", manifest="audio", workspace=Workspace(root)).items == 8


def test_an_export_leaves_out_what_its_table_wrongly_calls_committed(root: Path) -> None:
    path = cache_called(root, "timbre")
    first, second, *rest = read_item_table(item_table_path(path, "audio"))
    wrong = [first._replace(key="0" * 32), second._replace(state="missing")]
    write_item_table(path, "audio", [*wrong, *rest])
    result = export_features("timbre", root / "out.npz", workspace=Workspace(root))
    assert (result.items, dict(result.lacking), result.others) == (7, {"missing": 1, "failed": 1}, 1)


def test_without_a_table_the_files_are_read_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item_table_path(cache_called(root, "timbre"), "audio").unlink()
    (root / "cache" / "content.sqlite").unlink()
    export_features("timbre", root / "a.npz", workspace=Workspace(root))
    monkeypatch.setattr(ContentKeys, "learn", lambda *_: pytest.fail("a file was read again"))
    assert export_features("timbre", root / "b.npz", workspace=Workspace(root)).items == 8


def test_a_cache_without_manifests_is_exported_by_its_keys(root: Path) -> None:
    path = cache_called(root, "timbre")
    path.with_name(f"{path.name}.json").unlink()
    result = export_features("timbre", root / "out.npz", workspace=Workspace(root))
    assert (result.manifest, result.items) == (None, 8)
    with np.load(root / "out.npz") as arrays, open_cache(path) as cache:
        assert arrays["ids"].tolist() == list(cache)


def test_real_features_are_imported_trained_on_and_searched(
    shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    space, given, corpus = Workspace(tmp_path), shared / "features", shared / "corpus"
    images = import_features(
        given / "images_mobilenet_v1.npz", "image", "mobilenet", source=corpus / "images.csv", workspace=space
    )
    music, known = corpus / "audio.csv", given / "audio_mtat_musicnn.npz"
    tagger = import_features(
        known, "audio", "tagger", ImportConfig(values="penultimate"), source=music, workspace=space
    )
    file = given / "audio_yamnet_embedding.npz"
    yamnet = import_features(file, "audio", "yamnet", source=music, workspace=space)
    assert [(one.missing, one.spec.dim) for one in (images, tagger, yamnet)] == [((), 1024), ((), 200), ((), 1024)]
    with np.load(file) as arrays:
        at = {id_: n for n, id_ in enumerate(arrays["ids"].tolist())}
        features = features_of(tmp_path, "yamnet")
        expected = arrays["values"][[at[id_] for id_ in features.ids]].astype(np.float32)
    assert np.array_equal(features.values.numpy(), expected)
    config = TrainConfig().updated(epochs=2)
    result = start(TrainHeads(), HeadsConfig(base=config), Resources(space, "cpu"))
    assert result.folder.name == "001-mobilenet-yamnet"
    report = evaluate_run(None, EvaluateConfig(split="train"), workspace=space, device="cpu", plots=False).report
    across = report.directions["image_audio"]  # of music alone there is little to learn but which clips are of a track
    assert across.metrics["MRR"] > across.random["MRR"] + 0.2
    photo = corpus / features_of(tmp_path, "mobilenet", "image").ids[0]
    searcher = Searcher(space, device="cpu")
    assert len(searcher.search([photo]).results[0].found) == 5
    with pytest.raises(ManifestError, match="'mobilenet' were imported"):
        searcher.search([tmp_path / "new.png"])
    assert not caplog.text
