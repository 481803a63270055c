"""Cut texts into passages that a network takes whole. Used by every encoder of text.

Invariant: passages follow one another and leave nothing out but the spaces between them.
"""

import re
from collections.abc import Callable, Iterator

Span = tuple[int, int]  # of characters: first, and one after the last

PASSAGES = "paragraphs, sentences, words: 1"  # how a text is cut, and the version of that: a setting of every encoder
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"  # Thai to Chinese
BETWEEN = (  # paragraphs, sentences, words
    re.compile(r"\n[^\S\n]*\n\s*"),
    re.compile(r"""(?:(?<=[.!?…])|(?<=[.!?…]["'”’»)\]]))\s+(?![a-z])|(?<=[。！？])"""),
    re.compile(rf"\s+|(?=[{UNSPACED}])|(?<=[{UNSPACED}])"),
)


def cut_passages(text: str, fits: Callable[[str], bool]) -> tuple[list[str], list[str]]:
    r"""Cut a text into passages, each as long as fits, and return them with the words that had to be cut in two.

    A passage ends with a paragraph, or else a sentence, or else a word; only a word that is too long by itself is cut
    within. `fits` tells whether a passage does; what is longer than one that does not is taken not to fit either.

    Examples
    --------
    >>> cut_passages("It rained. We stayed in.\n\nAll day.", lambda passage: len(passage) <= 14)
    (['It rained.', 'We stayed in.', 'All day.'], [])
    >>> cut_passages("It rained. We stayed in.", lambda passage: len(passage) <= 6)
    (['It', 'rained', '. We', 'stayed', 'in.'], ['rained.'])
    """
    torn: list[str] = []
    spans = list(_whole_spans(text, (0, len(text)), fits, torn))
    passages, first = [], 0
    while first < len(spans):
        start, rest = spans[first][0], spans[first:]
        count = _most(len(rest), lambda n, start=start, rest=rest: fits(text[start : rest[n - 1][1]]))  # type: ignore[misc]
        passages.append(text[start : rest[count - 1][1]])
        first += count
    return passages, torn


def _whole_spans(text: str, span: Span, fits: Callable[[str], bool], torn: list[str], level: int = 0) -> Iterator[Span]:
    """Yield the span itself if it fits, or else those that it is made of; add words that are cut to `torn`."""
    start, end = span
    if fits(text[start:end]):
        yield span
    elif level < len(BETWEEN):
        for part in _parts(text, span, BETWEEN[level]):
            yield from _whole_spans(text, part, fits, torn, level + 1)
    else:
        torn.append(text[start:end])
        while start < end:
            count = _most(end - start, lambda n, start=start: fits(text[start : start + n]))  # type: ignore[misc]
            yield start, start + count
            start += count


def _parts(text: str, span: Span, between: re.Pattern[str]) -> Iterator[Span]:
    start, end = span
    for found in between.finditer(text, start, end):
        if start < found.start():
            yield start, found.start()
        start = found.end()
    if start < end:
        yield start, end


def _most(n: int, fit: Callable[[int], bool]) -> int:
    """Return how many of n things fit, one at least; doubles the number, then halves the steps."""
    count = step = 1
    while count + step <= n and fit(count + step):
        count, step = count + step, 2 * step
    while step := step // 2:
        if count + step <= n and fit(count + step):
            count += step
    return count
