"""Import: numbers that others made come in unharmed, or not at all."""

import csv
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cache_workspace import answer, features_of
from cache_workspace import extracted as extracted
from cache_workspace import root as root

from emoclim.cache.disk import DiskCache
from emoclim.config import preset, updated
from emoclim.errors import CacheError, ConfigError, EmoclimError
from emoclim.pipeline.accounts import accounts_path, read_accounts
from emoclim.pipeline.caches.imports import ImportResult, import_features
from emoclim.pipeline.evaluation import evaluate_run
from emoclim.pipeline.heads import train
from emoclim.pipeline.plans import EVEN
from emoclim.pipeline.search import search_file
from emoclim.pipeline.workspace import Workspace
from emoclim.sweep import Space

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
    return import_features(file, options.pop("modality", "image"), name, workspace=Workspace(space), **options)


def files_of(space: Path) -> dict[str, bytes]:
    """All files beside what was given, with their contents."""
    inside = [path for folder in ("cache", "data") for path in (space / folder).rglob("*") if path.is_file()]
    return {path.relative_to(space).as_posix(): path.read_bytes() for path in inside}


def test_imported_features_are_used_like_those_of_an_encoder(space: Path) -> None:
    order = [3, 1, 0, 2, 7, 6, 5, 4]
    file = save(space, ids=np.array(IDS)[order], values=NUMBERS[order])
    result = bring(space, file, settings={"layer": 4})
    assert (result.imported, result.reused, result.missing, result.notes) == (8, 0, (), ())
    assert (result.spec.name, result.spec.modality, result.spec.dim) == ("given", "image", DIM)
    assert result.spec.checkpoint.startswith("given.npz@")
    assert dict(result.spec.settings) == {"layer": 4, "source": "import", "keys": "ids", "array": "values"}
    features = features_of(space, "given", "image")
    assert features.ids == tuple(IDS)
    assert np.array_equal(features.values.numpy(), NUMBERS)
    assert features.segments is None
    states = read_accounts(accounts_path(result.cache, "images"))
    assert [(state.id, state.state, state.key) for state in states] == [(id_, "committed", f"id:{id_}") for id_ in IDS]


@pytest.mark.parametrize("backend", ["h5", "zarr"])
def test_importing_the_same_again_writes_nothing(space: Path, backend: str) -> None:
    file = save(space)
    bring(space, file, backend=backend)
    before = files_of(space)
    again = bring(space, file, backend=backend)
    assert (again.imported, again.reused) == (0, 8)
    assert "was imported already" in again.summary()[0]
    assert files_of(space) == before


def test_other_numbers_another_array_or_another_setting_are_another_cache(space: Path) -> None:
    file = save(space, other=NUMBERS[:, :2])
    paths = {bring(space, file).cache, bring(space, file, values="other").cache}
    paths.add(bring(space, file, settings={"layer": 2}).cache)
    paths.add(bring(space, save(space, values=NUMBERS + 1)).cache)
    assert len(paths) == 4


@pytest.mark.parametrize(("kind", "told"), [("float16", "widened"), ("float64", "rounded")])
def test_other_floats_become_float32_and_this_is_told(space: Path, kind: str, told: str) -> None:
    given = NUMBERS.astype(kind)
    result = bring(space, save(space, values=given))
    assert f"the {kind} numbers of {space / 'given.npz'} were {told} to float32" in result.summary()
    assert np.array_equal(features_of(space, "given", "image").values.numpy(), given.astype(np.float32))


def test_segments_come_with_their_places(space: Path) -> None:
    starts, seconds = np.arange(12.0), np.arange(8) + 1.5
    save(space, segments=SEGMENTS, offsets=OFFSETS, starts=starts, seconds=seconds)
    manifest = space / "data" / "images.csv"
    bring(space, space / "given.npz", modality="audio", source=manifest)
    features = features_of(space, "given")
    assert np.array_equal(features.values.numpy(), NUMBERS)
    for name, expected in {"segments": SEGMENTS, "offsets": OFFSETS, "starts": starts, "seconds": seconds}.items():
        assert np.array_equal(getattr(features, name).numpy(), expected), name


def test_with_offsets_alone_the_values_are_segments_and_their_mean_counts(space: Path) -> None:
    offsets = np.array([0, 2, 3, 5, 6, 7, 9, 11, 12])
    result = bring(space, save(space, values=SEGMENTS, offsets=offsets))
    assert result.spec.views == 2
    assert "does not say where segments start" in result.notes[0]
    features = features_of(space, "given", "image")
    assert features.segments is not None
    assert np.array_equal(features.segments.numpy(), SEGMENTS)
    for n in range(8):
        assert np.allclose(features.values[n], SEGMENTS[offsets[n] : offsets[n + 1]].mean(0), atol=1e-7)


