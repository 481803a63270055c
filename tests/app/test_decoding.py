"""Decoding within bounds: calls that take too long, too much memory, crash or fail end by themselves, and no other."""

import os
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emoclim import load_encoder
from emoclim.app.decoded import PEAKS, Decoded, Kept, find_peaks, write_wav
from emoclim.app.guard.decoding import Busy, Decoders
from emoclim.data import Item
from emoclim.errors import DecodeError
from emoclim.processes import own_prefix

GONE = 2**31 - 1  # a process that no system has


def counting(number: int) -> Generator[int, None, str]:
    yield from range(number)
    return "counted"


def sleeping() -> Generator[int, None, None]:
    yield 0
    time.sleep(600)


def hoarding() -> Generator[int, None, int]:
    yield 0
    return int(np.ones(2**28).sum())  # 2 GB


def dying() -> Generator[int, None, None]:
    yield 0
    os._exit(1)


def failing() -> Generator[int, None, None]:
    yield 0
    raise ValueError("of a library")


def refusing() -> Generator[int, None, None]:
    yield 0
    raise DecodeError("there is no sound")


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    made = Decoders(1, 100.0, 10**9)
    made.call(counting, 1)  # which starts a process
    yield made
    made.close()


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (sleeping, "more than 2 s"),
        pytest.param(hoarding, "1 GB of memory", marks=pytest.mark.skipif("sys.platform != 'linux'")),
        (dying, "ended at it"),
        (failing, "of a library"),
        (refusing, "there is no sound"),
    ],
)
def test_what_goes_wrong_is_told_and_the_next_call_answered(
    decoders: Decoders, monkeypatch: pytest.MonkeyPatch, function: object, told: str
) -> None:
    with monkeypatch.context() as patched, pytest.raises(DecodeError, match=told):
        if function is sleeping:
            patched.setattr(decoders, "_seconds", 2.0)
        list(decoders.run(function))
    assert list(decoders.run(counting, 3)) == [0, 1, 2]


def test_a_call_that_is_given_up_leaves_its_place_to_the_next(decoders: Decoders) -> None:
    running = decoders.run(counting, 10)
    next(running)
    running.close()
    assert decoders.call(counting, 2) == "counted"


def test_a_process_that_died_meanwhile_is_replaced(decoders: Decoders) -> None:
    process = decoders._free.queue[-1]
    process._process.kill()
    process._process.join()
    assert decoders.call(counting, 2) == "counted"


def test_whoever_finds_no_free_process_is_told() -> None:
    busy = Decoders(1, 0.2, 10**9)
    busy._free.get()
    with pytest.raises(Busy):
        busy.call(counting, 1)


def test_a_limited_encoder_gives_what_it_gives_without_limits(decoders: Decoders, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", draw.uniform(-1, 1, 30_000), 16_000)
    encoder, item = load_encoder("timbre"), Item("a", tmp_path / "a.wav")
    plain, limited = (list(one.prepare(item)) for one in (encoder, decoders.limit(encoder)))
    assert [block.tolist() for block in plain] == [block.tolist() for block in limited]
    assert decoders.limit(encoder).spec == encoder.spec
    assert decoders.limit(load_encoder("timbre")) is decoders.limit(load_encoder("timbre"))
    assert decoders.limit(load_encoder("timbre", overlap=0.25)) is not decoders.limit(load_encoder("timbre"))
    with pytest.raises(DecodeError, match="missing"):
        list(decoders.limit(encoder).prepare(Item("b", tmp_path / "b.wav")))


@pytest.mark.parametrize("seconds", [0.1, 1.0, 3.3, 30.0])
def test_peaks_are_the_loudest_moments_of_even_parts(tmp_path: Path, seconds: float) -> None:
    rate = 8_000
    sound = np.random.default_rng(0).uniform(-0.9, 0.9, round(seconds * rate)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", sound, rate, subtype="FLOAT")
    length, peaks = next_value(find_peaks(Item("a", tmp_path / "a.wav")))
    assert length == pytest.approx(seconds)
    assert len(peaks) == PEAKS
    assert max(peaks) == pytest.approx(np.abs(sound).max(), abs=1e-4)
    if seconds == 30.0:  # parts of 75 ms are a step and a half: of two steps at most
        step = rate // 20
        for number in (0, 57, 399):
            first = number * 600 // PEAKS * step
            near = np.abs(sound[first : first + 2 * step]).max()
            assert peaks[number] <= near + 1e-4


def test_a_wav_file_is_the_sound(tmp_path: Path) -> None:
    sound = np.sin(np.arange(64_000) / 20).astype(np.float32) / 2
    soundfile.write(tmp_path / "a.flac", sound, 32_000)
    next_value(write_wav(Item("a", tmp_path / "a.flac", start=0.5, duration=1.0), tmp_path / "b.wav"))
    written, rate = soundfile.read(tmp_path / "b.wav")
    assert rate == 32_000
    np.testing.assert_allclose(written, sound[16_000:48_000], atol=1e-4)


def test_what_was_asked_for_longest_ago_is_let_go() -> None:
    dropped: list[int] = []
    kept = Kept[int](2, dropped.append)
    made = [kept.get(key, lambda key=key: key) for key in (1, 2, 1, 3, 1)]
    assert (made, dropped) == ([1, 2, 1, 3, 1], [2])
    with pytest.raises(ZeroDivisionError):
        kept.get(4, lambda: 1 // 0)
    assert kept.get(4, lambda: 4) == 4


def next_value(running: Generator[object, None, object]) -> object:
    with pytest.raises(StopIteration) as end:
        next(running)
    return end.value.value


def test_what_a_killed_service_left_is_removed_by_the_next(
    decoders: Decoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine, others = own_prefix(), "emoclim-another machine-"
    gone = mine.replace(str(os.getpid()), str(GONE))
    left, *kept = (tmp_path / name for name in (f"{gone}x", f"{mine}x", f"{others}1-x", f"{gone}7-x"))
    for folder in (left, *kept):
        folder.mkdir()
        (folder / "0.wav").touch()
    Decoded(decoders).close()
    assert sorted(tmp_path.iterdir()) == sorted(kept)
