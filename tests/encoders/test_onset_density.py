"""Onset density: peaks as librosa picks them, and clicks, notes and silence whose density is known."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import soxr
import torch
from torch import Tensor

from emoclim.data.generated.music import SAMPLE_RATE, SECONDS, STYLES, perform
from emoclim.encoders.nets.onset_density import OnsetDensity, pick_peaks, rise

RATE = 22_050
SETTINGS = {"pre_max": 5, "post_max": 5, "pre_avg": 5, "post_avg": 5, "delta": 0.8, "wait": 5}


def plain_peaks(curve: list[float]) -> list[int]:
    found: list[int] = []
    for place, value in enumerate(curve):
        about = curve[max(0, place - 5) : place + 5]
        if value == max(about) and value >= sum(about) / len(about) + 0.8 and (not found or place - found[-1] > 5):
            found.append(place)
    return found


def curves(rows: int = 40) -> Tensor:
    """Random ones, half of them in steps, so that values are equal."""
    drawn = 4 * torch.rand(rows, 200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    drawn[::2] = (drawn[::2] / 0.37).round() * 0.37
    return drawn


def test_peaks_are_those_of_a_plain_loop() -> None:
    found = pick_peaks(curves())
    assert found == [plain_peaks(curve.tolist()) for curve in curves()]
    assert sum(map(len, found)) > 200


def test_peaks_are_those_of_librosa() -> None:
    librosa: Any = pytest.importorskip("librosa")
    found = pick_peaks(curves())
    assert found == [librosa.util.peak_pick(curve.numpy(), **SETTINGS).tolist() for curve in curves()]


def clicks(per_second: float, seconds: float = 15.0, *, decay: float = 60.0) -> Tensor:
    """Short tones at even distances, the first after a tenth of a second."""
    time = np.arange(round(seconds * RATE)) / RATE
    starts = np.arange(0.1, seconds - 0.05, 1 / per_second)
    since = time - starts[np.clip(np.searchsorted(starts, time, "right") - 1, 0, None)]
    shape = np.exp(-decay * since) * (since >= 0)
    waveform = torch.from_numpy(0.3 * np.sin(2 * np.pi * 880 * since) * shape).float()
    waveform[0] = 1e-5  # lest the silence before the first be left out
    return waveform


@pytest.mark.parametrize("per_second", [0.5, 2.0, 4.0, 9.0])
def test_clicks_are_counted(per_second: float) -> None:
    waveform = clicks(per_second)
    expected = len(np.arange(0.1, 14.95, 1 / per_second)) / 15
    assert float(OnsetDensity()(waveform[None])) == pytest.approx(expected)


def test_loudness_does_not_change_the_count_and_silence_has_none() -> None:
    waveform = clicks(4.0)
    density = OnsetDensity()(torch.stack([waveform, waveform / 64, torch.zeros(15 * RATE)]))
    assert density[:, 0].tolist() == [density[0, 0], density[0, 0], 0]


def test_a_held_tone_with_vibrato_has_no_onset() -> None:
    """What the maximum over neighbouring bands is for; nor is there one where a segment ends within a tone."""
    time = torch.arange(5 * RATE) / RATE
    tone = 0.3 * torch.sin(2 * torch.pi * 880 * time + 4 * torch.sin(2 * torch.pi * 6 * time))
    assert float(OnsetDensity()(tone[None])) == 0


def test_the_rise_is_over_the_greatest_of_three_bands_two_frames_before() -> None:
    bands = torch.rand(2, 6, 9, generator=torch.Generator().manual_seed(0))
    expected = torch.zeros(2, 9)
    for row in range(2):
        for frame in range(2, 9):
            for band in range(6):
                before = bands[row, max(0, band - 1) : band + 2, frame - 2].max()
                expected[row, frame] += max(0.0, float(bands[row, band, frame] - before))
    torch.testing.assert_close(rise(bands), expected)


def test_the_tones_of_generated_music_are_counted_and_faster_music_is_denser() -> None:
    def heard(tempo: int) -> tuple[float, list[float]]:
        style = replace(STYLES["funny"], tempo=tempo, percussion=0, irregularity=0, articulation=0.25)
        wave, starts = perform(style, False, np.random.default_rng(1), np.random.default_rng(2))
        return float(OnsetDensity()(torch.from_numpy(soxr.resample(wave, SAMPLE_RATE, RATE)).float()[None])), starts

    slow, starts = heard(60)
    assert starts == sorted(set(starts))
    assert 0 <= starts[0] <= starts[-1] < SECONDS
    assert slow == pytest.approx(len(starts) / SECONDS, rel=0.15)
    assert heard(150)[0] > 1.5 * slow
