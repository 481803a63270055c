"""Audio: blocks, parts and crops of waveforms, and the segments they are cut into."""

import itertools
import json
import tracemalloc
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
import soxr
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from emoclim.data import cut_segments, read_blocks, read_crop, repeat_pad, segment_starts, segment_step
from emoclim.data.manifest import Item
from emoclim.data.media import segments, sound_libsndfile
from emoclim.errors import ConfigError, DecodeError

RATES = [(44_100, 16_000), (8_000, 16_000), (11_025, 16_000), (96_000, 16_000), (16_000, 48_000), (16_000, 16_000)]
NOISE = np.random.default_rng(0).uniform(-0.5, 0.5, 200_000).astype(np.float32)


def write(path: Path, samples: NDArray[np.float32] = NOISE, rate: int = 16_000, subtype: str | None = None) -> Item:
    sf.write(path, samples, rate, subtype)
    return Item(path.name, path)


def read(item: Item, sample_rate: int, **options: Any) -> Tensor:
    return torch.cat(list(read_blocks(item, sample_rate, **options)))


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Blocks


@pytest.mark.parametrize(("source", "target"), RATES)
def test_the_stream_equals_resampling_at_once(tmp_path: Path, source: int, target: int) -> None:
    item = write(tmp_path / "a.wav", rate=source, subtype="FLOAT")
    expected = soxr.resample(NOISE, source, target, quality="HQ")
    assert np.array_equal(read(item, target).numpy(), expected)


@pytest.mark.parametrize(("source", "target"), RATES)
def test_blocks_are_of_one_length_and_change_no_bit(tmp_path: Path, source: int, target: int) -> None:
    item = write(tmp_path / "a.flac", rate=source)
    whole = read(item, target, block_seconds=1e6)
    for seconds in (0.01, 0.7, 5.0):
        blocks = list(read_blocks(item, target, block_seconds=seconds))
        assert {len(block) for block in blocks[:-1]} <= {round(seconds * target)}
        assert 0 < len(blocks[-1]) <= round(seconds * target)
        assert torch.equal(torch.cat(blocks), whole)
        assert all(block.dtype == torch.float32 for block in blocks)


def test_the_sound_of_a_file_is_first_brought_to_another_rate(tmp_path: Path) -> None:
    item = write(tmp_path / "a.wav", rate=44_100, subtype="FLOAT")
    narrow = soxr.resample(NOISE, 44_100, 16_000, quality="HQ")
    stored = write(tmp_path / "stored.wav", narrow, rate=16_000, subtype="FLOAT")
    found = read(item, 48_000, source_rate=16_000)
    assert torch.equal(found, read(stored, 48_000))
    assert torch.equal(found, read(item, 48_000, source_rate=16_000, block_seconds=0.3))
    hertz = torch.arange(len(found) // 2 + 1) * 48_000 / len(found)
    above = [torch.fft.rfft(sound)[hertz > 8100].abs().square().sum() for sound in (found, read(item, 48_000))]
    assert above[0] < 1e-6 * above[1]


@pytest.mark.parametrize(("source", "target"), RATES)
def test_a_tone_keeps_its_pitch_and_length(tmp_path: Path, source: int, target: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * source) / source).astype(np.float32)
    wave = read(write(tmp_path / "a.wav", tone, source, subtype="FLOAT"), target)
    assert len(wave) == 2 * target
    spectrum = torch.fft.rfft(wave).abs()
    assert int(spectrum.argmax()) == 880  # half a hertz per bin
    assert float(spectrum[880]) == pytest.approx(0.5 * target, rel=1e-3)


def test_channels_are_averaged_before_resampling(tmp_path: Path) -> None:
    pair = np.stack([NOISE, 0.5 * NOISE], axis=1)
    mixed = read(write(tmp_path / "a.wav", pair, 44_100, subtype="FLOAT"), 16_000)
    assert np.allclose(mixed, soxr.resample(0.75 * NOISE, 44_100, 16_000), atol=1e-6)