class Harmful:
    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return (pytest.fail, ("it was unpickled",))


NAN = np.where(np.arange(8)[:, None] == 2, np.nan, NUMBERS)
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "pickled ids": ({"ids": np.array([Harmful()] * 8, object)}, "Python objects, which could run code"),
    "pickled values": ({"values": np.array([Harmful()] * 8, object)}, "Python objects, which could run code"),
    "not finite": ({"values": NAN}, r"1 of 8 items have .* not finite \(art/c.png\)"),
    "too large": ({"values": NUMBERS.astype(np.float64) * 1e300}, "8 of 8 items have .* not finite"),
    "one dimension": ({"values": NUMBERS[:, 0]}, r"values of .* float32 \(8,\), not float16, .* \(8, D\)"),
    "three dimensions": ({"values": NUMBERS[..., None]}, r"values of .* \(8, 5, 1\), not"),
    "no dimension": ({"values": NUMBERS[:, :0]}, r"values of .* \(8, 0\), not"),
    "whole numbers": ({"values": np.ones((8, 5), np.uint8)}, r"values of .* uint8 \(8, 5\), not float16"),
    "too few values": ({"values": NUMBERS[1:]}, r"\(7, 5\), not .* \(8, D\)"),
    "twice": ({"ids": np.array([*IDS[:-1], IDS[0]])}, r"1 ids occur more than once \(art/a.png\)"),
    "nothing": ({"ids": np.array([], str), "values": NUMBERS[:0]}, "holds no item"),
    "ids in a table": ({"ids": np.array(IDS).reshape(2, 4)}, r"ids of .* \(2, 4\), not a list of texts"),
    "no offsets": ({"segments": SEGMENTS}, "has segments and no offsets"),
    "too few offsets": ({"segments": SEGMENTS, "offsets": OFFSETS[1:]}, "offsets of .* must be 9 whole numbers"),
    "falling offsets": ({"segments": SEGMENTS, "offsets": OFFSETS[::-1]}, "rise from 0 to 12"),
    "other segments": ({"segments": SEGMENTS[:, :2], "offsets": OFFSETS}, "have 5 numbers and its segments 2"),
    "segment not finite": (
        {"segments": np.where(SEGMENTS[6] == SEGMENTS, np.inf, SEGMENTS), "offsets": OFFSETS},
        r"1 of 8 items have .* not finite \(art/e.png\)",
    ),
    "an item without segments": (
        {"values": SEGMENTS, "offsets": OFFSETS},
        r"1 of 8 items have no segment, .*art/b.png",
    ),
    "starts": ({"segments": SEGMENTS, "offsets": OFFSETS, "starts": np.arange(8.0)}, r"starts of .* not .* \(12\)"),
    "negative length": ({"seconds": -np.ones(8)}, "8 of 8 items have"),
    "strangers": ({"ids": np.array([*IDS[:6], "x.png", "y.png"])}, r"2 of 8 ids are not in it \(x.png, y.png; its own"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_used_is_refused_in_one_sentence_and_leaves_nothing(space: Path, case: str) -> None:
    arrays, message = REFUSED[case]
    file = save(space, **arrays)
    before = files_of(space)
    with pytest.raises(EmoclimError, match=message) as caught:
        bring(space, file)
    assert "\n" not in str(caught.value)
    assert files_of(space) == before


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npz", b"no archive", "cannot be read as NumPy's format|Python objects"),
        ("x.npz", b"PK\x05\x06" + bytes(18), r"has no array 'ids' \(it has: \)"),
        ("x.npz", pickle.dumps(Harmful()), "Python objects, which could run code"),
        ("x.parquet", b"PAR1 or not", "cannot be read as Parquet"),
        ("x.csv", b"1,2,3", "is no .npz, no .parquet and no folder"),
        ("folder/readme.txt", b"1,2,3", "has no .npy and no .parquet"),
        ("folder/a.npy", b"no array", "cannot be read as NumPy's format|Python objects"),
    ],
)
def test_files_of_other_kinds_are_told(space: Path, name: str, content: bytes, message: str) -> None:
    (space / name).parent.mkdir(exist_ok=True)
    (space / name).write_bytes(content)
    with pytest.raises(CacheError, match=message):
        bring(space, space / Path(name).parts[0])
    with pytest.raises(CacheError, match="there is no file of features"):
        bring(space, space / "nowhere.npz")


