"""Import: numbers that others made come in unharmed, or not at all."""

import csv
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cache_workspace import answer, features_of
from cache_workspace import extracted as extracted
from cache_workspace import root as root

from emoclim.cache import item_table_path, read_item_table
from emoclim.cache.disk import DiskCache
from emoclim.config import ImportConfig, TrainConfig
from emoclim.data import Texts
from emoclim.errors import CacheError, ConfigError, EmoclimError, ManifestError
from emoclim.pipeline.caches.importing import ImportResult, import_features
from emoclim.pipeline.caches.matching import find_rows
from emoclim.pipeline.evaluation.evaluate import evaluate_run
from emoclim.pipeline.run import Resources, start
from emoclim.pipeline.searching.searcher import Searcher
from emoclim.pipeline.training.config import HeadsConfig
from emoclim.pipeline.training.train_heads import TrainHeads
from emoclim.pipeline.workspace import Workspace

DIM = 5
IDS = [f"art/{letter}.png" for letter in "abcdefgh"]
NUMBERS = np.random.default_rng(0).standard_normal((len(IDS), DIM)).astype(np.float32)
SEGMENTS = np.random.default_rng(1).standard_normal((12, DIM)).astype(np.float32)
OFFSETS = np.array([0, 2, 2, 5, 6, 7, 9, 11, 12])