@pytest.mark.parametrize("samples", [2, 3_200, 65_536, 65_537])
def test_short_clips_and_silence_are_read(tmp_path: Path, samples: int) -> None:
    wave = read(write(tmp_path / "a.flac", np.zeros(samples, np.float32)), 16_000)
    assert torch.equal(wave, torch.zeros(samples))


def test_what_resampling_leaves_nothing_of_is_refused(tmp_path: Path) -> None:
    item = write(tmp_path / "a.wav", NOISE[:2], 96_000)
    with pytest.raises(DecodeError, match="too short"):
        read_crop(item, 8_000, 10, draw(), repeat_pad)


def test_long_files_are_read_in_bounded_memory(tmp_path: Path) -> None:
    item = write(tmp_path / "a.flac", np.zeros(20 * 60 * 16_000, np.float32))
    tracemalloc.start()
    longest = max(len(block) for block in read_blocks(item, 8_000, block_seconds=10.0))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert longest == 80_000
    assert peak < 3e6  # the whole is 77 MB


# A part of a file


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_part_is_that_part_of_the_whole(tmp_path: Path, name: str) -> None:
    item = write(tmp_path / name)
    whole, path = read(item, 16_000), item.path
    part = read(Item("x", path, start=3.5, duration=2.0), 16_000)
    assert torch.allclose(part, whole[56_000:88_000], atol=1e-6)
    assert len(part) == 32_000
    assert torch.allclose(read(Item("x", path, start=12.0), 16_000), whole[192_000:], atol=1e-6)
    assert torch.equal(read(Item("x", path, duration=1.0), 16_000), whole[:16_000])


def test_a_part_that_goes_beyond_the_end_stops_there(tmp_path: Path) -> None:
    item = write(tmp_path / "a.flac")
    for duration in (10.0, 1e308, float("inf")):
        assert len(read(Item("x", item.path, start=12.0, duration=duration), 16_000)) == 8_000


@pytest.mark.parametrize(
    ("start", "duration", "told"),
    [
        (12.5, None, "begins at 12.5 s, but the sound ends at 12.50 s"),
        (-1.0, 2.0, "is none"),
        (0.0, 0.0, "is none"),
        (1e308, None, "is none"),
        (float("nan"), None, "is none"),
        (0.0, float("nan"), "is none"),
    ],
)
def test_a_part_that_is_none_is_refused(tmp_path: Path, start: float, duration: float | None, told: str) -> None:
    item = Item("x", write(tmp_path / "a.flac").path, start=start, duration=duration)
    with pytest.raises(DecodeError, match=told):
        read(item, 16_000)
    with pytest.raises(DecodeError, match=told):
        read_crop(item, 16_000, 10, draw(), repeat_pad)


# Crops


def find(crop: Tensor, wave: Tensor) -> int:
    """Where in `wave` `crop` fits best."""
    size = len(wave) + len(crop)
    correlation = torch.fft.irfft(torch.fft.rfft(wave, size) * torch.fft.rfft(crop, size).conj(), size)
    return int(correlation[: len(wave) - len(crop) + 1].argmax())


@pytest.mark.parametrize(
    ("name", "rates", "between"),
    [
        *(("a.flac", rates, None) for rates in [*RATES, (44_101, 16_000)]),
        *itertools.product(["a.ogg", "a.mp3", "a.aiff", "gsm.wav", "unknown.flac"], [RATES[0], RATES[4]], [None]),
        *itertools.product(["a.flac", "a.mp3"], [(44_100, 48_000)], [16_000, 22_050]),
        ("a.flac", (44_101, 48_000), 16_000),
    ],
)
def test_a_crop_is_an_excerpt_of_the_stream(
    tmp_path: Path, name: str, rates: tuple[int, int], between: int | None
) -> None:
    source, target = rates
    item = write(tmp_path / name, rate=source, subtype="GSM610" if name == "gsm.wav" else None)
    if name == "unknown.flac":
        content = bytearray((tmp_path / name).read_bytes())
        content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])
        (tmp_path / name).write_bytes(content)
    whole, generator = read(item, target, source_rate=between), draw(1)
    for _ in range(3):
        crop = read_crop(item, target, target, generator, repeat_pad, source_rate=between)
        start = find(crop, whole)
        assert torch.allclose(crop, whole[start : start + target], atol=1e-5)
        assert crop.untyped_storage().nbytes() == 4 * target


