import csv
import math
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from emoclim.data.labels.taxonomy import PARTNERS
from emoclim.data.manifest import Item
from emoclim.encoders import timbre as encoder
from emoclim.encoders.nets import timbre
from emoclim.encoders.nets.timbre import SAMPLE_RATE
from emoclim.errors import EncoderError

LENGTH = 5 * SAMPLE_RATE
TIME = torch.arange(LENGTH) / SAMPLE_RATE


@pytest.fixture(scope="module")
def listen() -> timbre.Listen:
    return timbre.Listen()


def noise(seed: int = 0) -> Tensor:
    return 0.1 * torch.randn(LENGTH, generator=torch.Generator().manual_seed(seed))


def tone(pitch: float) -> Tensor:
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    return torch.stack([(2 * math.pi * k * frequency * TIME).sin() / k**2 for k in (1, 2, 3)]).sum(0)


def chord(*pitches: float) -> Tensor:
    return 0.1 * torch.stack([tone(pitch) for pitch in pitches]).sum(0)


def clicks(tempo: float) -> Tensor:
    beat = TIME * tempo / 60 % 1 * 60 / tempo  # seconds since the last beat
    return noise() * 5 * (-beat * 80).exp() + 0.001 * noise(1)


def test_groups_are_the_columns_of_the_feature() -> None:
    bank = timbre.timbre_statistics()
    assert bank(torch.stack([noise(), clicks(100)])).shape == (2, encoder.load().spec.dim)
    columns = [column for group in bank.groups.values() for column in range(group.start, group.stop)]
    widths = {name: group.stop - group.start for name, group in bank.groups.items()}
    assert widths == {name: len(names) for name, names in encoder.NAMES.items()}
    assert columns == list(range(encoder.DIM))


@pytest.mark.parametrize(
    ("louder", "softer", "name"),
    [
        (chord(69), chord(63), "pitch class A"),
        (chord(60, 64), chord(60, 66), "major thirds"),
        (chord(60, 64, 67), chord(60, 63, 67), "major over minor"),
        (clicks(89), clicks(140), "pulse at 89 BPM"),
        (clicks(160), clicks(80), "tempo"),
        (2 * noise(), noise(), "level"),
        (noise() + chord(57), noise(), "level at 490 Hz"),
        (noise(), chord(60), "spectral centroid"),
    ],
)
def test_a_name_is_that_of_what_it_tells(louder: Tensor, softer: Tensor, name: str) -> None:
    more, less = timbre.timbre_statistics()(torch.stack([louder, softer]))[:, encoder.names().index(name)]
    assert more > less


def test_cepstrum_is_that_of_torchaudio(listen: timbre.Listen) -> None:
    sizes = {"n_fft": timbre.N_FFT, "hop_length": timbre.HOP_LENGTH, "n_mels": timbre.N_MELS, "f_min": 40.0}
    reference = torchaudio.transforms.MFCC(SAMPLE_RATE, timbre.N_MFCC + 1, melkwargs=sizes)
    expected = reference(noise()[None])[:, 1:]
    torch.testing.assert_close(listen(noise()[None]).cepstrum, expected, atol=1e-2, rtol=0)


def test_transposed_chord_rotates_the_pitch_classes(listen: timbre.Listen) -> None:
    rows = [timbre.pitch_classes(listen(chord(60 + step, 64 + step, 67 + step)[None]))[0] for step in range(0, 12, 3)]
    assert set(rows[0].topk(3).indices.tolist()) == {0, 4, 7}
    for number, row in enumerate(rows):
        assert torch.corrcoef(torch.stack([row, rows[0].roll(3 * number)]))[0, 1] > 0.97


def test_key_tells_major_from_minor_in_every_key(listen: timbre.Listen) -> None:
    for tonic in (57, 60, 63, 66):
        major = chord(*(tonic + step for step in (0, 0, 4, 7, 5, 9, 11)))
        minor = chord(*(tonic + step for step in (0, 0, 3, 7, 5, 8, 7)))
        difference = timbre.key(listen(torch.stack([major, minor])))[:, 2]
        assert difference[0] > 0.05
        assert difference[1] < -0.05


