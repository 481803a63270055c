"""Texts are cut into passages as long as fits, at the best place there is, and nothing is lost."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoclim.data.media.passages import BETWEEN, cut_passages

STORY = "The sea was calm. Nobody spoke!\n\n“Who is there?” she asked. It was Mr. Brown.\n  \nNight fell"


def slow_passages(text: str, fits: Callable[[str], bool], level: int = 0) -> list[tuple[int, int]]:
    """Spans of passages, grown unit by unit."""

    def units(start: int, end: int, level: int) -> list[tuple[int, int]]:
        if fits(text[start:end]):
            return [(start, end)]
        if level == len(BETWEEN):
            first = next(n for n in range(end - start, 0, -1) if n == 1 or fits(text[start : start + n]))
            return [(start, start + first), *(units(start + first, end, level) if start + first < end else [])]
        ends = [(found.start(), found.end()) for found in BETWEEN[level].finditer(text, start, end)]
        starts = [start, *(after for _, after in ends)]
        stops = [*(before for before, _ in ends), end]
        return [unit for a, b in zip(starts, stops, strict=True) if a < b for unit in units(a, b, level + 1)]

    passages: list[tuple[int, int]] = []
    for start, end in units(0, len(text), 0):
        if passages and fits(text[passages[-1][0] : end]):
            passages[-1] = (passages[-1][0], end)
        else:
            passages.append((start, end))
    return passages


def words_of(limit: int) -> Callable[[str], bool]:
    return lambda passage: len(passage.split()) <= limit


def letters_of(limit: int) -> Callable[[str], bool]:
    return lambda passage: len(passage) <= limit


@pytest.mark.parametrize(
    ("fits", "passages"),
    [
        (words_of(99), [STORY]),
        (words_of(9), [STORY[:31], "“Who is there?” she asked. It was Mr. Brown.", "Night fell"]),
        (words_of(6), [STORY[:31], "“Who is there?” she asked.", "It was Mr. Brown.\n  \nNight fell"]),
    ],
)
def test_paragraphs_are_kept_whole_and_else_sentences(fits: Callable[[str], bool], passages: list[str]) -> None:
    assert cut_passages(STORY, fits) == (passages, [])


def test_a_sentence_that_is_too_long_is_cut_between_words_and_no_word_is_torn() -> None:
    passages, torn = cut_passages("one two three four five", letters_of(9))
    assert (passages, torn) == (["one two", "three", "four five"], [])


def test_only_a_word_longer_than_a_passage_is_cut_within_and_told() -> None:
    passages, torn = cut_passages(f"a {'x' * 25} b", letters_of(10))
    assert torn == ["x" * 25]
    assert passages == ["a", "x" * 10, "x" * 10, "xxxxx b"]


def test_scripts_without_spaces_are_cut_between_letters_and_nothing_is_torn() -> None:
    passages, torn = cut_passages("我很高兴。今天下雨了", letters_of(4))
    assert (passages, torn) == (["我很高兴", "。今天下", "雨了"], [])
    assert cut_passages("我很高。今天雨", letters_of(4))[0] == ["我很高。", "今天雨"]


@given(st.text(alphabet="ab .!?\n”今。", max_size=60), st.integers(1, 12))
def test_passages_are_those_of_the_slow_way_and_only_spaces_are_left_out(text: str, limit: int) -> None:
    text = text.strip()
    passages, _ = cut_passages(text, letters_of(limit))
    assert passages == [text[start:end] for start, end in slow_passages(text, letters_of(limit))]
    assert all(len(passage) <= limit for passage in passages)
    assert re.sub(r"\s", "", "".join(passages)) == re.sub(r"\s", "", text)


def test_a_long_text_asks_for_few_counts() -> None:
    asked = 0

    def fits(passage: str) -> bool:
        nonlocal asked
        asked += len(passage)
        return len(passage.split()) <= 200

    text = "word " * 20_000
    passages, _ = cut_passages(text.strip(), fits)
    assert len(passages) == 100
    assert asked < 60 * len(text)
