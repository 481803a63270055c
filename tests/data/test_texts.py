"""Texts in columns against a tuple of the same."""

import pickle
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoclim.data import Texts, hash_of
from emoclim.data.texts import BLOCK

TEXTS = st.lists(st.text(st.characters(), max_size=6) | st.sampled_from(["", "\ud83d", "\ude00", "a\nb", "a|b", "é"]))


@settings(deadline=None)
@given(TEXTS, st.data())
def test_they_are_what_a_tuple_is(given: list[str], data: st.DataObject) -> None:
    texts, plain = Texts.of(iter(given)), tuple(given)
    rows = data.draw(st.lists(st.integers(-len(given), len(given) - 1))) if given else []
    cut = data.draw(st.slices(len(given)))

    assert len(texts) == len(plain)
    assert tuple(texts) == plain
    assert texts == plain
    assert plain == texts
    assert [texts[row] for row in rows] == [plain[row] for row in rows]
    assert tuple(texts[cut]) == plain[cut]
    assert texts[cut] == Texts.of(plain[cut])
    assert tuple(texts.take(rows)) == tuple(plain[row] for row in rows)
    assert tuple(texts[cut].take(range(len(plain[cut])))) == plain[cut]
    assert pickle.loads(pickle.dumps(texts[cut])) == plain[cut]
    assert texts[cut].hashes().tolist() == list(map(hash_of, plain[cut]))
    assert len(set(map(hash_of, plain))) == len(set(plain))
    assert texts.are("é").tolist() == [text == "é" for text in plain]
    assert tuple(Texts.join([texts[cut], texts, texts[:0]])) == (*plain[cut], *plain)
    joined = texts[cut].joined("|")
    if not plain[cut] or re.search("[|\ud800-\udfff]", "".join(plain[cut])):
        assert joined is None
    else:
        assert joined == "|".join(plain[cut])
        assert Texts.split(joined, "|") == plain[cut]
    assert Texts.join([]) == ()
    assert texts != [*plain, "more"]
    assert texts != 5
    assert not given or texts != [5] * len(given)
    with pytest.raises(IndexError):
        texts[len(plain)]


@settings(deadline=None)
@given(st.lists(st.text(max_size=6)), st.integers(0, 3))
def test_arrow_gives_and_takes_them(given: list[str], first: int) -> None:
    for kind in (pa.string(), pa.large_string()):
        column = pa.array(given, kind)
        assert Texts.of(column[first:]) == given[first:]
        assert Texts.of(pa.chunked_array([column, column[first:]], kind)) == given + given[first:]
    assert Texts.of(given)[first:].arrow().to_pylist() == given[first:]
    with pytest.raises(ValueError, match="missing"):
        Texts.of(pa.array(["a", None]))


def test_many_blocks() -> None:
    plain = [f"{n}é" if n % BLOCK == 5 else str(n) for n in range(2 * BLOCK + 7)]
    texts = Texts.of(plain)
    assert list(texts) == plain
    assert list(texts[3:-1]) == plain[3:-1]
    rows = np.random.default_rng(0).permutation(len(plain))
    assert list(texts.take(rows)) == [plain[row] for row in rows]
    assert len(pickle.dumps(texts[:3])) < 1000
