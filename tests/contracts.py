"""Every promise of a contract once, to be run over all that claim to keep it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from emoclim.cache import EncodedItem, FeatureCache, MemoryCache
from emoclim.data.features import FeatureSpec
from emoclim.errors import CacheError

DIM = 3
SPEC = FeatureSpec("letters", "audio", DIM, "letters.pt@0123456789ab", {"overlap": 0.75, "resampler": "soxr", "n": 4})


def encoded(key: str, n_segments: int | None = None, seed: int = 0) -> EncodedItem:
    """An item whose numbers follow from its key and the seed; None keeps no segments."""
    generator = torch.Generator().manual_seed(seed * 1000 + sum(map(ord, key)))
    value = torch.randn(DIM, generator=generator)
    seconds = float(torch.rand((), generator=generator)) * 30
    if n_segments is None:
        return EncodedItem(key, value, seconds=seconds)
    starts = torch.arange(n_segments) * 0.5
    return EncodedItem(key, value, torch.randn(n_segments, DIM, generator=generator), starts, seconds)


def broken_items() -> dict[str, EncodedItem]:
    """Items that no cache may keep, by what is wrong with them."""
    good = encoded("broken", 2)
    assert good.segments is not None
    nan, inf = torch.tensor([0.0, math.nan, 0.0]), torch.tensor([0.0, math.inf])
    return {
        "value is .* not torch.float32": replace(good, value=torch.zeros(DIM + 1)),
        r"value is torch.float64": replace(good, value=torch.zeros(DIM, dtype=torch.float64)),
        r"value is .* \(1, 3\)": replace(good, value=torch.zeros(1, DIM)),
        "segments is": replace(good, segments=torch.zeros(2, DIM + 1)),
        "starts is": replace(good, starts=torch.zeros(3)),
        "go together": replace(good, starts=None),
        "one of them is missing": replace(good, segments=None),
        "value has a number that is not finite": replace(good, value=nan),
        "segments has a number that is not finite": replace(good, segments=good.segments + nan),
        "starts has a number that is not finite": replace(good, starts=inf),
        "nan seconds": replace(good, seconds=math.nan),
        "-1.0 seconds": replace(good, seconds=-1.0),
        "key is empty": replace(good, key=""),
    }


class CacheContract(ABC):
    """What :class:`FeatureCache` promises."""

    @abstractmethod
    def make(self, folder: Path) -> FeatureCache:
        """Make an empty cache of SPEC."""

    @pytest.fixture
    def cache(self, tmp_path: Path) -> Iterator[FeatureCache]:
        with self.make(tmp_path) as cache:
            yield cache

    def test_knows_its_spec(self, cache: FeatureCache) -> None:
        assert cache.spec == SPEC
        assert cache.spec.digest() == SPEC.digest()

    def test_begins_empty(self, cache: FeatureCache) -> None:
        assert cache.keys() == frozenset()
        assert (len(cache), list(cache), cache.n_segments) == (0, [], 0)
        assert cache.failures() == {}
        features = cache.read([])
        assert (features.ids, features.values.shape, features.segments) == ((), (0, DIM), None)

    def test_gives_back_what_was_appended(self, cache: FeatureCache) -> None:
        items = [encoded(key) for key in "abc"]
        cache.append(items[:2])
        cache.append([])
        cache.append(items[2:])
        assert cache.keys() == frozenset("abc")
        features = cache.read(list("abc"), verify=False)
        assert torch.equal(features.values, cache.read(list("abc")).values)
        assert features.spec == SPEC
        assert features.ids == ("a", "b", "c")
        assert features.values.dtype == torch.float32
        assert torch.equal(features.values, torch.stack([item.value for item in items]))
        assert features.seconds is not None
        assert features.seconds.tolist() == pytest.approx([item.seconds for item in items])
        assert features.seconds.dtype == torch.float32
        assert (features.segments, features.offsets, features.starts) == (None, None, None)

    @pytest.mark.parametrize("order", ["abcdefgh", "hgfedcba", "d", "bdg", "gca", "aabb", "bah"])
    def test_reads_in_the_order_asked(self, cache: FeatureCache, order: str) -> None:
        sizes: dict[str, int | None] = {"a": 2, "b": None, "c": 0, "d": 5, "e": 1, "f": None, "g": 3, "h": 0}
        items = {key: encoded(key, size) for key, size in sizes.items()}
        for batch in ("abc", "d", "efgh"):
            cache.append([items[key] for key in batch])
        features = cache.read(list(order))
        assert features.ids == tuple(order)
        assert torch.equal(features.values, torch.stack([items[key].value for key in order]))
        if not any(sizes[key] for key in order):
            assert features.segments is None
            return
        assert features.segments is not None
        assert features.offsets is not None
        assert features.starts is not None
        assert features.offsets.dtype == torch.int64
        assert len(features.offsets) == len(order) + 1
        assert features.offsets[-1] == len(features.segments) == len(features.starts)
        for n, key in enumerate(order):
            owned = slice(int(features.offsets[n]), int(features.offsets[n + 1]))
            assert owned.stop - owned.start == (sizes[key] or 0)
            if items[key].segments is not None:
                assert torch.equal(features.segments[owned], tensor(items[key].segments))
                assert torch.equal(features.starts[owned], tensor(items[key].starts))

    def test_reads_like_a_mapping_in_the_order_of_commit(self, cache: FeatureCache) -> None:
        for batch in ("ca", "d", "b"):
            cache.append([encoded(key, 2) for key in batch])
        cache.record_failure("f", "too short")
        assert list(cache) == list("cadb")
        assert (len(cache), cache.n_segments) == (4, 8)
        assert "d" in cache
        assert "f" not in cache
        assert torch.equal(cache["d"], encoded("d").value)
        with pytest.raises(CacheError, match=r"does not hold 1 of the 1 items .*\(f\)"):
            cache["f"]
        for key in cache:  # what is appended meanwhile comes later
            cache.append([encoded(f"{key}{key}")])
        assert list(cache) == [*"cadb", "cc", "aa", "dd", "bb"]

    @pytest.mark.parametrize("verify", [True, False])
    def test_gives_features_by_name(self, cache: FeatureCache, verify: bool) -> None:
        keys = ["c", "id:a.jpg", "b"]
        cache.append([encoded(key, 2) for key in keys])
        everything = cache.features(verify=verify)
        assert everything.ids == tuple(keys)
        assert torch.equal(everything.values, cache.read(keys).values)
        some = cache.features(iter(["b", "a.jpg", "id:a.jpg", "b"]), verify=verify)
        assert some.ids == ("b", "a.jpg", "id:a.jpg", "b")
        expected = cache.read(["b", "id:a.jpg", "id:a.jpg", "b"], verify=verify)
        assert torch.equal(some.values, expected.values)
        assert torch.equal(tensor(some.segments), tensor(expected.segments))
        assert cache.features([]).ids == ()

    def test_counts_and_names_unknown_items(self, cache: FeatureCache) -> None:
        cache.append([encoded("a")])
        with pytest.raises(CacheError, match=r"7 of the 8 items .*\(t, u, v, w, x and 2 more\)"):
            cache.features("atuvwxyz")

    def test_has_no_segments_where_no_asked_item_has(self, cache: FeatureCache) -> None:
        cache.append([encoded("a", 2), encoded("b"), encoded("c", 0)])
        assert cache.read(["b"]).segments is None
        assert cache.read(["b", "c"]).offsets is None
        assert cache.read(["b", "a"]).segments is not None

    @pytest.mark.parametrize("reason", broken_items())
    def test_appends_all_or_nothing(self, cache: FeatureCache, reason: str) -> None:
        cache.append([encoded("a", 2)])
        cache.record_failure("good", "of old")
        with pytest.raises(CacheError, match=reason):
            cache.append([encoded("good", 1), broken_items()[reason]])
        assert cache.keys() == {"a"}
        assert cache.failures() == {"good": "of old"}
        cache.append([encoded("good", 1)])
        assert torch.equal(cache.read(["good", "a"]).values[0], encoded("good", 1).value)

    def test_features_are_appended_as_their_items_are(self, cache: FeatureCache) -> None:
        items = [encoded(key, n) for key, n in zip("abcdef", (2, None, 0, 3, 1, None), strict=True)]
        with MemoryCache(SPEC) as plain:
            plain.append(items)
            cache.append_features(plain.read(list("acd")))
            cache.append_features(plain.read([]))
            cache.append_features(plain.read(list("fb")))
            cache.append_features(plain.read(list("e")))
            found, expected = cache.read(list("fedcba")), plain.read(list("fedcba"))
        assert list(cache) == list("acdfbe")
        for name in ("values", "segments", "offsets", "starts", "seconds"):
            assert torch.equal(getattr(found, name), getattr(expected, name))

    @pytest.mark.parametrize(
        "bad",
        [
            {"starts": None},
            {"segments": None},
            {"offsets": None},
            *({"offsets": torch.tensor(ends)} for ends in ([0, 2], [1, 2, 3], [0, 2, 2], [0, 2, 9], [0, 4, 3])),
        ],
        ids=str,
    )
    def test_features_whose_segments_do_not_fit_are_refused(self, cache: FeatureCache, bad: dict[str, Any]) -> None:
        with MemoryCache(SPEC) as plain:
            plain.append([encoded("a", 2), encoded("b", 1)])
            good = plain.read(["a", "b"])
        with pytest.raises(CacheError, match="fit"):
            cache.append_features(replace(good, **bad))
        assert not len(cache)
        cache.append_features(good)

    @pytest.mark.parametrize("spoilt", ["values", "segments", "starts", "seconds", "ids", "empty", "held"])
    def test_features_are_appended_all_or_none(self, cache: FeatureCache, spoilt: str) -> None:
        cache.append([encoded("held")])
        with MemoryCache(SPEC) as plain:
            plain.append([encoded("a", 2), encoded("b", 1)])
            good = plain.read(["a", "b"])
        ids = {"ids": ("a", "a"), "empty": ("a", ""), "held": ("a", "held")}.get(spoilt, good.ids)
        bad = (
            {spoilt: getattr(good, spoilt) * math.nan} if spoilt in ("values", "segments", "starts", "seconds") else {}
        )
        with pytest.raises(CacheError):
            cache.append_features(replace(good, ids=ids, **bad))
        assert cache.keys() == {"held"}
        cache.append_features(good)
        assert cache.keys() == {"held", "a", "b"}

    @pytest.mark.parametrize("keys", [["b", "b"], ["b", "a"]])
    def test_refuses_a_key_twice(self, cache: FeatureCache, keys: list[str]) -> None:
        cache.append([encoded("a")])
        with pytest.raises(CacheError, match=f"'{keys[1]}' already"):
            cache.append([encoded(key, seed=1) for key in keys])
        assert cache.keys() == {"a"}
        assert torch.equal(cache.read(["a"]).values[0], encoded("a").value)

    def test_shares_no_memory_with_its_user(self, cache: FeatureCache) -> None:
        item = encoded("a", 2)
        cache.append([item])
        item.value.zero_()
        tensor(item.segments).zero_()
        first = cache.read(["a"])
        first.values.zero_()
        assert torch.equal(cache.read(["a"]).values[0], encoded("a", 2).value)
        assert torch.equal(tensor(cache.read(["a"]).segments), tensor(encoded("a", 2).segments))

    def test_keeps_the_last_reason_of_a_failure(self, cache: FeatureCache) -> None:
        cache.record_failure("a", "too short")
        cache.record_failure("b", "no file: \u201cé\u201d\n\t\0 {}")
        cache.record_failure("a", "not a picture")
        assert cache.failures() == {"a": "not a picture", "b": "no file: \u201cé\u201d\n\t\0 {}"}
        assert cache.keys() == frozenset()

    def test_forgets_a_failure_when_the_item_is_appended(self, cache: FeatureCache) -> None:
        cache.record_failure("a", "no network")
        cache.record_failure("b", "no network")
        cache.append([encoded("a")])
        assert cache.failures() == {"b": "no network"}

    def test_what_is_committed_cannot_have_failed(self, cache: FeatureCache) -> None:
        cache.append([encoded("a")])
        with pytest.raises(CacheError, match="holds 'a'"):
            cache.record_failure("a", "too short")
        assert cache.failures() == {}

    def test_counts_and_names_unknown_keys(self, cache: FeatureCache) -> None:
        cache.append([encoded("a")])
        cache.record_failure("f", "too short")
        with pytest.raises(CacheError, match=r"7 of the 9 keys .*\(f, u, v, w, x and 2 more\)"):
            cache.read(["a", *"fuvwxyz", "a"])

    def test_raises_once_closed(self, cache: FeatureCache) -> None:
        cache.append([encoded("a")])
        cache.close()
        cache.close()
        for use in (
            cache.keys,
            cache.failures,
            cache.features,
            lambda: len(cache),
            lambda: list(cache),
            lambda: "a" in cache,
            lambda: cache["a"],
            lambda: cache.n_segments,
            lambda: cache.read(["a"]),
            lambda: cache.append([encoded("b")]),
            lambda: cache.record_failure("b", "too short"),
        ):
            with pytest.raises(CacheError, match="is closed"):
                use()

    def test_leaving_the_block_closes_it(self, tmp_path: Path) -> None:
        with pytest.raises(KeyboardInterrupt), self.make(tmp_path) as cache:
            raise KeyboardInterrupt
        with pytest.raises(CacheError, match="is closed"):
            cache.keys()


def tensor(maybe: Tensor | None) -> Tensor:
    """What must not be None."""
    assert maybe is not None
    return maybe