def test_cluster_is_tighter_than_a_triad(listen: timbre.Listen) -> None:
    triad, cluster = timbre.intervals(listen(torch.stack([chord(60, 64, 67), chord(60, 61, 62)])))
    assert cluster[0] > triad[0] + 0.1  # one semitone apart
    assert triad[3] > cluster[3] + 0.1  # four semitones apart


def test_octave_is_one_unit_of_the_centroid(listen: timbre.Listen) -> None:
    waveforms = torch.stack([0.3 * (2 * math.pi * 500 * 2**octave * TIME).sin() for octave in range(4)])
    centroid, rolloff = timbre.shape(listen(waveforms))[:, [0, 2]].T
    torch.testing.assert_close(centroid.diff(), torch.ones(3), atol=0.05, rtol=0)
    assert (rolloff.diff() > 0.6).all()


def test_noise_is_flat_and_a_chord_has_contrast(listen: timbre.Listen) -> None:
    view = listen(torch.stack([noise(), chord(60, 64, 67)]))
    flatness, contrast = timbre.shape(view)[:, 3], timbre.contrast(view)[:, 2]
    assert flatness[0] > flatness[1] + 20
    assert contrast[1] > contrast[0] + 20


@pytest.mark.parametrize("frequency", [100.0, 1000.0])
def test_zero_crossings_of_a_sine(listen: timbre.Listen, frequency: float) -> None:
    root = timbre.change(listen((2 * math.pi * frequency * TIME + 0.1).sin()[None]))[0, 2]
    assert float(root) ** 2 == pytest.approx(2 * frequency / SAMPLE_RATE, rel=0.02)


def test_louder_sound_changes_its_level_only(listen: timbre.Listen) -> None:
    waveform = (noise() + chord(60, 64, 67) + clicks(110))[None]
    soft, loud = listen(waveform), listen(2 * waveform)
    assert float((timbre.level(loud) - timbre.level(soft))[0, 0]) == pytest.approx(20 * math.log10(2), abs=0.02)
    for statistic in (timbre.mfcc, timbre.shape, timbre.tempo, timbre.pitch_classes):
        torch.testing.assert_close(statistic(loud), statistic(soft), atol=0.02, rtol=0.01)


def test_trend_follows_a_crescendo(listen: timbre.Listen) -> None:
    ramp = 10 ** (torch.linspace(-20, 0, LENGTH) / 20)
    rising, falling, even = timbre.level(listen(torch.stack([noise() * ramp, noise() * ramp.flip(0), noise()])))[:, 2]
    assert float(rising) == pytest.approx(10, abs=0.5)  # dB per half a segment
    assert float(falling) == pytest.approx(-10, abs=0.5)
    assert abs(float(even)) < 0.3


def test_tempo_of_clicks(listen: timbre.Listen) -> None:
    tempos = [80.0, 100.0, 120.0, 150.0]
    found = timbre.tempo(listen(torch.stack([clicks(tempo) for tempo in tempos])))
    expected = torch.tensor(tempos).log2()
    torch.testing.assert_close(found[:, 9], expected, atol=0.25, rtol=0)
    assert (found[:, 9].diff() > 0).all()
    assert (found[:, 8] > 0.6).all()


def test_faster_clicks_are_more_onsets_and_noise_has_no_pulse(listen: timbre.Listen) -> None:
    view = listen(torch.stack([clicks(75), clicks(150), noise()]))
    onsets, clarity = timbre.onset_strength(view)[:, 3], timbre.tempo(view)[:, 8]
    assert float(onsets[0]) == pytest.approx(75 / 60, rel=0.25)
    assert float(onsets[1]) == pytest.approx(150 / 60, rel=0.25)
    assert clarity[2] < 0.4


def test_feature_does_not_depend_on_the_rest_of_the_batch() -> None:
    bank = timbre.timbre_statistics()
    batch = torch.stack([noise(), clicks(90), chord(60, 63, 67)])
    torch.testing.assert_close(bank(batch), torch.cat([bank(row[None]) for row in batch]), atol=1e-4, rtol=0)


