"""Lines that tell how far work is, where there is no terminal for a bar."""

import time

from emoclim.progress import in_words, track_by_lines


def test_short_work_is_silent_and_long_work_tells_how_far_it_is() -> None:
    lines: list[str] = []
    assert list(track_by_lines("ab", "encode", tell=lines.append)) == ["a", "b"]
    assert lines == []
    for n, _ in enumerate(track_by_lines(range(4), "encode", tell=lines.append, first=0.05, every=0.1)):
        time.sleep(0.2 if n < 2 else 0)
    assert lines[0] == "encode: 0 of 4, 0 s"
    assert any(line.startswith("encode: 1 of 4, 0 s, about 1 s to go") for line in lines[1:])


def test_a_line_comes_even_while_one_thing_takes_long() -> None:
    lines: list[str] = []
    for _ in track_by_lines(iter([1]), "decode", tell=lines.append, first=0.02, every=0.02):
        time.sleep(0.2)
    assert lines[:2] == ["decode: 0 s", "decode: 0 s"]


def test_durations_are_told_in_fitting_units() -> None:
    assert [in_words(seconds) for seconds in (0.4, 99, 720, 12_240)] == ["0 s", "99 s", "12 min", "3.4 h"]
