"""Extraction: what is encoded, what is reused, what fails, and that packing segments into batches changes nothing."""

import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import pytest
import torch
from fakes import TextEncoder, text_manifest
from torch import Tensor

from emoclim.batching import Packer
from emoclim.cache import open_cache
from emoclim.cache.memory import MemoryCache
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Item, Manifest
from emoclim.errors import CacheMismatch, DecodeError, MissingLibrary
from emoclim.features import Features, FeatureSpec
from emoclim.progress import Stopwatch
from emoclim.stages.extract import extract

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
        packer = Packer(encoder, 2, torch.device("cpu"), Stopwatch(), ahead=ahead)
        rows = [row for n, item in enumerate(manifest.items) for row in packer.add(n, encoder.segments(item))]
        return [*rows, *packer.flush()]

    at_once, later = packed(0), packed(ahead)
    assert [position for position, _ in later] == [position for position, _ in at_once]
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(at_once, later, strict=True))
    assert sum(len(rows) for _, rows in later) == sum(len(encoder.segments(item)) for item in manifest.items)


def test_many_items_are_read_by_threads_and_keep_their_order(tmp_path: Path) -> None:
    asked = set()

    def noting(item: Item) -> str:
        asked.add(threading.get_ident())
        if item.text == "gone":
            raise DecodeError("the file is missing")
        return key_of(item)

    texts = [f"{n:05d}" for n in range(300)]
    texts[200] = "gone"
    with MemoryCache(TextEncoder().spec) as cache:
        result = extract(text_manifest(*texts), TextEncoder(), cache, keys=noting)
    assert threading.get_ident() not in asked
    assert list(result.keys) == [f"t{n}" for n in range(300) if n != 200]
    assert [(failure.id, failure.reason) for failure in result.failures] == [("t200", "the file is missing")]


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
