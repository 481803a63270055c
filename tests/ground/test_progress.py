"""Lines that tell how far work is, where there is no terminal for a bar."""

from queue import Queue
from types import SimpleNamespace

import pytest

from emoclim.progress import in_words, track_by_lines


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What the lines take for the time, so that they do not depend on how busy the machine is."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr("emoclim.progress.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_short_work_is_silent_and_long_work_tells_how_far_it_is(clock: SimpleNamespace) -> None:
    lines = Queue[str]()
    assert list(track_by_lines("ab", "encode", tell=lines.put, first=60)) == ["a", "b"]
    assert lines.empty()
    for n, _ in enumerate(track_by_lines(range(4), "encode", tell=lines.put, first=0.01, every=0.01)):
        if n == 0:
            assert lines.get(timeout=60) == "encode: 0 of 4, 0 s"
            clock.now = 0.4
        if n == 1:
            told = iter(lambda: lines.get(timeout=60), "")
            assert next(line for line in told if "0 of 4" not in line) == "encode: 1 of 4, 0 s, about 1 s to go"


def test_a_line_comes_even_while_one_thing_takes_long(clock: SimpleNamespace) -> None:
    lines = Queue[str]()
    for _ in track_by_lines(iter([1]), "decode", tell=lines.put, first=0.01, every=0.01):
        assert [lines.get(timeout=60) for _ in range(2)] == ["decode: 0 s", "decode: 0 s"]


def test_durations_are_told_in_fitting_units() -> None:
    assert [in_words(seconds) for seconds in (0.4, 99, 720, 12_240)] == ["0 s", "99 s", "12 min", "3.4 h"]
