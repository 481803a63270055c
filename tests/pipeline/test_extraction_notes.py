"""What became of each item, where the time went, and extraction in parts."""

import csv
import os
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emoclim.cache import (
    ItemStatus,
    item_table_path,
    open_cache,
    read_item_table,
    read_note,
    write_item_table,
)
from emoclim.cache.contract import FeatureCache
from emoclim.config import ExtractConfig
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Item, Manifest
from emoclim.encoders.base import Encoder, ImageEncoder
from emoclim.encoders.loading import load_encoder
from emoclim.errors import CacheError, ConfigError, EmoclimError, EncoderError
from emoclim.pipeline import extract as features
from emoclim.pipeline import machine
from emoclim.pipeline.extract import extract_features
from emoclim.pipeline.extraction_result import ExtractionResult, advice_for
from emoclim.pipeline.workspace import Shard, Workspace
from emoclim.progress import Stopwatch
from emoclim.reports.extraction import Extraction, Timing

COLOUR = ExtractConfig(encoder="colour", workers=0)


def picture(path: Path, shade: int) -> None:
    Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(path)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    folder = tmp_path / "data"
    folder.mkdir()
    for n in range(6):
        picture(folder / f"{n}.png", 40 * n)
    (folder / "twin.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "bad.png").write_text("no picture")
    names = [*(f"{n}.png" for n in range(6)), "twin.png", "bad.png", "gone.png"]
    (folder / "images.csv").write_text("\n".join(["path", *names]) + "\n")
    return Workspace(tmp_path)


def extract(workspace: Workspace, shard: str | None = None, **options: object) -> ExtractionResult:
    part, config = Shard.parse(shard) if shard else None, COLOUR.model_copy(update=options)
    return extract_features("image", config=config, workspace=workspace, shard=part)


def states(result: ExtractionResult) -> dict[str, ItemStatus]:
    return {state.id: state for state in read_item_table(item_table_path(result.cache, "images"))}


def test_every_item_is_in_exactly_one_state(workspace: Workspace) -> None:
    result = extract(workspace)
    found = states(result)
    assert list(found) == [item.id for item in result.manifest.items]
    assert {id_ for id_, state in found.items() if state.state == "failed"} == {"bad.png", "gone.png"}
    assert {state.state for state in found.values()} == {"committed", "failed"}
    assert found["twin.png"].key == found["0.png"].key
    assert found["bad.png"].reason.startswith("this is no picture")
    assert found["gone.png"] == ItemStatus("gone.png", "failed", "", "the file is missing")
    with open_cache(result.cache) as cache:
        assert {state.key for state in found.values() if state.state == "committed"} == cache.keys()
    assert (result.extraction.encoded, result.extraction.reused, len(result.extraction.failures)) == (6, 1, 2)


def folder_of(root: Path, *names: str) -> Path:
    for shade, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(root / name, 20 * shade)
    return root


def test_labels_taken_from_folders_are_named_and_doubted_where_none_is_an_emotion(workspace: Workspace) -> None:
    artists = folder_of(workspace.root / "artists", "ABBA/1.png", "ABBA/2.png", "Beatles/3.png")
    result = extract_features("image", artists, COLOUR, workspace=workspace)
    assert (result.to_dict()["labels"], result.to_dict()["labels_from"]) == ({"ABBA": 2, "Beatles": 1}, "folder")
    assert "labels, by folder: ABBA (2), Beatles (1)" in result.summary()
    (doubt,) = result.warnings
    assert "no label of" in doubt
    assert "(ABBA, Beatles, by folder); if they are none, extract again with --unlabelled" in doubt
    (artists / "ABBA").rename(artists / "Fear")
    renamed = extract_features("image", artists, COLOUR, workspace=workspace)
    assert not any("--unlabelled" in warning for warning in renamed.warnings)


def test_a_library_is_never_replaced_without_a_word(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    photos = folder_of(workspace.root / "photos", "fear/1.png", "awe/2.png", "loose.png")
    unlabelled = COLOUR.model_copy(update={"unlabelled": True})
    assert extract_features("image", photos, unlabelled, workspace=workspace).warnings == ()
    assert extract_features("image", photos, unlabelled, workspace=workspace).warnings == ()
    labelled = extract_features("image", photos, COLOUR, workspace=workspace)
    assert "3 pictures without labels before, 2 with labels now" in labelled.warnings[0]
    assert labelled.warnings[0] in caplog.text
    folder_of(photos, "fear/1.png", "awe/2.png", "awe/3.png", "awe/4.png")
    (again,) = extract_features("image", photos, COLOUR, workspace=workspace).warnings
    assert "2 pictures before, 4 now" in again


def test_files_that_are_left_out_stand_in_the_table_of_items(workspace: Workspace) -> None:
    photos = folder_of(workspace.root / "photos", "fear/1.png")
    (photos / "fear" / "raw.nef").touch()
    result = extract_features("image", photos, COLOUR, workspace=workspace)
    table = read_item_table(item_table_path(result.cache, "photos"))
    assert [(status.id, status.state) for status in table] == [
        ("fear/1.png", "committed"),
        ("fear/raw.nef", "left out"),
    ]
    assert "(fear/raw.nef); taken are .avif, .bmp" in result.summary()[0]
    assert result.to_dict()["left_out"] == {"fear/raw.nef": "no image by its suffix"}


@pytest.mark.parametrize(
    ("encoder", "bottleneck", "on_cpu", "advice"),
    [
        ("colour", "compute", True, ""),
        ("colour", "compute", False, "a larger --batch-size would help"),
        ("clip", "compute", True, "a GPU or --compile would help"),
        ("clip", "compute", False, "a larger --batch-size or --precision bf16 or --compile would help"),
        ("clip", "decode", True, "for large JPEGs --decoder draft would help"),
        ("clap", "decode", True, ""),
        ("clip", "write", True, "a faster disk would help"),
        ("clap", "write", True, "a faster disk or --no-segments would help"),
    ],
)
def test_advice_is_what_is_possible_and_matters(
    tmp_path: Path, encoder: str, bottleneck: str, on_cpu: bool, advice: str
) -> None:
    kinds = dict.fromkeys(("read", "decode", "waiting", "compute", "write", "blocked"), 0.0)
    spent = {"decode": "waiting", "write": "blocked"}.get(bottleneck, bottleneck)
    timing = Timing(**kinds | {spent: 100.0, bottleneck: 100.0}, total=100.0)
    file = tmp_path / "net.pt"
    file.touch()
    made = load_encoder(encoder) if encoder == "colour" else load_encoder(encoder, checkpoint=file)
    assert advice_for(timing, made, on_cpu, ExtractConfig(), 10_000) == advice
    assert advice_for(replace(timing, total=20.0), made, on_cpu, ExtractConfig(), 0) == ""


def test_a_manifest_that_was_edited_between_runs(workspace: Workspace) -> None:
    before = states(extract(workspace))
    folder = workspace.root / "data"
    picture(folder / "0.png", 250)  # changed
    (folder / "moved.png").write_bytes((folder / "1.png").read_bytes())
    picture(folder / "new.png", 90)
    (folder / "images.csv").write_text("path\n0.png\nmoved.png\nnew.png\n2.png\n")
    result = extract(workspace)
    after = states(result)
    assert (result.extraction.encoded, result.extraction.reused) == (2, 2)
    assert after["0.png"].key != before["0.png"].key
    assert after["moved.png"].key == before["1.png"].key
    assert after.keys() == {"0.png", "moved.png", "new.png", "2.png"}
    with open_cache(result.cache) as cache:
        assert before["3.png"].key in cache.keys()  # nothing is forgotten


def test_runs_that_encode_something_are_remembered_with_their_versions(workspace: Workspace) -> None:
    for expected in (1, 1):  # the second encodes nothing
        made = read_note(extract(workspace).cache).made
        assert [run["encoded"] for run in made] == [6] * expected
    assert {"time", "command", "versions"} <= made[0].keys()
    assert made[0]["versions"].keys() >= {"torch", "numpy", "scipy", "pillow"}


def test_versions_of_optional_libraries_are_noted_where_they_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "OPTIONAL", ("rich", "not_installed"))
    versions = machine.provenance()["versions"]
    assert versions["rich"]
    assert "not_installed" not in versions


def test_a_killed_run_leaves_a_note_with_its_versions(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(part: Manifest, encoder: Encoder, cache: FeatureCache, **options: Any) -> Extraction:
        stage(replace(part, items=part.items[:2]), encoder, cache, **options)
        assert cache.path is not None
        note = read_note(cache.path)  # what a SIGKILL would leave now
        assert [run["encoded"] for run in note.made] == [None]
        assert note.made[0]["versions"]["torch"]
        assert [source.name for source in note.sources] == ["images"]
        raise KeyboardInterrupt

    stage = features.extract
    monkeypatch.setattr(features, "extract", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(workspace)
    monkeypatch.setattr(features, "extract", stage)
    assert (workspace.caches / "content.sqlite").is_file()
    resumed = extract(workspace)
    assert (resumed.extraction.encoded, resumed.extraction.reused) == (4, 3)
    assert [run["encoded"] for run in read_note(resumed.cache).made] == [2, 4]


def test_a_run_that_keeps_nothing_leaves_nothing(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_given: object, **_options: object) -> Extraction:
        raise CacheError("no")

    monkeypatch.setattr(features, "extract", failing)
    with pytest.raises(CacheError, match="no"):
        extract(workspace)
    assert [path.name for path in workspace.caches.iterdir()] == []


def test_an_encoder_that_cannot_be_loaded_leaves_nothing(workspace: Workspace) -> None:
    data = workspace.root / "data"
    (data / "images.csv").write_text("path,label\n0.png,awe\n1.png,fear\n")  # splits would be made for it
    before = set(workspace.root.rglob("*"))
    with pytest.raises(EncoderError, match="no parameters"):
        extract(workspace, checkpoint=data / "any.pt")
    assert set(workspace.root.rglob("*")) == before


def test_manifests_of_one_name_have_tables_of_their_own(workspace: Workspace) -> None:
    other = workspace.root / "data" / "more"
    other.mkdir()
    picture(other / "x.png", 17)
    (other / "images.csv").write_text("path\nx.png\n")
    first = extract(workspace)
    second = extract_features("image", other / "images.csv", COLOUR, workspace=workspace)
    names = [source.name for source in read_note(second.cache).sources]
    assert names[0] == "images"
    assert re.fullmatch("images-[0-9a-f]{6}", names[1])
    assert len(states(first)) == 9
    assert [state.id for state in read_item_table(item_table_path(second.cache, names[1]))] == ["x.png"]
    with open_cache(second.cache) as cache:
        assert len(cache.features(["5.png", "x.png"])) == 2
    extract(workspace)
    assert {source.name for source in read_note(second.cache).sources} == set(names)  # each keeps its name


@pytest.mark.parametrize("start", [".", "data", "/"])
def test_a_manifest_that_is_extracted_anew_replaces_itself_from_any_folder(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    monkeypatch.chdir(workspace.root / start)
    table = workspace.root / "data" / "images.csv"
    table.write_text("path,label,split\n0.png,awe,train\n1.png,fear,val\n")
    shown = Path(os.path.relpath(table))
    for n, unlabelled in ((2, False), (3, False), (4, True)):
        table.write_text(f"{table.read_text()}{n}.png,awe,test\n")
        config = COLOUR.model_copy(update={"unlabelled": unlabelled})
        cache = extract_features("image", shown, config, workspace=workspace).cache
    (source,) = read_note(cache).sources
    assert (source.name, source.unlabelled) == ("images", True)
    assert len(list(cache.parent.glob("*items*"))) == 1


def test_a_manifest_elsewhere_is_named_from_the_home(
    workspace: Workspace, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    manifest = home / "mine" / "images.csv"
    manifest.parent.mkdir()
    picture(home / "mine" / "x.png", 17)
    manifest.write_text("path\nx.png\n")
    cache = extract_features("image", manifest, COLOUR, workspace=workspace).cache
    (source,) = read_note(cache).sources
    assert source.path == "~/mine/images.csv"
    assert source.found_from(cache) == manifest


@pytest.mark.parametrize("name", ["é" * 115, 'new\nline "quoted"', "-dash", ".. ", "emoji 😀"])
def test_a_manifest_may_be_called_anything(workspace: Workspace, name: str) -> None:
    folders = [folder_of(workspace.root / f"{name}{n}", "fear/1.png", "fear/2.png", "awe/3.png") for n in range(2)]
    for folder in folders:
        (folder / "bad.png").write_text("no picture")
        found = extract_features("image", folder, COLOUR, workspace=workspace)
        assert found.extraction.failures == ()
    tables = [item_table_path(found.cache, source.name) for source in read_note(found.cache).sources]
    assert len(set(tables)) == 2
    assert all(len(read_item_table(table)) == 4 for table in tables)


def test_a_killed_decoding_process_is_told(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_encoder: object, item: Item) -> Iterator[Any]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield item

    monkeypatch.setattr(ImageEncoder, "prepare", die)
    with pytest.raises(EmoclimError, match="decoding process was killed"):
        extract_features("image", config=COLOUR.model_copy(update={"workers": 2}), workspace=workspace)


def test_shards_together_are_the_whole(workspace: Workspace) -> None:
    first = extract(workspace, "1/3")
    assert first.cache.parent.name.endswith(".shards")
    assert first.n_items == 3
    committed: list[frozenset[str]] = []
    for shard, encoded in {"1/3": 0, "2/3": 2, "3/3": 2}.items():  # the first was done before
        result = extract(workspace, shard)
        assert result.extraction.encoded == encoded
        with open_cache(result.cache) as cache:
            committed.append(frozenset(cache.keys()))
    whole = extract(workspace)
    with open_cache(whole.cache) as cache:
        assert frozenset(cache.keys()) == frozenset.union(*committed)
    again = extract(Workspace(workspace.root), "2/2")
    assert (again.extraction.encoded, again.extraction.reused) == (0, 3)  # the whole cache holds them


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/2/3", "-1/2", "1/"])
def test_a_shard_that_is_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"shard '.*' is none; write 2/8"):
        Shard.parse(text)


def test_time_is_accounted_for(workspace: Workspace) -> None:
    result = extract(workspace)
    timing = result.extraction.timing
    assert 0 < timing.waiting + timing.compute + timing.blocked <= timing.total
    assert timing.read > 0
    assert timing.decode > 0
    assert timing.read + timing.decode <= timing.waiting  # no worker processes: who waits reads and decodes
    assert result.to_dict()["timing"]["compute"] == timing.compute
    assert f"slowest: {timing.bottleneck}" in " ".join(result.summary())
    assert "slowest" not in " ".join(extract(workspace).summary())


def test_the_bottleneck_is_what_the_clock_waited_for() -> None:
    timing = Timing(read=0.1, decode=9.0, waiting=0.2, compute=3.0, write=5.0, blocked=0.0, total=3.5)
    assert timing.bottleneck == "compute"
    assert replace(timing, waiting=4.0).bottleneck == "decode"
    assert replace(timing, waiting=4.0, read=10.0).bottleneck == "read"
    assert replace(timing, blocked=4.0).bottleneck == "write"


def test_a_stopwatch_adds_up() -> None:
    watch = Stopwatch()

    def slowly() -> Iterator[int]:
        for n in range(3):
            time.sleep(0.01)
            yield n

    assert list(watch.each(slowly(), "waiting")) == [0, 1, 2]
    assert watch.seconds["waiting"] >= 0.03
    assert watch.seconds["never"] == 0


def test_tables_keep_any_name_and_refuse_other_tables(tmp_path: Path) -> None:
    odd = ItemStatus('café, "quoted"\n.png', "committed", "abc")
    path = write_item_table(tmp_path / "cache.h5", "my.songs", [odd])
    assert path.name == "cache.my.songs.items.csv"
    assert read_item_table(path) == [odd]
    assert list(tmp_path.iterdir()) == [path]
    for rows in ([["id", "state"]], [ItemStatus._fields, ["a", "lost", "", ""]], []):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
        with pytest.raises(CacheError, match="no table of items; extract again"):
            read_item_table(path)


def test_the_memo_learns_from_other_processes_meanwhile(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    one, other = ContentKeys(tmp_path / "memo.sqlite"), ContentKeys(tmp_path / "memo.sqlite")
    for keys, name in ((one, "a"), (other, "b")):
        keys(Item(name, tmp_path / name))
        keys.save()
    with closing(sqlite3.connect(tmp_path / "memo.sqlite")) as memo:
        names = {os.fsdecode(name) for (name,) in memo.execute("SELECT name FROM files")}
    assert names == {str(tmp_path / name) for name in "ab"}
