"""Mid-level features: the front end by values written down from madmom's settings, the network by its layers' sizes."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pseudo_weights import pseudo_random
from torch import Tensor
from torch.nn import functional

from emoclim.encoders import midlevel
from emoclim.encoders.loading import load_encoder, untrained_file
from emoclim.encoders.nets.cp_resnet import CpResnet, CpResnetWithOnsets
from emoclim.encoders.nets.log_spectrogram import LogSpectrogram, nearest_bins, steps_of_scale, trimmed

BIN = 22_050 / 2048  # Hz
HOP = 22_050 / 31.3  # samples
RECEPTIVE_FIELD = 95
CHANNELS = 8


def spectrogram() -> LogSpectrogram:
    return LogSpectrogram(22_050, 2048, 31.3, bands_per_octave=24, f_min=20.0, f_max=16_000.0)


def noise(samples: int = 330_750, rows: int = 2) -> Tensor:
    return 0.1 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(0))


def plain_spectrogram(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frame by frame and band by band, from the settings alone."""
    centres = [440 * 2 ** (step / 24) for step in range(-200, 200) if 20 <= 440 * 2 ** (step / 24) <= 16_000]
    bins: list[int] = sorted({min(1023, round(centre / BIN)) for centre in centres} - {0})
    columns = []
    for number in range(int(np.ceil(len(samples) / HOP))):
        first = int(number * HOP) - 1024
        frame = [samples[place] if 0 <= place < len(samples) else 0 for place in range(first, first + 2048)]
        magnitude = np.abs(np.fft.fft(np.asarray(frame) * np.hanning(2048)))
        column = []
        for low, centre, high in zip(bins, bins[1:], bins[2:], strict=False):
            up = {place: (place - low) / (centre - low) for place in range(low, centre)}
            down = {place: (high - place) / (high - centre) for place in range(centre, high)}
            weights = up | down
            column.append(sum(weights[place] * magnitude[place] for place in weights) / sum(weights.values()))
        columns.append(np.log10(1 + np.asarray(column)))
    return np.asarray(columns).T


def test_fifteen_seconds_have_149_bands_and_470_frames() -> None:
    assert spectrogram()(noise()).shape == (2, 149, 470)  # 15 x 31.3 = 469.5


def test_the_scale_is_that_of_quarter_tones_about_440_hz() -> None:
    steps = steps_of_scale(24, 20.0, 16_000.0)
    assert len(steps) == 232
    assert steps[[0, 1, 107, -1]] == pytest.approx([20.01523, 20.60172, 440.0, 15804.26564])
    bins = nearest_bins(steps, np.arange(1024) * BIN)
    assert bins[:9].tolist() == [2, 3, 4, 5, 6, 7, 8, 9, 10]  # each once, however many steps lie at it
    assert bins[-3:].tolist() == [980, 1008, 1023]  # 10,548, 10,857 and half the sample rate, less one bin


def test_a_tone_has_its_magnitude_in_the_band_whose_centre_it_is() -> None:
    time = torch.arange(330_750) / 22_050
    bands = spectrogram()((2 * torch.pi * 100 * BIN * time).sin()[None])[0, :, 200]
    bins = nearest_bins(steps_of_scale(24, 20.0, 16_000.0), np.arange(1024) * BIN)
    place = bins.tolist().index(min(bins.tolist(), key=lambda one: abs(one - 100)))
    assert int(bands.argmax()) == place - 1
    filters = spectrogram().filters
    torch.testing.assert_close(filters.sum(dim=1), torch.ones(149))
    window = np.hanning(2048)
    sides = abs(np.fft.fft(window)[1])  # of a tone at a bin, the bin beside it
    expected = window.sum() / 2 * filters[place - 1, 100] + sides / 2 * filters[place - 1, [99, 101]].sum()
    assert float(bands.max()) == pytest.approx(float(torch.log10(1 + expected)), abs=1e-3)