def test_a_cut_off_archive_is_told(space: Path) -> None:
    content = save(space).read_bytes()
    for size in (len(content) // 2, len(content) - 10):
        (space / "cut.npz").write_bytes(content[:size])
        with pytest.raises(CacheError, match="cannot be read as NumPy's format"):
            bring(space, space / "cut.npz")


def test_the_arrays_that_there_are_are_listed(space: Path) -> None:
    np.savez(space / "x.npz", ids=np.array(IDS), penultimate=NUMBERS, tags=np.array(["a"]))
    with pytest.raises(
        CacheError, match=r"no array 'values' \(it has: ids \(8,\), penultimate \(8, 5\), tags \(1,\)\)"
    ):
        bring(space, space / "x.npz")
    assert bring(space, space / "x.npz", values="penultimate").spec.settings["array"] == "penultimate"


@pytest.mark.parametrize("name", ["", "a/b", "a b", ".hidden", "../up"])
def test_names_and_settings_that_are_none_are_refused(space: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name for features"):
        bring(space, save(space), name)
    with pytest.raises(ConfigError, match="'source' is set by the import itself"):
        bring(space, save(space), settings={"source": "elsewhere"})


def test_items_without_features_are_told_and_left_out_of_training(
    space: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = bring(space, save(space, ids=np.array(IDS[2:]), values=NUMBERS[2:]))
    assert result.missing == ("art/a.png", "art/b.png")
    assert any("2 of 8 items of" in line and "art/a.png, art/b.png" in line for line in result.summary())
    assert [state.state for state in read_accounts(accounts_path(result.cache, "images"))[:3]] == [
        "missing",
        "missing",
        "committed",
    ]
    assert features_of(space, "given", "image").ids == tuple(IDS[2:])
    assert "2 of 8 items of" in caplog.text
    assert "have no imported features: left out" in caplog.text


def test_strangers_are_left_out_if_that_is_allowed(space: Path) -> None:
    file = save(space, ids=np.array(["x.png", *IDS[1:]]))
    with pytest.raises(CacheError, match="leave features of other items out with --allow-extra"):
        bring(space, file)
    result = bring(space, file, allow_extra=True)
    assert (result.imported, result.left_out, result.missing) == (7, ("x.png",), ("art/a.png",))
    with pytest.raises(CacheError, match="8 of 8 ids are not in it"):
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


def test_ids_may_be_paths_where_the_manifest_has_ids(space: Path) -> None:
    manifest = space / "named.csv"
    manifest.write_text("id,path,label\n" + "".join(f"{n},{id_},awe\n" for n, id_ in enumerate(IDS)))
    bring(space, save(space), source=manifest)
    assert features_of(space, "given", "image").ids == tuple("01234567")
    by_number = bring(space, save(space, ids=np.arange(8)[::-1].copy()), "numbered", source=manifest)
    assert by_number.imported == 8
    assert np.array_equal(features_of(space, "numbered", "image").values.numpy(), NUMBERS[::-1])
    manifest.write_text("id,path,start\n" + "".join(f"{n},art/a.png,{n}\n" for n in range(8)))
    with pytest.raises(CacheError, match=r"1 ids mean several items \(art/a.png\)"):
        bring(space, save(space, ids=np.array(["0", "art/a.png"]), values=NUMBERS[:2]), source=manifest)


@pytest.mark.parametrize(
    "name", [lambda id_: f"{id_}.npy", lambda id_: f"{id_[:-4]}.npy", lambda id_: f"{id_[4:-4]}.npy"]
)
def test_a_folder_of_arrays_is_matched_by_path_or_stem(space: Path, name: Callable[[str], str]) -> None:
    for n, id_ in enumerate(IDS):
        path = space / "given" / name(id_)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, SEGMENTS[OFFSETS[n] : OFFSETS[n + 1]] if OFFSETS[n] < OFFSETS[n + 1] else NUMBERS[n])
    assert bring(space, space / "given").imported == 8
    features = features_of(space, "given", "image")
    assert np.array_equal(features.values[1].numpy(), NUMBERS[1])
    assert features.segments is not None
    assert np.array_equal(features.segments.numpy(), SEGMENTS)
    before = {path.name for path in (space / "cache").iterdir()}
    np.save(space / "given" / name(IDS[0]), SEGMENTS[:2, :3])
    with pytest.raises(CacheError, match=r"not all values are equally long \(1 items have 3, 7 items have 5\)"):
        bring(space, space / "given")
    np.save(space / "given" / name(IDS[0]), SEGMENTS[None])
    with pytest.raises(CacheError, match="float32"):
        bring(space, space / "given")
    assert {path.name for path in (space / "cache").iterdir()} == before


def test_stems_that_several_items_share_are_refused(space: Path) -> None:
    manifest = space / "twins.csv"
    manifest.write_text("path\na/x.png\nb/x.png\nb/y.png\n")
    (space / "given" / "a").mkdir(parents=True)
    for name in ("x", "y"):
        np.save(space / "given" / f"{name}.npy", NUMBERS[0])
    with pytest.raises(CacheError, match=r"1 ids mean several items \(x\)"):
        bring(space, space / "given", source=manifest)
    np.save(space / "given" / "a" / "x.png.npy", NUMBERS[0])
    (space / "given" / "x.npy").rename(space / "given" / "a" / "x.npy")
    with pytest.raises(CacheError, match=r"2 ids mean items that others mean too \(a/x, a/x.png\)"):
        bring(space, space / "given", source=manifest)


def tables() -> dict[str, tuple[dict[str, Any], np.ndarray]]:
    """Columns of Parquet, and the values that they mean."""
    import pyarrow as pa

    parts = [SEGMENTS[a:b].tolist() for a, b in zip(range(0, 8), range(1, 9), strict=True)]
    half = NUMBERS.astype(np.float16)
    return {
        "lists": ({"values": NUMBERS.tolist()}, NUMBERS),
        "lists of one length": ({"values": pa.FixedSizeListArray.from_arrays(NUMBERS.reshape(-1), DIM)}, NUMBERS),
        "half": ({"values": pa.FixedSizeListArray.from_arrays(half.reshape(-1), DIM)}, half.astype(np.float32)),
        "columns": ({f"f{n}": NUMBERS[:, n] for n in range(DIM)} | {"count": range(8)}, NUMBERS),
        "lists of lists": ({"values": parts}, SEGMENTS[:8]),
        "large lists": ({"values": pa.array(NUMBERS.tolist(), pa.large_list(pa.float32()))}, NUMBERS),
    }


@pytest.mark.parametrize("kind", ["lists", "lists of one length", "half", "columns", "lists of lists", "large lists"])
def test_tables_hold_lists_or_columns(space: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr("emoclim.pipeline.caches.feature_tables.ROWS", 3)
    columns, expected = tables()[kind]
    pq.write_table(pa.table({"id": IDS, **columns}), space / "given.parquet")
    assert bring(space, space / "given.parquet").imported == 8
    assert np.allclose(features_of(space, "given", "image").values.numpy(), expected, atol=1e-7)


def test_tables_that_cannot_be_used_are_told(space: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = space / "given.parquet"
    lists = NUMBERS.tolist()
    for columns, message in (
        ({"name": IDS, "values": lists}, r"no column 'id' \(it has: name, values\)"),
        ({"id": IDS, "numbers": lists}, r"no column 'values' \(it has: id, numbers\)"),
        ({"id": IDS, "values": IDS}, "holds no lists of floats"),
        ({"id": [None, *IDS[1:]], "values": lists}, "column 'id' of .* has empty cells"),
        ({"id": IDS, "values": [None, *lists[1:]]}, "column 'values' of .* has empty cells"),
        ({"id": IDS, "values": [[None, *lists[0][1:]], *lists[1:]]}, "not finite"),
        ({"id": IDS, "values": [[1.0], *lists[1:]]}, "have 1 to 5 values; make them equally long"),
    ):
        pq.write_table(pa.table(columns), file)
        with pytest.raises(CacheError, match=message):
            bring(space, file)
    (space / "folder").mkdir()
    pq.write_table(pa.table({"id": IDS, "values": lists}), space / "folder" / "a.parquet")
    pq.write_table(pa.table({"id": IDS, "value": lists}), space / "folder" / "b.parquet")
    with pytest.raises(CacheError, match=r"b.parquet has other columns than .*a.parquet"):
        bring(space, space / "folder")


@pytest.mark.parametrize("backend", ["h5", "zarr"])
def test_an_interrupted_import_leaves_nothing(space: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(space)
    before = files_of(space)
    append, calls = DiskCache.append, [0]

    def stopped(self: DiskCache, items: Any) -> None:
        calls[0] += 1
        if calls[0] == 2:
            raise KeyboardInterrupt
        append(self, items)

    with monkeypatch.context() as patch:
        patch.setattr("emoclim.pipeline.caches.imports.COMMIT_ITEMS", 3)
        patch.setattr(DiskCache, "append", stopped)
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
    config = updated(preset("default"), {"epochs": 1})
    train(candidates=Space([EVEN], {}, config), workspace=Workspace(space), device="cpu")
    evaluation = evaluate_run(workspace=Workspace(space), device="cpu", plots=False)
    assert evaluation.report.directions["image_audio"].n_queries == 4
    hits = search_file(space / "image" / "3.jpg", workspace=Workspace(space), device="cpu").found
    assert [hit.path.parent.name for hit in hits if hit.path] == ["audio"] * 5
    with pytest.raises(
        CacheError, match=r"'given' were imported, so none can be made of .*new.jpg; search with a file of"
    ):
        search_file(space / "image" / "new.jpg", workspace=Workspace(space), device="cpu")