@pytest.fixture
def space(tmp_path: Path) -> Path:
    """A workspace with a manifest of eight pictures, none of which is there."""
    (tmp_path / "data").mkdir()
    splits = ("train", "val", "test", "train", "train", "val", "test", "train")
    rows = [("path", "label", "split"), *zip(IDS, ["fear", "awe"] * 4, splits, strict=True)]
    with (tmp_path / "data" / "images.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path


def save(space: Path, name: str = "given.npz", **arrays: Any) -> Path:
    np.savez(space / name, **({"ids": np.array(IDS), "values": NUMBERS} | arrays))
    return space / name


def bring(space: Path, file: Path, name: str = "given", **options: Any) -> ImportResult:
    modality, source = options.pop("modality", "image"), options.pop("source", None)
    return import_features(file, modality, name, ImportConfig(**options), source=source, workspace=Workspace(space))


def files_of(space: Path) -> dict[str, bytes]:
    """All files beside what was given, with their contents."""
    inside = [path for folder in ("cache", "data") for path in (space / folder).rglob("*") if path.is_file()]
    return {path.relative_to(space).as_posix(): path.read_bytes() for path in inside}


def test_imported_features_are_used_like_those_of_an_encoder(space: Path) -> None:
    order = [3, 1, 0, 2, 7, 6, 5, 4]
    result = bring(space, save(space, ids=np.array(IDS)[order], values=NUMBERS[order]), settings={"layer": 4})
    assert (result.imported, result.reused, result.missing, result.notes) == (8, 0, (), ())
    assert (result.spec.name, result.spec.modality, result.spec.dim) == ("given", "image", DIM)
    assert result.spec.checkpoint.startswith("given.npz@")
    assert dict(result.spec.settings) == {"layer": 4, "source": "import", "keys": "ids", "array": "values"}
    features = features_of(space, "given", "image")
    assert features.ids == tuple(IDS)
    assert np.array_equal(features.values.numpy(), NUMBERS)
    assert features.segments is None
    states = read_item_table(item_table_path(result.cache, "images"))
    assert [(state.id, state.state, state.key) for state in states] == [(id_, "committed", f"id:{id_}") for id_ in IDS]


def test_rows_without_ids_are_in_the_order_of_the_manifest(space: Path) -> None:
    np.savez(space / "x.npz", values=NUMBERS)
    pq.write_table(pa.table({"values": NUMBERS.tolist()}), space / "x.parquet")
    for file in (space / "x.npz", space / "x.parquet"):
        assert "has no ids" in bring(space, file, file.suffix[1:]).notes[0]
        assert np.array_equal(features_of(space, file.suffix[1:], "image").values.numpy(), NUMBERS)
    np.savez(space / "x.npz", values=NUMBERS[1:])
    with pytest.raises(CacheError, match=r"7 of 7 rows are of no item"):
        bring(space, space / "x.npz")


def test_another_order_of_the_manifest_is_another_cache_for_rows_without_ids(space: Path) -> None:
    np.savez(space / "x.npz", values=NUMBERS)
    before, manifest = bring(space, space / "x.npz").cache, space / "data" / "images.csv"
    header, *rows = manifest.read_text().splitlines()
    manifest.write_text("\n".join([header, *rows[::-1]]))
    assert bring(space, space / "x.npz").cache != before
    features = features_of(space, "given", "image")
    assert np.array_equal(features.values[features.ids.index(IDS[0])].numpy(), NUMBERS[7])


@pytest.mark.parametrize("backend", ["h5", "zarr"])
def test_importing_the_same_again_writes_nothing(space: Path, backend: str) -> None:
    file = save(space)
    bring(space, file, backend=backend)
    before = files_of(space)
    again = bring(space, file, backend=backend)
    assert (again.imported, again.reused) == (0, 8)
    assert files_of(space) == before


def test_other_numbers_another_array_or_another_setting_are_another_cache(space: Path) -> None:
    file = save(space, other=NUMBERS[:, :2])
    paths = {bring(space, file).cache, bring(space, file, values="other").cache}
    paths.add(bring(space, file, settings={"layer": 2}).cache)
    paths.add(bring(space, save(space, values=NUMBERS + 1)).cache)
    assert len(paths) == 4


@pytest.mark.parametrize("kind", ["float16", "float64", ">f4"])
def test_other_floats_become_float32(space: Path, kind: str) -> None:
    bring(space, save(space, values=NUMBERS.astype(kind)))
    assert np.array_equal(features_of(space, "given", "image").values.numpy(), NUMBERS.astype(kind).astype(np.float32))


def test_segments_come_with_their_places(space: Path) -> None:
    starts, seconds = np.arange(12.0), np.arange(8) + 1.5
    file = save(space, segments=SEGMENTS, offsets=OFFSETS, starts=starts, seconds=seconds)
    bring(space, file, modality="audio", source=space / "data" / "images.csv")
    features = features_of(space, "given")
    assert np.array_equal(features.values.numpy(), NUMBERS)
    for name, expected in {"segments": SEGMENTS, "offsets": OFFSETS, "starts": starts, "seconds": seconds}.items():
        assert np.array_equal(getattr(features, name).numpy(), expected), name
    assert bring(space, file).spec.views == 3


class Harmful:
    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return (pytest.fail, ("it was unpickled",))


NAN = np.where(np.arange(8)[:, None] == 2, np.nan, NUMBERS)
LISTS = NUMBERS.tolist()
REFUSED: dict[str, tuple[dict[str, Any], str]] = {  # what is wrong, and what the sentence must name
    "pickled ids": ({"ids": np.array([Harmful()] * 8, object)}, "Object arrays"),
    "pickled values": ({"values": np.array([Harmful()] * 8, object)}, "Object arrays"),
    "not finite": ({"values": NAN}, r"1 items of .*art/c.png"),
    "too large": ({"values": NUMBERS.astype(np.float64) * 1e300}, r"row \d of the values .* does not fit float32"),
    "one dimension": ({"values": NUMBERS[:, 0]}, r"values of .*\(8,\)"),
    "three dimensions": ({"values": NUMBERS[..., None]}, r"values of .*\(8, 5, 1\)"),
    "no dimension": ({"values": NUMBERS[:, :0]}, r"values of .*\(8, 0\)"),
    "a number": ({"values": np.float32(1)}, r"1 texts"),
    "whole numbers": ({"values": np.ones((8, 5), np.uint8)}, r"values of .* uint8"),
    "too few values": ({"values": NUMBERS[1:]}, "ids of .* 7 texts"),
    "twice": ({"ids": np.array([*IDS[:-1], IDS[0]])}, r"1 ids occur more than once \(art/a.png\)"),
    "nothing": ({"ids": np.array([], str), "values": NUMBERS[:0]}, "no item"),
    "ids in a table": ({"ids": np.array(IDS).reshape(2, 4)}, "ids of .* 8 texts"),
    "no offsets": ({"segments": SEGMENTS}, "offsets"),
    "no segments": ({"offsets": OFFSETS}, "offsets"),
    "too few offsets": ({"segments": SEGMENTS, "offsets": OFFSETS[1:]}, "offsets .* 9 whole numbers"),
    "falling offsets": ({"segments": SEGMENTS, "offsets": OFFSETS[::-1]}, "offsets"),
    "more segments": ({"segments": SEGMENTS, "offsets": OFFSETS - np.eye(9, dtype=int)[8]}, r"segments .*\(12, 5\)"),
    "other segments": ({"segments": SEGMENTS[:, :2], "offsets": OFFSETS}, r"segments .*\(12, 2\)"),
    "segment not finite": (
        {"segments": np.where(SEGMENTS[6] == SEGMENTS, np.inf, SEGMENTS), "offsets": OFFSETS},
        r"1 items of .*art/e.png",
    ),
    "starts": ({"segments": SEGMENTS, "offsets": OFFSETS, "starts": np.arange(8.0)}, r"starts of .*\(12,\)"),
    "negative length": ({"seconds": -np.ones(8)}, "8 items of"),
    "strangers": ({"ids": np.array([*IDS[:6], "x.png", "y.png"])}, r"2 of 8 .*x.png, y.png"),
    "no column": ({"columns": {"id": IDS, "numbers": LISTS}}, "'values', only id, numbers"),
    "texts": ({"columns": {"id": IDS, "values": IDS}}, "cannot be read"),
    "flat": ({"columns": {"id": IDS, "values": NUMBERS[:, 0]}}, "cannot be read"),
    "nested": ({"columns": {"id": IDS, "values": [LISTS[:2]] * 8}}, r"16 texts|values of|cannot be read"),
    "no id": ({"columns": {"id": [None, *IDS[1:]], "values": LISTS}}, "ids of .* empty cells"),
    "no value": ({"columns": {"id": IDS, "values": [None, *LISTS[1:]]}}, "values of .* empty cells"),
    "no number": ({"columns": {"id": IDS, "values": [[None, *LISTS[0][1:]], *LISTS[1:]]}}, "not finite .*art/a.png"),
    "ragged": ({"columns": {"id": IDS, "values": [[1.0], *LISTS[1:]]}}, "1 to 5"),
    "ragged segments": ({"columns": {"id": IDS, "values": LISTS, "segments": [[[1.0], []]] * 8}}, "0 to 1"),
    "other starts": (
        {"columns": {"id": IDS, "values": LISTS, "segments": [LISTS[:2]] * 8, "starts": [[0.0]] * 7 + [[0.0] * 9]}},
        "starts",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_sentence_and_leaves_nothing(space: Path, case: str) -> None:
    arrays, message = REFUSED[case]
    file = space / "given.parquet" if "columns" in arrays else save(space, **arrays)
    if "columns" in arrays:
        pq.write_table(pa.table(arrays["columns"]), file)
    before = files_of(space)
    with pytest.raises(EmoclimError, match=message) as caught:
        bring(space, file)
    assert "\n" not in str(caught.value)
    assert files_of(space) == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.npz", b"no archive"),
        ("x.npz", b"PK\x05\x06" + bytes(18)),
        ("x.npz", pickle.dumps(Harmful())),
        ("x.npz", None),
        ("x.parquet", b"PAR1 or not"),
        ("x.csv", b"1,2,3"),
        ("folder/readme.txt", b"1,2,3"),
        ("folder/a.parquet", b"1,2,3"),
    ],
)
def test_files_of_other_kinds_are_told(space: Path, name: str, content: bytes | None) -> None:
    (space / name).parent.mkdir(exist_ok=True)
    if content is None:
        os.mkfifo(space / name)
    else:
        (space / name).write_bytes(content)
    with pytest.raises(CacheError, match=str(space / Path(name).parts[0])):
        bring(space, space / Path(name).parts[0])
    with pytest.raises(CacheError, match=r"nowhere.npz"):
        bring(space, space / "nowhere.npz")


def test_a_cut_off_archive_is_told(space: Path) -> None:
    content = save(space).read_bytes()
    for size in (len(content) // 2, len(content) - 10):
        (space / "cut.npz").write_bytes(content[:size])
        with pytest.raises(CacheError, match=r"cut.npz cannot be read"):
            bring(space, space / "cut.npz")


def test_the_array_of_values_may_have_another_name(space: Path) -> None:
    np.savez(space / "x.npz", ids=np.array(IDS), penultimate=NUMBERS, tags=np.array(["a"]))
    with pytest.raises(CacheError, match=r"no 'values', only ids, penultimate, tags"):
        bring(space, space / "x.npz")
    assert bring(space, space / "x.npz", values="penultimate").spec.settings["array"] == "penultimate"


@pytest.mark.parametrize("name", ["", "a/b", "a b", ".hidden", "../up"])
def test_names_and_settings_that_are_none_are_refused(space: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="no name"):
        bring(space, save(space), name)
    with pytest.raises(ConfigError, match="'source'"):
        bring(space, save(space), settings={"source": "elsewhere"})


def test_items_without_features_are_told_and_left_out_of_training(
    space: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = bring(space, save(space, ids=np.array(IDS[2:]), values=NUMBERS[2:]))
    assert result.missing == ("art/a.png", "art/b.png")
    assert any("art/a.png, art/b.png" in line for line in result.summary())
    states = [state.state for state in read_item_table(item_table_path(result.cache, "images"))]
    assert states == ["missing"] * 2 + ["committed"] * 6
    assert features_of(space, "given", "image").ids == tuple(IDS[2:])
    assert "2 of 8 items of" in caplog.text


def test_strangers_are_left_out_if_that_is_allowed(space: Path) -> None:
    result = bring(space, save(space, ids=np.array(["x.png", *IDS[1:]])), allow_extra=True)
    assert (result.imported, result.left_out, result.missing) == (7, ("x.png",), ("art/a.png",))
    with pytest.raises(CacheError, match="8 of 8"):
        bring(space, save(space, ids=np.array([f"x{n}" for n in range(8)])), allow_extra=True)


def test_a_second_manifest_adds_its_items_to_the_same_cache(space: Path) -> None:
    (space / "few.csv").write_text("path,label,split\nart/a.png,fear,train\nart/b.png,awe,train\n")
    file = save(space)
    few = bring(space, file, source=space / "few.csv", allow_extra=True)
    everything = bring(space, file)
    assert (few.imported, everything.imported, everything.reused) == (2, 6, 2)
    assert few.cache == everything.cache
    info = answer("cache", "info", "given", "--workspace", space)
    assert info["manifests"] == {"few": {"committed": 2}, "images": {"committed": 8}}
    assert [made["encoded"] for made in info["made"]] == [2, 6]


TABLES: dict[str, Any] = {
    "lists": LISTS,
    "lists of one length": pa.FixedSizeListArray.from_arrays(NUMBERS.reshape(-1), DIM),
    "half": pa.FixedSizeListArray.from_arrays(NUMBERS.astype(np.float16).reshape(-1), DIM),
    "large lists": pa.array(LISTS, pa.large_list(pa.float32())),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_are_read_some_rows_at_a_time(space: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoclim.pipeline.caches.feature_columns.ROWS", 3)
    pq.write_table(pa.table({"id": IDS, "values": TABLES[kind]}), space / "given.parquet")
    assert bring(space, space / "given.parquet").imported == 8
    numbers = NUMBERS.astype(np.float16) if kind == "half" else NUMBERS
    assert np.array_equal(features_of(space, "given", "image").values.numpy(), numbers.astype(np.float32))


@pytest.mark.parametrize("order", [list(range(8)), [3, 1, 0, 2, 7, 6, 5, 4], [7, 2]])
def test_rows_of_tables_find_their_items_in_any_order(
    space: Path, order: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoclim.pipeline.caches.feature_columns.ROWS", 3)
    monkeypatch.setattr("emoclim.cache.item_table.ROWS", 2)
    ids = pa.array([*(IDS[n] for n in order), "x.png"]).dictionary_encode()
    values = [*(LISTS[n] for n in order), LISTS[0]]
    pq.write_table(pa.table({"id": ids, "values": values}), space / "given.parquet")
    result = bring(space, space / "given.parquet", allow_extra=True)
    missing = tuple(id_ for n, id_ in enumerate(IDS) if n not in order)
    assert (result.imported, result.missing, result.left_out) == (len(order), missing, ("x.png",))
    features = features_of(space, "given", "image")
    assert np.array_equal(features.values.numpy(), NUMBERS[sorted(order)])
    with pytest.raises(CacheError, match=r"1 of \d rows are of no item of .*images.csv \(x.png\)"):
        bring(space, space / "given.parquet")


@pytest.mark.parametrize("count", [8, 5])
def test_items_of_large_tables_are_found_by_columns(space: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoclim.data.items.reading.LARGE", 1)
    monkeypatch.setattr("emoclim.cache.item_table.ROWS", 2)
    pq.write_table(pa.table({"path": IDS, "label": ["fear", "awe"] * 4, "split": ["train"] * 8}), space / "m.parquet")
    pq.write_table(pa.table({"id": IDS[:count], "values": LISTS[:count]}), space / "given.parquet")
    result = bring(space, space / "given.parquet", source=space / "m.parquet")
    assert (result.imported, result.missing) == (count, tuple(IDS[count:]))
    features = features_of(space, "given", "image")
    assert isinstance(features.ids, Texts)
    assert features.ids == IDS[:count]
    assert np.array_equal(features.values.numpy(), NUMBERS[:count])


LATE: dict[str, tuple[list[Any], str]] = {  # what is wrong in the last block of rows
    "not finite": ([*LISTS[:7], [np.nan] * DIM], r"1 items of .*art/h.png"),
    "shorter": ([*LISTS[:6], *([number] for number in range(2))], r"equally long \(1 to 5\)"),
    "ragged": ([*LISTS[:7], [1.0]], r"1 to 5 numbers"),
}


@pytest.mark.parametrize("case", LATE)
def test_what_is_wrong_in_a_later_block_leaves_nothing(space: Path, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoclim.pipeline.caches.feature_columns.ROWS", 3)
    (space / "data" / "images.csv").write_text("".join(f"{line}\n" for line in ("path", *IDS)))
    values, message = LATE[case]
    pq.write_table(pa.table({"id": IDS, "values": pa.array(values, pa.list_(pa.float32()))}), space / "given.parquet")
    before = files_of(space)
    with pytest.raises(CacheError, match=message):
        bring(space, space / "given.parquet")
    assert files_of(space) == before
    assert not (space / "cache").exists()


def test_a_table_that_changes_meanwhile_is_told(space: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = space / "given.parquet"
    pq.write_table(pa.table({"id": IDS, "values": LISTS}), file)
    before = files_of(space)

    def changed(*given: Any, **options: Any) -> Any:
        found = find_rows(*given, **options)
        pq.write_table(pa.table({"id": IDS[:5], "values": LISTS[:5]}), file)
        return found

    monkeypatch.setattr("emoclim.pipeline.caches.importing.find_rows", changed)
    with pytest.raises(CacheError, match=r"given.parquet changed while it was read"):
        bring(space, file)
    assert files_of(space) == before


def test_the_files_of_a_folder_are_one_table(space: Path) -> None:
    (space / "folder").mkdir()
    pq.write_table(pa.table({"id": IDS[:3], "values": LISTS[:3]}), space / "folder" / "a.parquet")
    pq.write_table(pa.table({"id": IDS[3:], "values": LISTS[3:]}), space / "folder" / "b.parquet")
    assert bring(space, space / "folder").imported == 8
    pq.write_table(pa.table({"id": IDS[3:], "values": NUMBERS[3:, :2].tolist()}), space / "folder" / "b.parquet")
    with pytest.raises(CacheError, match=r"folder .*\(2 to 5\)"):
        bring(space, space / "folder")
    pq.write_table(pa.table({"values": LISTS[3:]}), space / "folder" / "b.parquet")
    with pytest.raises(CacheError, match="5 of 8 rows are of no item"):
        bring(space, space / "folder")


@pytest.mark.parametrize("backend", ["h5", "zarr"])
def test_an_interrupted_import_leaves_nothing(space: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(space)
    before = files_of(space)
    append, calls = DiskCache.append_features, [0]

    def stopped(self: DiskCache, items: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        append(self, items)

    with monkeypatch.context() as patch:
        patch.setattr("emoclim.pipeline.caches.importing.COMMIT_ITEMS", 3)
        patch.setattr(DiskCache, "append_features", stopped)
        with pytest.raises(KeyboardInterrupt):
            bring(space, file, backend=backend)
    assert files_of(space) == before
    assert bring(space, file, backend=backend).imported == 8


def test_features_of_folders_get_splits_that_are_kept(space: Path) -> None:
    folder = space / "data" / "images"
    for n, id_ in enumerate(IDS):
        path = folder / ("fear", "awe")[n % 2] / Path(id_).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    ids = [f"{('fear', 'awe')[n % 2]}/{Path(id_).name}" for n, id_ in enumerate(IDS)]
    bring(space, save(space, ids=np.array(ids)), source=folder)
    assert (space / "data" / "images.splits.csv").is_file()
    assert features_of(space, "given", "image").ids == tuple(sorted(ids))


def test_imported_libraries_are_trained_on_and_searched_without_their_files(space: Path) -> None:
    names = {"image": ("jpg", "fear", "amusement"), "audio": ("ogg", "scary", "funny")}
    for modality, (suffix, *labels) in names.items():
        rows = [(f"{modality}/{n}.{suffix}", labels[n % 2], ("train", "val", "test")[n // 2 % 3]) for n in range(12)]
        manifest = space / f"{modality}.csv"
        with manifest.open("w", newline="") as file:
            csv.writer(file).writerows([("path", "label", "split"), *rows])
        values = np.random.default_rng(3).standard_normal((12, DIM)) + 3.0 * (np.arange(12) % 2)[:, None]
        given = save(space, ids=np.array([row[0] for row in rows]), values=values)
        bring(space, given, modality=modality, source=manifest)
    config = TrainConfig().updated(epochs=1)
    start(TrainHeads(), HeadsConfig(base=config), Resources(Workspace(space), "cpu"))
    evaluation = evaluate_run(workspace=Workspace(space), device="cpu", plots=False)
    assert evaluation.report.directions["image_audio"].n_queries == 4
    searcher = Searcher(Workspace(space), device="cpu")
    (found,) = searcher.search([space / "image" / "3.jpg"]).results
    assert [hit.path.parent.name for hit in found.found if hit.path] == ["audio"] * 5
    assert found.emotions is not None
    assert found.emotions.keys() == {"scary", "funny"}
    within = Searcher(Workspace(space), library="image", device="cpu").search([space / "image" / "3.jpg"], top=99)
    assert within.results[0].left_out == ("image/3.jpg",)
    assert len(within.results[0].found) == 11
    with pytest.raises(ManifestError, match=r"'given' were imported.*new.jpg"):
        searcher.search([space / "image" / "new.jpg"])
    (space / "album").mkdir()
    (space / "album" / "0.ogg").touch()
    with pytest.raises(CacheError, match=r"'given' were imported.*album; search in one of audio, image"):
        Searcher(Workspace(space), library=str(space / "album"), device="cpu").search([space / "image" / "3.jpg"])