def test_crops_stay_clear_of_the_end_of_an_mp3_that_may_be_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    item = write(path)
    path.write_bytes(path.read_bytes()[:-300])
    length, generator = len(NOISE) - sound_libsndfile.MP3_SLACK, draw()
    assert length < len(read(item, 16_000)) < len(NOISE)
    for _ in range(10):
        assert read_crop(item, 16_000, length, generator, repeat_pad).shape == (length,)


def test_crops_are_spread_evenly(tmp_path: Path) -> None:
    ramp = (np.arange(100) / 128).astype(np.float32)
    item, generator = write(tmp_path / "a.wav", ramp, subtype="FLOAT"), draw()
    starts = [round(128 * float(read_crop(item, 16_000, 91, generator, repeat_pad)[0])) for _ in range(400)]
    counts = np.bincount(starts, minlength=10)
    assert len(counts) == 10
    assert ((counts > 20) & (counts < 65)).all()


def test_a_crop_depends_on_the_generator_only_and_takes_one_draw(tmp_path: Path) -> None:
    long, short = write(tmp_path / "long.wav"), write(tmp_path / "short.wav", NOISE[:50])
    torch.manual_seed(0)
    first = read_crop(long, 16_000, 1000, draw(5), repeat_pad)
    torch.manual_seed(1)
    assert torch.equal(read_crop(long, 16_000, 1000, draw(5), repeat_pad), first)
    after = []
    for item in (long, short):
        generator = draw(5)
        read_crop(item, 16_000, 1000, generator, repeat_pad)
        after.append(generator.get_state())
    expected = draw(5)
    torch.rand((), generator=expected, dtype=torch.float64)
    assert all(torch.equal(state, expected.get_state()) for state in after)


def test_a_crop_stays_within_the_part(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 16_000, dtype=np.float32)
    path, generator = write(tmp_path / "a.wav", ramp, subtype="FLOAT").path, draw()
    item = Item("x", path, start=0.5, duration=0.25)
    crops = [read_crop(item, 16_000, 1000, generator, repeat_pad) for _ in range(50)]
    assert min(float(crop[0]) for crop in crops) >= 0.5
    assert max(float(crop[-1]) for crop in crops) < 0.751


@pytest.mark.parametrize("length", [199_999, 200_000, 200_001, 450_000])
def test_a_crop_of_a_short_file_is_padded(tmp_path: Path, length: int) -> None:
    crop = read_crop(write(tmp_path / "a.wav", subtype="FLOAT"), 16_000, length, draw(), repeat_pad)
    assert crop.shape == (length,)
    if length >= 200_000:
        assert np.array_equal(crop, np.tile(NOISE, 3)[:length])


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3"])
def test_a_crop_decodes_little_more_than_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    item = write(tmp_path / name, np.tile(NOISE, 4))
    decoded = []
    plain = sound_libsndfile._Sequential.read

    def counting(self: sf.SoundFile, frames: int, **options: object) -> NDArray[np.float32]:
        samples: NDArray[np.float32] = plain(self, frames, **options)
        decoded.append(len(samples))
        return samples

    monkeypatch.setattr(sound_libsndfile._Sequential, "read", counting)
    read_crop(item, 16_000, 16_000, draw(), repeat_pad)
    assert 16_000 <= sum(decoded) < 100_000


# Segments


def segments_one_by_one(wave: Tensor, length: int, overlap: float) -> list[list[float]]:
    """The rule in words: whole segments only, from 0, one step apart; a short waveform is repeated to fill one."""
    step = int(np.around((1 - overlap) * length))
    values: list[float] = wave.tolist()
    segments = []
    start = 0
    while start + length <= len(values):
        segments.append([values[start + offset] for offset in range(length)])
        start += step
    return segments or [[values[offset % len(values)] for offset in range(length)]]


