"""The chain of effects on training crops: each as published, as often as asked for, from the crop's generator."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from small_encoder import QUICK, differences, make_material, train
from torch import Tensor

from emoclim.errors import ConfigError
from emoclim.learning.end_to_end import waveform_effects
from emoclim.learning.end_to_end.augment import Augmenter
from emoclim.learning.epochs import Snapshot
from emoclim.learning.settings import Augmentations

pytest.importorskip("audiomentations", reason="augmentations need the extra [augment]")

RATE, LENGTH = 16_000, 24_000
CLEAN = 0.1 * torch.randn(LENGTH, generator=torch.Generator().manual_seed(3))
NAMES = ("polarity", "noise", "gain", "filter", "delay", "pitch", "reverb")
PUBLISHED = dict(zip((f"{name}_probability" for name in NAMES), (0.8, 0.01, 0.3, 0.8, 0.3, 0.6, 0.6), strict=True))
ALL = dict.fromkeys(PUBLISHED, 1.0)


def make(rate: int = RATE, **settings: Any) -> Augmenter:
    return Augmenter(Augmentations(**settings), [], rate, LENGTH)


def only(name: str, **settings: Any) -> Augmenter:
    return make(**{f"{name}_probability": 1.0}, **settings)


def apply(augment: Augmenter, crop: Tensor = CLEAN, n: int = 40) -> list[Tensor]:
    return [augment(crop, torch.Generator().manual_seed(seed)) for seed in range(n)]


def delayed(samples: np.ndarray[Any, Any], sizes: list[int], step: Any) -> np.ndarray[Any, Any]:
    """Go through samples one by one, with a ring of each size."""
    rings, out = [np.zeros(size) for size in sizes], []
    for now, sample in enumerate(samples):
        out.append(step(rings, [now % size for size in sizes], sample))
    return np.array(out)


def plain_reverb(samples: np.ndarray[Any, Any], reverberance: int, damping: int, room: int) -> np.ndarray[Any, Any]:
    """sox's reverb, in the order of its source: combs, allpasses, two channels, their mean."""
    slope = -1 / np.log(1 - 0.3)
    reach = 100 / (np.log(1 - 0.98) * slope + 1)
    feedback, damp = 1 - np.exp((reverberance - reach) / (slope * reach)), damping / 100 * 0.3 + 0.2
    scale, stores, wet = RATE / 44_100, np.zeros(8), np.zeros(len(samples))
    for side in (0, 12):
        offsets = side * np.array([1, -1] * 4)
        combs = [int((room / 100 * 0.9 + 0.1) * scale * n + 0.5) for n in waveform_effects.COMBS + offsets]
        passes = [int(scale * n + 0.5) for n in waveform_effects.ALLPASSES + offsets[:4]]
        stores = np.zeros(8)

        def step(rings: Any, at: Any, sample: float, stores: Any = stores) -> float:
            total = 0.0
            for n in range(8):
                output = rings[n][at[n]]
                stores[n] = output + (stores[n] - output) * damp
                rings[n][at[n]] = sample + stores[n] * feedback
                total += output
            for n in range(8, 12):
                output = rings[n][at[n]]
                rings[n][at[n]] = total + output * 0.5
                total = output - total
            return total

        wet += delayed(samples, combs + passes, step)
    return samples + 0.015 * wet / 2


@pytest.mark.parametrize("percents", [(50, 50, 99), (0, 0, 0), (99, 0, 40)])
def test_the_reverb_is_sample_by_sample_that_of_sox(percents: tuple[int, int, int]) -> None:
    samples = CLEAN.numpy()[:6_000]
    expected = plain_reverb(samples.astype(np.float64), *percents)
    assert np.abs(expected - samples).max() > 0.01
    np.testing.assert_allclose(waveform_effects.reverb(samples, RATE, *percents), expected, atol=1e-6)


def test_noise_has_a_share_of_the_deviation_of_the_crop() -> None:
    for scale in (1.0, 0.01):
        shares = torch.stack([(mix - scale * CLEAN).std() for mix in apply(only("noise"), scale * CLEAN)])
        shares /= scale * CLEAN.std()
        assert 1e-4 <= shares.min() < shares.max() <= 1.01e-2
        assert abs(float(shares.mean()) - 5e-3) < 1.5e-3


