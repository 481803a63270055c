"""Export: what goes out comes in again with the same numbers; and real features, from import to search."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cache_files import assert_same
from cache_workspace import answer, cache_called, features_of, run
from cache_workspace import extracted as extracted
from cache_workspace import root as root

from emoclim.cache import open_cache
from emoclim.config import preset, updated
from emoclim.errors import CacheError, ConfigError
from emoclim.features import Features
from emoclim.pipeline.accounts import accounts_path, read_accounts, write_accounts
from emoclim.pipeline.caches.exports import export_features
from emoclim.pipeline.caches.feature_writers import Selection
from emoclim.pipeline.caches.imports import import_features
from emoclim.pipeline.evaluation import evaluate_run
from emoclim.pipeline.features import extract_features
from emoclim.pipeline.heads import train
from emoclim.pipeline.plans import EVEN
from emoclim.pipeline.search import search_file
from emoclim.pipeline.workspace import Workspace
from emoclim.sweep import Space


def again(root: Path, out: Path, name: str, **options: Any) -> Features:
    """What an export comes to, imported again into the same workspace."""
    result = import_features(out, "audio", name, workspace=Workspace(root), **options)
    assert result.imported == 8
    return features_of(root, name)


@pytest.mark.parametrize("out", ["out.npz", "out.parquet", "out"])
def test_an_export_gives_the_same_numbers_when_it_is_imported(
    root: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoclim.pipeline.caches.feature_writers.ROWS", 5)
    before = features_of(root, "timbre")
    result = export_features("timbre", root / out, workspace=Workspace(root))
    assert (result.items, dict(result.lacking), result.others) == (8, {"failed": 1}, 0)
    after = again(root, root / out, "again")
    order = [before.ids.index(id_) for id_ in after.ids]
    assert_same(Features(before.spec, *(getattr(after, name) for name in FIELDS)), before.select(torch.tensor(order)))


FIELDS = ("ids", "values", "segments", "offsets", "starts", "seconds")


def test_a_folder_of_exported_values_gives_the_same_numbers(root: Path) -> None:
    before = features_of(root, "timbre")
    for id_, value in zip(before.ids, before.values.numpy(), strict=True):
        path = root / "given" / f"{id_}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, value)
    assert torch.equal(again(root, root / "given", "again").values, before.values)


def test_an_export_says_what_it_holds(root: Path) -> None:
    export_features("timbre", root / "out.npz", workspace=Workspace(root))
    with np.load(root / "out.npz", allow_pickle=False) as arrays:
        assert arrays["ids"][0] == "music/piece0.wav"
        assert arrays["labels"].tolist() == ["happy", "sad"] * 4
        assert arrays["splits"].tolist() == ["train", "train", "val", "val", "test", "test", "train", "train"]
        assert json.loads(str(arrays["spec"]))["name"] == "timbre"
        assert arrays["offsets"][-1] == len(arrays["segments"]) == len(arrays["starts"])
        assert arrays["seconds"][4] == 2.5
    for name in ("a", "b"):
        for out in (f"{name}.npz", f"{name}.parquet"):
            export_features("timbre", root / out, workspace=Workspace(root))
    assert (root / "a.npz").read_bytes() == (root / "b.npz").read_bytes()
    assert (root / "a.parquet").read_bytes() == (root / "b.parquet").read_bytes()


def test_a_folder_for_datasets_has_a_card_and_a_file_for_each_split(root: Path) -> None:
    import pyarrow.parquet as pq

    result = answer("cache", "export", "timbre", root / "out", "--workspace", root)
    assert (result["format"], result["items"]) == ("hf", 8)
    files = sorted(path.relative_to(root / "out").as_posix() for path in (root / "out").rglob("*") if path.is_file())
    parts = {"test": 2, "train": 4, "validation": 2}
    assert files == ["README.md", *(f"data/{name}-00000-of-00001.parquet" for name in parts)]
    for name, count in parts.items():
        table = pq.read_table(root / "out" / "data" / f"{name}-00000-of-00001.parquet")
        assert table.num_rows == count
        assert table.column_names == ["id", "label", "split", "seconds", "values", "segments", "starts"]
    _, head, text = (root / "out" / "README.md").read_text().split("---\n")
    assert "  - split: validation\n    path: data/validation-*\n" in head
    assert "  - name: values\n    sequence: float32\n" in head
    assert "  - name: segments\n    sequence:\n      sequence: float32\n" in head
    assert "# timbre features of audio" in text


def test_an_export_needs_no_more_memory_for_more_items(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    blocks = Selection.blocks

    def counted(self: Selection) -> Any:
        for rows, features in blocks(self):
            sizes.append(len(features) + (0 if features.segments is None else len(features.segments)))
            yield rows, features

    monkeypatch.setattr("emoclim.pipeline.caches.feature_writers.ROWS", 6)
    monkeypatch.setattr(Selection, "blocks", counted)
    export_features("timbre", root / "out.parquet", workspace=Workspace(root))
    assert len(sizes) >= 4
    assert max(sizes) <= 10


def test_an_export_that_fails_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    before = {path.name for path in root.iterdir()}
    monkeypatch.setattr("emoclim.pipeline.caches.feature_writers._table", full)
    assert (
        "No space left on device"
        in run("cache", "export", "timbre", root / "x.parquet", "--workspace", root, code=2).stderr
    )
    assert "No space left on device" in run("cache", "export", "timbre", root / "x", "--workspace", root, code=2).stderr
    assert {path.name for path in root.iterdir()} == before


def test_exports_that_cannot_be_are_refused(root: Path) -> None:
    space = Workspace(root)
    (root / "there.npz").touch()
    with pytest.raises(ConfigError, match="there.npz exists already"):
        export_features("timbre", root / "there.npz", workspace=space)
    with pytest.raises(ConfigError, match=r"suffix of .*out.txt is none of .npz and .parquet"):
        export_features("timbre", root / "out.txt", workspace=space)
    with pytest.raises(CacheError, match=r"holds no manifest 'images' \(there are: audio\)"):
        export_features("timbre", root / "out", manifest="images", workspace=space)
    assert export_features("timbre", root / "out.txt", kind="npz", workspace=space).items == 8


def test_an_export_needs_neither_the_files_nor_their_manifest(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(root / "data" / "music")
    export_features("timbre", root / "a.npz", workspace=Workspace(root))
    with np.load(root / "a.npz") as arrays:
        assert len(arrays["ids"]) == len(arrays["labels"]) == 8
    (root / "data" / "audio.csv").unlink()
    export_features("timbre", root / "b.npz", workspace=Workspace(root))
    with np.load(root / "b.npz") as arrays:
        assert len(arrays["ids"]) == 8
        assert "labels" not in arrays.files
    assert "labels and splits are left out: there is no manifest" in caplog.text


def test_a_cache_of_two_manifests_is_exported_by_either(root: Path) -> None:
    (root / "few.csv").write_text("path\n" + str(root / "data" / "music" / "piece3.wav") + "\n")
    extract_features("audio", root / "few.csv", encoder="timbre", workspace=Workspace(root), workers=0)
    few = export_features("timbre", root / "few.npz", workspace=Workspace(root))
    assert (few.manifest, few.items, few.others) == ("few", 1, 7)
    assert any("7 other items" in line for line in few.summary())
    assert export_features("timbre", root / "all.npz", manifest="audio", workspace=Workspace(root)).items == 8


def test_an_export_leaves_out_what_its_table_wrongly_calls_committed(root: Path) -> None:
    path = cache_called(root, "timbre")
    first, second, *rest = read_accounts(accounts_path(path, "audio"))
    wrong = [first._replace(key="0" * 32), second._replace(state="missing")]
    write_accounts(path, "audio", [*wrong, *rest])
    result = export_features("timbre", root / "out.npz", workspace=Workspace(root))
    assert (result.items, dict(result.lacking), result.others) == (7, {"missing": 1, "failed": 1}, 1)


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
    tagger = import_features(known, "audio", "tagger", source=music, values="penultimate", workspace=space)
    file = given / "audio_yamnet_embedding.npz"
    yamnet = import_features(file, "audio", "yamnet", source=music, workspace=space)
    assert [(one.missing, one.spec.dim) for one in (images, tagger, yamnet)] == [((), 1024), ((), 200), ((), 1024)]
    assert "widened to float32" in yamnet.notes[0]
    with np.load(file) as arrays:
        at = {id_: n for n, id_ in enumerate(arrays["ids"].tolist())}
        features = features_of(tmp_path, "yamnet")
        expected = arrays["values"][[at[id_] for id_ in features.ids]].astype(np.float32)
    assert np.array_equal(features.values.numpy(), expected)
    config = updated(preset("default"), {"epochs": 2})
    result = train(candidates=Space([EVEN], {}, config), workspace=space, device="cpu")
    assert result.folder.name == "001-mobilenet-yamnet"
    report = evaluate_run(split="train", workspace=space, device="cpu", plots=False).report
    across = report.directions[
        "image_audio"
    ]  # of music alone there is little to learn but which clips are of one track
    assert across.metrics["MRR"] > across.random["MRR"] + 0.2
    photo = corpus / features_of(tmp_path, "mobilenet", "image").ids[0]
    assert len(search_file(photo, workspace=space, device="cpu").found) == 5
    with pytest.raises(CacheError, match="features 'mobilenet' were imported, so none can be made of"):
        search_file(tmp_path / "new.png", workspace=space, device="cpu")
    assert not caplog.text


def test_what_an_export_had_to_hash_is_remembered(root: Path) -> None:
    accounts_path(cache_called(root, "timbre"), "audio").unlink()
    (root / "cache" / "content.json").unlink()
    export_features("timbre", root / "out.npz", workspace=Workspace(root))
    assert len(json.loads((root / "cache" / "content.json").read_text())) == 9