def awkward(name: str) -> Tensor:
    click = torch.zeros(LENGTH)
    click[LENGTH // 2] = 1.0
    return {
        "silence": torch.zeros(LENGTH),
        "constant": torch.ones(LENGTH),
        "click": click,
        "half silent": noise() * (TIME > 2.5),
        "far too loud": 10_000 * noise(),
        "square": (2 * math.pi * 440 * TIME).sin().sign(),
        "faint": 1e-9 * noise(),
    }[name]


@pytest.mark.parametrize("name", ["silence", "constant", "click", "half silent", "far too loud", "square", "faint"])
def test_awkward_sounds_have_finite_features_and_slopes(name: str) -> None:
    waveform = awkward(name)[None].clone().requires_grad_()
    feature = timbre.timbre_statistics()(waveform)
    feature.sum().backward()
    assert feature.isfinite().all()
    assert waveform.grad is not None
    assert waveform.grad.isfinite().all()


def test_following_the_slope_raises_the_statistic() -> None:
    bank = timbre.timbre_statistics()
    start = (clicks(100) + chord(60, 64, 67))[None]
    for name in ("level", "bands", "shape", "pitch_classes", "contrast"):
        waveform = start.clone().requires_grad_()
        bank(waveform)[:, bank.groups[name]].sum().backward()
        assert waveform.grad is not None
        with torch.no_grad():
            moved = start + 1e-4 * waveform.grad / waveform.grad.abs().max()
            assert bank(moved)[:, bank.groups[name]].sum() > bank(start)[:, bank.groups[name]].sum(), name


def test_encoder_cuts_a_file_into_overlapping_segments(tmp_path: Path) -> None:
    waveform = torch.cat([noise(), noise(1)])
    soundfile.write(tmp_path / "noise.flac", waveform.numpy(), SAMPLE_RATE)
    made = encoder.load()
    item = Item("noise", path=tmp_path / "noise.flac")
    segments = torch.cat(list(made.prepare(item)))
    assert segments.shape == (3, LENGTH)
    assert made.hop_seconds == 2.5
    torch.testing.assert_close(segments[1], waveform[LENGTH // 2 : LENGTH * 3 // 2], atol=1e-4, rtol=0)
    assert made.crop(item, torch.Generator().manual_seed(0)).shape == made.input_shape
    assert not made.module.training


def test_spec_tells_settings_apart_and_holds_the_version() -> None:
    spec = encoder.load().spec
    assert (spec.checkpoint, spec.settings["version"]) == ("none", encoder.VERSION)
    digests = {spec.digest(), encoder.load(overlap=0.0).spec.digest(), encoder.load(length=48_000).spec.digest()}
    assert len(digests) == 3


def test_encoder_can_be_sent_to_a_worker() -> None:
    sent = pickle.loads(pickle.dumps(encoder.load(length=32_000)))
    assert sent.module(torch.zeros(1, 32_000)).shape == (1, encoder.DIM)


@pytest.mark.parametrize("overlap", [-0.1, 1.0, math.nan])
def test_overlap_is_refused(overlap: float) -> None:
    with pytest.raises(EncoderError, match="timbre takes an overlap from 0 up to"):
        encoder.load(overlap=overlap)


def test_short_segment_is_refused() -> None:
    with pytest.raises(EncoderError, match="from 32000 to 9600000 samples, not 16000"):
        encoder.load(length=16_000)


def test_music_is_told_apart_above_chance_by_no_single_value(shared: Path) -> None:
    with (shared / "corpus" / "audio.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in PARTNERS.values()]
    rows = [row for row in rows if row["split"] == "test"] + [row for row in rows if row["split"] == "train"][::2]
    made = encoder.load(overlap=0.0)
    with torch.inference_mode():
        items = (Item(row["path"], path=shared / "corpus" / row["path"]) for row in rows)
        features = torch.stack([torch.cat([made.module(b) for b in made.prepare(item)]).mean(0) for item in items])
    unit = torch.nn.functional.normalize(features, dim=1).numpy()
    assert (unit**2).mean(0).max() < 0.05
    labels, test = np.array([row["label"] for row in rows]), np.array([row["split"] == "test" for row in rows])
    model = LogisticRegression(max_iter=1000).fit(unit[~test], labels[~test])
    assert balanced_accuracy_score(labels[test], model.predict(unit[test])) > 0.3  # chance is 0.17