def drain(cutter: Generator[Tensor, None, int]) -> tuple[list[Tensor], int]:
    """What a generator yields, and what it returns."""
    yielded = []
    while True:
        try:
            yielded.append(next(cutter))
        except StopIteration as end:
            return yielded, end.value


@given(
    samples=st.integers(1, 200),
    length=st.integers(1, 40),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.75]),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    limit=st.sampled_from([4, 200, 2**24]),
)
def test_segments_do_not_depend_on_the_blocks(
    samples: int, length: int, overlap: float, cuts: list[int], limit: int
) -> None:
    if round((1 - overlap) * length) == 0:
        return
    wave = torch.arange(1, samples + 1, dtype=torch.float32)
    edges = sorted({0, samples, *(cut for cut in cuts if cut < samples)})
    blocks = [wave[first:last] for first, last in itertools.pairwise(edges)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "SEGMENT_BYTES", limit)
        batches, counted = drain(cut_segments(blocks, length, overlap, repeat_pad))
    assert counted == samples
    expected = segments_one_by_one(wave, length, overlap)
    assert torch.cat(batches).tolist() == expected
    assert len(segment_starts(samples, length, overlap)) == len(expected)
    for batch in batches:
        assert batch.is_contiguous()
        assert batch.untyped_storage().nbytes() == 4 * batch.numel() <= max(limit, 4 * length)


def test_short_waveforms_go_through_the_given_padding() -> None:
    def zeros_after(wave: Tensor, length: int) -> Tensor:
        return torch.nn.functional.pad(wave, (0, length - len(wave)))

    blocks = [torch.ones(2), torch.ones(1)]
    assert torch.cat(list(cut_segments(blocks, 5, 0.0, zeros_after))).tolist() == [[1, 1, 1, 0, 0]]
    assert list(cut_segments([], 5, 0.0, zeros_after)) == []


def test_starts_are_those_of_the_published_code(shared: Path) -> None:
    cases = json.loads((shared / "golden" / "windows.json").read_text())["cases"]
    assert len(cases) > 10
    for case in cases:
        length, overlap = case["input_samples"], case["overlap"]
        starts = segment_starts(case["clip_samples"], length, overlap)
        assert segment_step(length, overlap) == case["step"]
        assert starts == (case["starts"] or [0])  # it leaves short clips out; here they are padded


@pytest.mark.parametrize(
    ("length", "overlap", "step"),
    [(10, 0.75, 2), (6, 0.75, 2), (59_049, 0.75, 14_762), (80_000, 0.75, 20_000), (7, 0, 7)],
)
def test_steps_are_rounded_half_to_even(length: int, overlap: float, step: int) -> None:
    assert segment_step(length, overlap) == step


def test_starts_fill_the_waveform() -> None:
    assert segment_starts(12, 4, 0.5) == [0, 2, 4, 6, 8]
    assert segment_starts(11, 4, 0.5) == [0, 2, 4, 6]
    assert segment_starts(4, 4, 0.5) == segment_starts(1, 4, 0.5) == [0]
    assert segment_starts(0, 4, 0.5) == []


@pytest.mark.parametrize(("length", "overlap"), [(0, 0.5), (4, 1.0), (4, -0.1), (4, float("nan")), (1, 0.75)])
def test_segments_out_of_range_are_refused(length: int, overlap: float) -> None:
    with pytest.raises(ConfigError, match="segment"):
        segment_starts(10, length, overlap)
    with pytest.raises(ConfigError, match="segment"):
        next(cut_segments([torch.ones(10)], length, overlap, repeat_pad))


def test_repeat_pad_repeats_and_cuts() -> None:
    wave = torch.tensor([1.0, 2.0, 3.0])
    assert repeat_pad(wave, 8).tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
    assert repeat_pad(wave, 3).tolist() == [1, 2, 3]
    assert repeat_pad(wave, 2).tolist() == [1, 2]
