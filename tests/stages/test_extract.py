"""Extraction: what is encoded, what is reused, what fails, and that packing segments into batches changes nothing."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import TextEncoder, text_manifest
from torch import Tensor, nn

from emoclim.cache import open_cache
from emoclim.cache.items import EncodedItem
from emoclim.cache.memory import MemoryCache
from emoclim.data import content
from emoclim.data.content import ContentKeys
from emoclim.data.features import Features, FeatureSpec
from emoclim.data.manifest import Item, Manifest
from emoclim.errors import CacheError, CacheMismatch, ConfigError, MissingLibrary
from emoclim.extraction import writer as committing
from emoclim.extraction.batches import BatchPacker
from emoclim.progress import Stopwatch, Track
from emoclim.stages.extracting import extract

TEXTS = ("abcdefghij", "xy", "hello, world; how do you do", "abcd", "zz top plays tonight")


def key_of(item: Item) -> str:
    return ContentKeys()(item)


def read(cache: MemoryCache, manifest: Manifest) -> Features:
    return cache.read([key_of(item) for item in manifest.items])


def test_values_are_means_over_segments_that_are_kept_with_their_starts() -> None:
    encoder, manifest = TextEncoder(), text_manifest(*TEXTS)
    with MemoryCache(encoder.spec) as cache:
        result = extract(manifest, encoder, cache, batch_size=4)
        features = read(cache, manifest)
    assert (result.encoded, result.reused, result.failures, result.padded) == (5, 0, (), 1)
    assert features.segments is not None
    assert features.offsets is not None
    assert features.starts is not None
    for n, item in enumerate(manifest.items):
        with torch.no_grad():
            expected = encoder.module(encoder.segments(item))
        own = slice(int(features.offsets[n]), int(features.offsets[n + 1]))
        torch.testing.assert_close(features.segments[own], expected)
        torch.testing.assert_close(features.values[n], expected.mean(0))
        assert features.starts[own].tolist() == [0.5 * k for k in range(len(expected))]


@pytest.mark.parametrize("suffix", [None, ".h5", ".zarr"])
def test_a_cache_knows_what_was_extracted_by_the_ids_of_its_manifest(tmp_path: Path, suffix: str | None) -> None:
    encoder, manifest = TextEncoder(), text_manifest(*TEXTS)
    ids = [manifest.items[n].id for n in (3, 0)]
    path = tmp_path / f"letters{suffix}"
    with open_cache(path, encoder.spec) if suffix else MemoryCache(encoder.spec) as cache:
        extract(manifest, encoder, cache)
        found = cache.features(ids)
        assert found.ids == tuple(ids)
        assert torch.equal(found.values, cache.read([key_of(manifest.items[n]) for n in (3, 0)]).values)
        with pytest.raises(CacheError, match="does not hold 1 of the 1 items"):
            cache.features(["unheard of"])
    if suffix:
        with open_cache(path) as again:
            assert torch.equal(again.features(ids).values, found.values)


def test_a_device_that_is_not_there_is_refused_in_a_sentence() -> None:
    encoder = TextEncoder()
    with MemoryCache(encoder.spec) as cache, pytest.raises(ConfigError, match="no device 'gpu' here; use .*cpu"):
        extract(text_manifest(*TEXTS), encoder, cache, device="gpu")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 64])
def test_neither_workers_nor_resuming_change_a_byte(workers: int, batch_size: int) -> None:
    encoder, manifest = TextEncoder(), text_manifest(*TEXTS)
    with MemoryCache(encoder.spec) as whole, MemoryCache(encoder.spec) as resumed:
        extract(manifest, encoder, whole, batch_size=batch_size)
        first = Manifest("texts", "text", Path("texts.csv"), manifest.items[1:3])
        extract(first, encoder, resumed, batch_size=batch_size, workers=workers)
        again = extract(manifest, encoder, resumed, batch_size=batch_size, workers=workers)
        assert (again.encoded, again.reused) == (3, 2)
        a, b = read(whole, manifest), read(resumed, manifest)
    assert torch.equal(a.values, b.values)
    assert a.segments is not None
    assert b.segments is not None
    assert torch.equal(a.segments, b.segments)


def test_a_second_run_encodes_nothing_and_builds_no_network() -> None:
    manifest = text_manifest(*TEXTS)
    with MemoryCache(TextEncoder().spec) as cache:
        extract(manifest, TextEncoder(), cache)
        idle = TextEncoder()
        result = extract(manifest, idle, cache)
    assert (result.encoded, result.reused, idle.built) == (0, 5, 0)


def test_failures_are_told_kept_and_tried_again_on_request() -> None:
    encoder, manifest = TextEncoder(block=1), text_manifest("abcdefgh", "!it is cut short", "efgh")
    with MemoryCache(encoder.spec) as cache:
        for retry, expected in ((False, 2), (False, 0), (True, 0)):
            result = extract(manifest, encoder, cache, batch_size=1, retry_failed=retry)
            assert [(failure.id, failure.reason) for failure in result.failures] == [("t1", "it is cut short")]
            assert result.encoded == expected
        assert key_of(manifest.items[1]) not in cache.keys()


def test_what_a_missing_library_prevents_is_tried_again_by_itself() -> None:
    class Bare(TextEncoder):
        def prepare(self, item: Item) -> Generator[Tensor, None, float]:
            raise MissingLibrary("install it")
            yield

    manifest = text_manifest("abcd")
    with MemoryCache(TextEncoder().spec) as cache:
        assert extract(manifest, Bare(), cache).failures[0].reason == "install it"
        assert cache.failures() == {}
        assert extract(manifest, TextEncoder(), cache).encoded == 1


def test_failures_that_were_mended_succeed_when_tried_again() -> None:
    class Mended(TextEncoder):
        def prepare(self, item: Item) -> Generator[Tensor, None, float]:
            yield self.segments(item)
            return 1.0

    manifest = text_manifest("!cut")
    with MemoryCache(TextEncoder().spec) as cache:
        extract(manifest, TextEncoder(), cache)
        assert extract(manifest, Mended(), cache).encoded == 0
        assert extract(manifest, Mended(), cache, retry_failed=True).encoded == 1
        assert cache.failures() == {}


def test_missing_files_fail_without_stopping_the_others(tmp_path: Path) -> None:
    manifest = Manifest("mixed", "text", Path("m.csv"), (Item("gone", tmp_path / "gone"), Item("here", text="abcd")))
    with MemoryCache(TextEncoder().spec) as cache:
        result = extract(manifest, TextEncoder(), cache)
    assert [(failure.id, failure.reason) for failure in result.failures] == [("gone", "the file is missing")]
    assert result.encoded == 1


def test_a_network_is_compiled_for_its_one_shape_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[tuple[nn.Module, bool | None]] = []

    def compile_noted(module: nn.Module, *, dynamic: bool | None = None) -> nn.Module:
        compiled.append((module, dynamic))
        return module

    monkeypatch.setattr(torch, "compile", compile_noted)
    encoder = TextEncoder()
    for asked in (False, True):
        with MemoryCache(encoder.spec) as cache:
            assert extract(text_manifest(*TEXTS), encoder, cache, batch_size=4, compiled=asked).encoded == 5
        assert compiled == asked * [(encoder.module, False)]


def test_numbers_that_are_not_finite_never_reach_the_cache() -> None:
    encoder = TextEncoder()
    with torch.no_grad():
        encoder.module.bias.fill_(float("nan"))  # type: ignore[union-attr]
    with MemoryCache(encoder.spec) as cache:
        result = extract(text_manifest("abcd"), encoder, cache)
        assert cache.keys() == frozenset()
    assert result.failures[0].reason == "the encoder gave numbers that are not finite"


@pytest.mark.parametrize("ahead", [1, 2, 9])
def test_features_that_are_fetched_later_are_the_same(ahead: int) -> None:
    """As of a GPU, which has the next batches to work on meanwhile."""
    encoder, manifest = TextEncoder(), text_manifest(*TEXTS)

    def packed(ahead: int) -> list[tuple[int, Tensor]]:
        packer = BatchPacker(encoder, 2, torch.device("cpu"), Stopwatch(), ahead=ahead)
        rows = [row for n, item in enumerate(manifest.items) for row in packer.add(n, encoder.segments(item))]
        return [*rows, *packer.flush()]

    at_once, later = packed(0), packed(ahead)
    assert [position for position, _ in later] == [position for position, _ in at_once]
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(at_once, later, strict=True))
    assert sum(len(rows) for _, rows in later) == sum(len(encoder.segments(item)) for item in manifest.items)


class FileEncoder(TextEncoder):
    """Of texts that lie in files; counts what it prepares in this process."""

    prepared = 0

    def prepare(self, item: Item) -> Generator[Tensor, None, float]:
        assert item.path is not None
        self.prepared += 1
        return (yield from super().prepare(replace(item, text=item.path.read_text())))


def text_files(folder: Path, texts: Mapping[str, str]) -> Manifest:
    for name, text in texts.items():
        (folder / name).write_text(text)
    return Manifest("files", "text", folder / "m.csv", tuple(Item(name, folder / name) for name in texts))


@pytest.mark.parametrize("workers", [0, 2])
def test_files_are_read_by_who_decodes_them_and_what_they_are_is_learnt(tmp_path: Path, workers: int) -> None:
    manifest = text_files(tmp_path, {f"{n:03d}": f"text {n}, {n * n}" for n in range(40)} | {"bad": "!cut"})
    contents = ContentKeys()
    with MemoryCache(TextEncoder().spec) as cache:
        result = extract(manifest, FileEncoder(), cache, keys=contents, workers=workers)
        assert result.encoded == 40
        assert [(failure.id, failure.reason) for failure in result.failures] == [("bad", "cut")]
        assert result.timing.read > 0
        assert [contents.known(item) for item in manifest.items] == list(result.keys.values())
        assert dict(result.keys) == {item.id: key_of(item) for item in manifest.items}
        idle = FileEncoder()
        again = extract(manifest, idle, cache, keys=contents)
    assert (again.encoded, again.reused, again.timing.read, idle.prepared) == (0, 40, 0.0, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_unknown_files_of_a_known_content_are_not_encoded_again(tmp_path: Path, workers: int) -> None:
    texts = {"a": "abcdefgh", "b": "abcdefgh", "c": "other text", "d": "!cut", "e": "!cut", "f": "abcdefgh"}
    manifest = text_files(tmp_path, texts)
    with MemoryCache(TextEncoder().spec) as cache:
        first = replace(manifest, items=manifest.items[2:3])
        extract(first, FileEncoder(), cache)
        encoder = FileEncoder()
        result = extract(manifest, encoder, cache, workers=workers)
    assert (result.encoded, result.reused, result.duplicates) == (1, 3, ("b", "e", "f"))
    assert [failure.id for failure in result.failures] == ["d", "e"]
    assert workers or encoder.prepared == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_one_file_may_be_two_items(tmp_path: Path, workers: int) -> None:
    manifest = text_files(tmp_path, {"a": "abcdefgh", "b": "other text"})
    again = replace(manifest.items[0], id="a again")
    with MemoryCache(TextEncoder().spec) as cache:
        result = extract(replace(manifest, items=(*manifest.items, again)), FileEncoder(), cache, workers=workers)
    assert (result.encoded, result.reused, result.failures, result.duplicates) == (2, 1, (), ("a again",))


@pytest.mark.parametrize("known", [False, True])
def test_a_file_that_goes_away_before_its_turn_is_told_and_tried_again(tmp_path: Path, known: bool) -> None:
    manifest, contents = text_files(tmp_path, {"here": "abcdef", "gone": "ghijkl"}), ContentKeys()
    if known:
        assert all(contents(item) for item in manifest.items)
    with MemoryCache(TextEncoder().spec) as cache:
        result = extract(manifest, FileEncoder(), cache, keys=contents, track=removing(tmp_path / "gone"))
        assert cache.failures() == {}
        assert result.encoded == 1
        assert [(failure.id, failure.reason) for failure in result.failures] == [("gone", "the file is missing")]
        (tmp_path / "gone").write_text("ghijkl")
        assert extract(manifest, FileEncoder(), cache, keys=contents).encoded == 1


def removing(path: Path) -> Track:
    """Removes a file when encoding begins."""

    def track(sequence: Iterable[Any], description: str = "", total: float | None = None) -> Iterator[Any]:
        del total
        if description.startswith("encode"):
            path.unlink()
        yield from sequence

    return track


class Overwriting(FileEncoder):
    """While it reads a file, somebody writes it."""

    def prepare(self, item: Item) -> Generator[Tensor, None, float]:
        seconds = yield from super().prepare(item)
        assert item.path is not None
        if item.id == "changing":
            item.path.write_text("something else")
        return seconds


@pytest.mark.parametrize("known", [False, True])
def test_what_was_read_of_a_file_that_changed_meanwhile_is_not_kept(tmp_path: Path, known: bool) -> None:
    manifest, contents = text_files(tmp_path, {"here": "abcdef", "changing": "ghijkl"}), ContentKeys()
    if known:
        assert all(contents(item) for item in manifest.items)
    with MemoryCache(TextEncoder().spec) as cache:
        result = extract(manifest, Overwriting(), cache, keys=contents)
        assert cache.failures() == {}
        assert len(cache) == 1
        again = extract(manifest, FileEncoder(), cache, keys=contents)
        assert read(cache, manifest).values.shape[0] == 2
    assert [failure.reason for failure in result.failures] == [
        "the file changed while it was read; run again when it is whole"
    ]
    assert again.encoded == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_several_parts_of_a_file_are_read_once(workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = text_files(tmp_path, {"song": "abcdefgh"}).items[0]
    parts = tuple(replace(whole, id=f"part {n}", start=float(n)) for n in range(5))
    log = tmp_path / "log"

    def counted(path: Path) -> str:
        with log.open("a") as file:
            file.write(f"{path}\n")
        return "0" * 32

    monkeypatch.setattr(content, "hash_bytes", counted)
    with MemoryCache(TextEncoder().spec) as cache:
        parted = Manifest("parts", "text", tmp_path, parts)
        assert extract(parted, FileEncoder(), cache, workers=workers).encoded == 5
    assert log.read_text() == f"{tmp_path / 'song'}\n"


class Failing(MemoryCache):
    """Has no room for a second commit."""

    def append(self, items: Sequence[EncodedItem]) -> None:
        if len(self):
            raise CacheError("no room")
        super().append(items)


def test_what_the_writing_thread_raises_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "COMMIT_ITEMS", 1)
    monkeypatch.setattr(committing, "COMMIT_PAUSE", 0.0)
    cache, manifest = Failing(TextEncoder().spec), text_manifest(*TEXTS)
    with pytest.raises(CacheError, match="no room"):
        extract(manifest, TextEncoder(), cache, batch_size=1)
    assert len(cache) == 1


def test_the_same_content_is_encoded_once_and_leaks_are_told() -> None:
    manifest = text_manifest("abcd", "abcd", "abcd", "efgh", splits=("train", "train", "test", "test"))
    with MemoryCache(TextEncoder().spec) as cache:
        result = extract(manifest, TextEncoder(), cache)
    assert (result.encoded, result.reused) == (2, 2)
    assert (result.duplicates, result.leaks) == (("t1", "t2"), ("t2",))


def test_segments_are_left_out_on_request() -> None:
    encoder, manifest = TextEncoder(), text_manifest(*TEXTS)
    with MemoryCache(encoder.spec) as cache:
        extract(manifest, encoder, cache, keep_segments=False)
        assert read(cache, manifest).segments is None


def test_starts_count_from_the_beginning_of_the_file() -> None:
    item = Item("part", text="abcdefgh", start=12.0)
    encoder = TextEncoder()
    with MemoryCache(encoder.spec) as cache:
        extract(Manifest("m", "text", Path("m.csv"), (item,)), encoder, cache)
        starts = cache.read(sorted(cache.keys())).starts
    assert starts is not None
    assert starts.tolist() == [12.0, 12.5, 13.0]


def test_a_cache_of_another_spec_is_refused() -> None:
    spec = FeatureSpec("letters", "text", 3, "none", {"length": 9})
    with MemoryCache(spec) as cache, pytest.raises(CacheMismatch, match="length: 9 here, 4 there"):
        extract(text_manifest("abcd"), TextEncoder(), cache)


@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
def test_what_was_finished_is_committed_when_a_run_is_interrupted(tmp_path: Path, suffix: str) -> None:
    def interrupted(sequence: Iterable[str], description: str = "", total: float | None = None) -> Iterator[str]:
        for n, element in enumerate(sequence):
            if n == 3 and description.startswith("encode"):
                raise KeyboardInterrupt
            yield element

    encoder, manifest = TextEncoder(), text_manifest(*TEXTS)
    path = tmp_path / f"cache{suffix}"
    with open_cache(path, encoder.spec) as cache, pytest.raises(KeyboardInterrupt):
        extract(manifest, encoder, cache, batch_size=1, track=interrupted)  # type: ignore[arg-type]
    with open_cache(path) as cache:
        assert {key_of(item) for item in manifest.items[:3]} <= cache.keys()
    with open_cache(path, encoder.spec) as cache:
        result = extract(manifest, encoder, cache, batch_size=1)
    assert result.encoded + result.reused == 5
    assert result.reused >= 3