def test_gain_is_uniform_in_decibels_and_polarity_turns_upside_down() -> None:
    gains = torch.stack([20 * (mix / CLEAN).median().log10() for mix in apply(only("gain"))])
    assert -20 <= gains.min() < -17 < -4 < gains.max() <= -1
    assert all(torch.equal(mix, -CLEAN) for mix in apply(only("polarity"), n=3))


def test_the_delay_comes_in_steps_and_at_half_the_volume() -> None:
    found = set()
    for mix in apply(only("delay")):
        rest = 2 * mix - CLEAN
        late = int(rest.nonzero()[0])
        found.add(late)
        assert torch.allclose(rest[late:], 0.5 * CLEAN[:-late], atol=1e-6)
    assert found == {RATE * ms // 1000 for ms in range(200, 451, 50)}


def test_filters_take_away_one_side_or_the_other() -> None:
    settings: dict[str, Any] = {"highpass_hz": (1000, 1000), "lowpass_hz": (2500, 2500)}
    power = torch.stack([torch.fft.rfft(mix).abs() for mix in apply(only("filter", **settings))])
    gains = power / torch.fft.rfft(CLEAN).abs()
    bins = [round(hertz * LENGTH / RATE) for hertz in (250, 500, 1000, 2500, 5000)]
    below, octave, high_edge, low_edge, above = (gains[:, at - 20 : at + 20].mean(dim=1) for at in bins)
    high = below < 0.3
    assert 10 < high.sum() < 30
    assert high_edge[high].mean() == pytest.approx(0.5**0.5, abs=0.05)
    assert octave[high].mean() / below[high].mean() == pytest.approx(4, rel=0.25)  # 12 dB
    assert low_edge[~high].mean() == pytest.approx(0.5**0.5, abs=0.05)
    assert (above[~high] < 0.3).all()


def test_the_pitch_moves_by_at_most_seven_semitones() -> None:
    tone = 0.3 * torch.sin(2 * torch.pi * 440 * torch.arange(LENGTH) / RATE)
    peaks = torch.stack([torch.fft.rfft(mix[8_000:]).abs().argmax() for mix in apply(only("pitch"), tone)])
    moved = 12 * (peaks * RATE / (LENGTH - 8_000) / 440).log2()
    assert -7.2 < moved.min() < -4 < 4 < moved.max() < 7.2


def test_each_comes_as_often_as_asked_for() -> None:
    for name, probability in (("polarity", 0.8), ("gain", 0.3), ("delay", 0.3), ("noise", 0.01)):
        augment = make(**{f"{name}_probability": probability})
        changed = sum(not torch.equal(mix, CLEAN) for mix in apply(augment, n=300))
        assert abs(changed / 300 - probability) < 4 * (probability * (1 - probability) / 300) ** 0.5


def test_the_order_is_that_of_the_paper() -> None:
    augment = make(**ALL)
    effects = [step.args[1] for step in augment._steps if step is not None]
    inner = [getattr(effect, "func", effect) for effect in effects]
    told = [getattr(one, "__name__", type(one).__name__) for one in inner]
    assert told == "PolarityInversion add_noise Gain filter_one_side delay PitchShift reverberate".split()


def test_a_generator_decides_in_any_process_and_silence_stays() -> None:
    augment = make(**ALL)
    first, again, other = (augment(CLEAN, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.dtype == torch.float32
    assert first.shape == CLEAN.shape
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(pickle.loads(pickle.dumps(augment))(CLEAN, torch.Generator().manual_seed(1)), first)
    assert not make(**ALL)(torch.zeros(LENGTH), torch.Generator().manual_seed(1)).any()


def test_what_would_have_no_effect_or_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="gain_db would have no effect without gain_probability"):
        Augmentations(gain_db=(-3, -1)).require_switches()
    with pytest.raises(ConfigError, match="stay below 4000, half the encoder's sample rate"):
        make(rate=8_000, filter_probability=0.5, lowpass_hz=(2200, 4000))


def test_no_byte_depends_on_workers_or_a_kill(tmp_path: Any) -> None:
    material, augment = make_material(tmp_path), make(rate=8_000, **(ALL | {"filter_probability": 0.0}))
    snapshots: list[Snapshot] = []

    def keep(snapshot: Snapshot) -> None:
        snapshots.append({name: tensor.clone() for name, tensor in snapshot.items()})

    config = QUICK.updated(epochs=2, batches_per_epoch=2)
    whole = train(material, config, augment=augment, keep=keep)
    assert differences(whole, train(material, config, augment=augment, workers=2)) == []
    assert differences(whole, train(material, config, augment=augment, resume=snapshots[0], workers=1)) == []
