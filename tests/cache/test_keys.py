"""The index of keys against a dictionary, with few keys in its own so that there are many runs."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoclim.cache.ledger import keys as module
from emoclim.cache.ledger import ledger
from emoclim.cache.ledger.keys import NONE, KeyIndex
from emoclim.cache.ledger.ledger import Ledger
from emoclim.cache.ledger.lines import COLUMNS, Commit, split_lines, to_line
from emoclim.data import Texts, hash_of
from emoclim.errors import CacheError

KEYS = st.lists(st.sampled_from([*"abcdefghijklmnopqrstuvwxyz", "", "é", "id:1"]), max_size=12)


def assert_same(index: KeyIndex, plain: dict[str, int], asked: Sequence[str]) -> None:
    assert len(index) == len(plain)
    assert list(index) == list(plain)
    assert index == plain.keys()
    assert index.all_rows().tolist() == list(plain.values())
    for keys in (asked, Texts.of(asked), tuple(plain), Texts.of(plain)[1:4]):
        assert index.rows(keys).tolist() == [plain.get(key, NONE) for key in keys]
    assert [key in index for key in asked] == [key in plain for key in asked]
    assert index | {"new"} == plain.keys() | {"new"}
    assert 7 not in index


@pytest.mark.parametrize("hashing", [hash_of, lambda _: 5], ids=["hash", "all alike"])
@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), KEYS), max_size=12), KEYS)
def test_it_is_what_a_dictionary_is(hashing: object, steps: list[tuple[bool, list[str]]], asked: list[str]) -> None:
    index, plain, taken = KeyIndex(), dict[str, int](), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "NEWEST", 4)
        patch.setattr(module, "BLOCK", 3)
        patch.setattr(module, "hash_of", hashing)
        patch.setattr(Texts, "hashes", lambda self: np.array(list(map(hashing, self)), np.int64))
        for adds, keys in steps:
            if adds:
                new = index.prepare(Texts.of(keys) if len(keys) % 2 else keys, taken)
                assert (new is None) == (len(set(keys)) < len(keys) or not plain.keys().isdisjoint(keys))
                if new is not None:
                    index.add(new)
                    plain.update(zip(keys, range(taken, taken + len(keys)), strict=True))
                    taken += len(keys)
            elif plain.keys() >= set(keys) and len(set(keys)) == len(keys):
                index.remove(keys)
                for key in keys:
                    del plain[key]
            else:
                with pytest.raises(ValueError, match="leaves out"):
                    index.remove(keys)
            assert_same(index, plain, asked)


@pytest.mark.parametrize("apart", [1, 2, 3, 7])
@pytest.mark.parametrize("end", [b"", b"torn"])
def test_keys_of_lines_are_looked_up_together(apart: int, end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "BLOCK", 3)
    monkeypatch.setattr(module, "NEWEST", 4)
    none = {name: [0] for name in COLUMNS}
    lines = [Commit.of([key], none).line((row, 0)) for row, key in enumerate("abcdefgh")]
    again = Commit.of(["abcdefgh"[8 - apart]], none).line((8, 0))
    left_out = to_line({"left_out": ["abcdefgh"[8 - apart]]})
    with pytest.raises(CacheError, match="twice"):
        Ledger.replay([*lines, again, end], "it")
    found = Ledger.replay([*lines, left_out, again, end], "it")
    assert found.keys.rows("abcdefgh").tolist() == [8 if row == 8 - apart else row for row in range(8)]


@given(st.lists(st.sampled_from([b"a", b"\n", b"\0", b"\0\0"])), st.integers(1, 5))
def test_lines_come_out_of_blocks_of_any_size(parts: list[bytes], size: int) -> None:
    raw = b"".join(parts)
    blocks = (raw[first : first + size] for first in range(0, len(raw), size))
    assert list(split_lines(blocks)) == raw.rstrip(b"\0").splitlines(keepends=True)


def test_a_reader_finds_all_keys_while_another_thread_joins_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "NEWEST", 4)

    class Interrupted(KeyIndex):
        """Another thread adds keys as soon as something of it was read."""

        waiting: dict[str, int] | None = None

        def __getattribute__(self, name: str) -> object:
            found = super().__getattribute__(name)
            if name == "_held" and (new := self.waiting) is not None:
                self.waiting = None
                self.add(new)
            return found

    index = Interrupted()
    index.add({"a": 0, "b": 1, "c": 2})
    index.waiting = {"d": 3, "e": 4}
    assert index.rows(["c", "a"]).tolist() == [2, 0]
    assert index.rows(["e", "b"]).tolist() == [4, 1]
    looks: list[Callable[[KeyIndex], object]] = [len, list, lambda index: index.all_rows().tolist()]
    for look in looks:
        index = Interrupted()
        index.add({"a": 0, "b": 1, "c": 2})
        before = look(index)
        index.waiting = {"d": 3, "e": 4}
        assert look(index) in (before, look(index))