def test_the_front_end_is_that_of_plain_numpy() -> None:
    samples = noise(22_050, 1)
    expected = plain_spectrogram(samples[0].double().numpy())
    torch.testing.assert_close(spectrogram()(samples)[0].double(), torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


def test_zeros_at_the_ends_are_left_out_and_the_peak_is_one() -> None:
    row = torch.tensor([0.0, 0, 1, 0, -2, 4, 0, 0])
    found = trimmed(torch.stack([row, row.flip(0), torch.zeros(8), torch.ones(8)]))
    assert found.tolist() == [
        [0.25, 0, -0.5, 1, 0.25, 0, -0.5, 1],
        [1, -0.5, 0, 0.25, 1, -0.5, 0, 0.25],
        [0] * 8,
        [1] * 8,
    ]


@pytest.fixture(scope="module")
def net() -> CpResnet:
    net = CpResnet(7, CHANNELS)
    net.load_state_dict(pseudo_random(net.state_dict()))
    return net.eval()


def plain(net: CpResnet, bands: Tensor) -> Tensor:
    """The network layer by layer, as the table of its filters has it."""
    state = net.state_dict()

    def placed(level: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.conv.weight"]
        rows = level.shape[2]
        height = torch.tensor([2 * row / (rows - 1) - 1 for row in range(rows)]).view(1, 1, -1, 1)
        level = torch.cat([level, height.expand(len(level), 1, rows, level.shape[3])], dim=1)
        level = functional.conv2d(level, weight, stride=stride, padding=weight.shape[-1] // 2)
        mean, variance, scale, shift = (
            state[f"{name}.bn.{kind}"][:, None, None] for kind in ("running_mean", "running_var", "weight", "bias")
        )
        return (level - mean) / (variance + 1e-5).sqrt() * scale + shift

    level = placed(bands[:, None], "entry", 2).relu()
    for block in range(5):
        name = f"blocks.{block}"
        same = level if block < 3 else placed(level, f"{name}.shortcut")
        level = (same + placed(placed(level, f"{name}.first").relu(), f"{name}.second")).relu()
        if block < 2:
            level = functional.max_pool2d(level, 2)
    return placed(level, "exit").mean(dim=(2, 3))


def test_features_are_those_of_the_layers_one_by_one(net: CpResnet) -> None:
    with torch.inference_mode():
        bands = net.spectrogram(trimmed(noise()))
        torch.testing.assert_close(net(noise()), plain(net, bands), rtol=1e-4, atol=1e-4)


def test_the_number_of_parameters_is_that_of_the_table_of_filters() -> None:
    def placed(inputs: int, outputs: int, size: int) -> int:
        return (inputs + 1) * outputs * size * size + 2 * outputs

    filters = [(1, 128, 5), *((128, 128, size) for size in (3, 1, 3, 3, 3, 3))]
    filters += [(128, 256, 3), (256, 256, 3), (128, 256, 1), (256, 512, 1), (512, 512, 1), (256, 512, 1), (512, 7, 1)]
    expected = sum(placed(*one) for one in filters)
    assert sum(one.numel() for one in CpResnet(7).parameters()) == expected == 2_224_149


def test_a_value_of_the_last_layer_sees_95_bands_and_95_frames(net: CpResnet) -> None:
    bands = torch.randn(1, 149, 470, generator=torch.Generator().manual_seed(0)).requires_grad_()
    level = net.levels(bands)
    seen = torch.autograd.grad(level[0, :, level.shape[2] // 2, level.shape[3] // 2].sum(), bands)[0][0].abs() > 0
    for axis in (0, 1):
        touched = seen.any(dim=axis).nonzero().flatten()
        assert RECEPTIVE_FIELD - 8 <= touched[-1] - touched[0] + 1 <= RECEPTIVE_FIELD  # of maxima, not all are taken


def test_the_height_of_a_sound_matters_and_its_moment_does_not() -> None:
    """With filters of one value each, which are blind to where anything is but for the channel of heights."""
    net = CpResnet(7, CHANNELS)
    net.load_state_dict(
        {
            name: torch.ones_like(one) / one[0].numel() if one.ndim == 4 else one
            for name, one in net.state_dict().items()
        }
    )
    spots = torch.zeros(3, 149, 470)
    spots[0, 60, 200] = spots[1, 60, 280] = spots[2, 100, 200] = 5
    with torch.inference_mode():
        low, later, high = net.eval().levels(spots).mean(dim=(2, 3))
    torch.testing.assert_close(low, later)
    assert not torch.allclose(low, high, rtol=1e-4)


def test_values_have_names_and_onsets_are_the_eighth() -> None:
    assert midlevel.names() == (
        *("melodiousness", "articulation", "rhythm complexity", "rhythm stability", "dissonance", "tonal stability"),
        "minorness",
    )
    assert midlevel.names(onsets=True) == (*midlevel.names(), "onset density")
    torch.manual_seed(0)
    both, waveform = CpResnetWithOnsets(7, CHANNELS).eval(), noise(rows=1)
    alone = CpResnet(7, CHANNELS).eval()
    alone.load_state_dict(both.state_dict())  # one file serves both
    values = both(waveform)
    torch.testing.assert_close(values[:, :7], alone(waveform))
    assert torch.equal(values[:, 7:], both.onset_density(waveform))
    assert values.requires_grad


def test_segments_are_of_15_s_and_begin_every_5(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOCLIM_HOME", str(folder))
        encoder = load_encoder("midlevel", checkpoint=untrained_file("midlevel", {}, 0))
    assert (encoder.segment_seconds, encoder.hop_seconds, encoder.spec.dim) == (15.0, 5.0, 7)
