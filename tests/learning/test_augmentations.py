"""Augmented crops: as loud as was drawn, from the crop's own generator, and in training only."""

import logging
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from small_encoder import CPU, LENGTH, QUICK, RATE, Material, differences, make_encoder, make_material, train
from torch import Tensor

from emoclim.data.content import ContentKeys
from emoclim.errors import ConfigError, DecodeError, MissingLibrary
from emoclim.learning.end_to_end.augment import Augmenter
from emoclim.learning.end_to_end.backgrounds import Backgrounds, read_backgrounds
from emoclim.learning.end_to_end.crops import CropLoader, CropMaker
from emoclim.learning.end_to_end.encoder_trainer import JointLearner
from emoclim.learning.epochs import Snapshot
from emoclim.learning.sampling import Batch
from emoclim.learning.settings import Augmentations
from emoclim.progress import silent
from emoclim.seeding import generator_for

library = pytest.importorskip("audiomentations", reason="augmentations need the extra [augment]")

CLEAN = 0.1 * torch.randn(LENGTH, generator=torch.Generator().manual_seed(3))
ALWAYS: dict[str, Any] = {"gaussian_probability": 1.0, "background_probability": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sounds of other rates, lengths, channels and formats."""
    place = tmp_path_factory.mktemp("sounds")
    (place / "deeper").mkdir()
    for n, (name, rate, seconds, channels) in enumerate(
        (
            ("long.wav", RATE, 3.0, 1),
            ("wide.flac", 44_100, 1.0, 2),
            ("short.wav", RATE, 0.07, 1),
            ("deeper/low.ogg", 8_000, 2.0, 1),
        )
    ):
        write_noise(place / name, n, rate, seconds, channels)
    (place / "read me.txt").write_text("no sound")
    (place / ".hidden.wav").write_text("no sound")
    return place


def write_noise(path: Path, seed: int, rate: int = RATE, seconds: float = 1.0, channels: int = 1) -> None:
    noise = np.random.default_rng(seed).standard_normal((round(rate * seconds), channels))
    loudness = np.linspace(0.01, 0.2, len(noise))[:, None]  # it grows: the power of a part is not that of another
    soundfile.write(path, noise * loudness, rate)


def read(folder: Path) -> Backgrounds:
    return read_backgrounds(folder, "audio", RATE, LENGTH / RATE, ContentKeys(), silent)


def make(folder: Path | None = None, files: list[Path] | None = None, **settings: Any) -> Augmenter:
    if folder is not None:
        settings["background"] = folder
        files = files or list(read(folder).files)
    return Augmenter(Augmentations(**settings), files or [], RATE, LENGTH)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ratio(crop: Tensor, mix: Tensor) -> float:
    """Of the powers of a crop and of what was added to it, in dB."""
    return float(10 * (crop.square().mean() / (mix - crop).square().mean()).log10())


@pytest.mark.parametrize("decibels", [-5.0, 3.0, 20.0, 40.0])
def test_what_is_added_has_the_ratio_that_was_asked_for(folder: Path, decibels: float) -> None:
    both = {"gaussian_snr": make(gaussian_snr=(decibels, decibels), **ALWAYS)}
    both |= {
        str(file): make(folder, [file], background_snr=(decibels, decibels), **ALWAYS) for file in read(folder).files
    }
    for augment in both.values():
        for seed in range(5):
            mix = augment(CLEAN, seeded(seed))
            assert mix.dtype == torch.float32
            assert ratio(CLEAN, mix) == pytest.approx(decibels, abs=0.5)


@pytest.mark.parametrize("name", ["gaussian_snr", "background_snr"])
def test_ratios_spread_over_their_range(folder: Path, name: str) -> None:
    augment = make(folder if name == "background_snr" else None, **{name: (5, 40)}, **ALWAYS)
    found = torch.tensor([ratio(CLEAN, augment(CLEAN, seeded(seed))) for seed in range(200)])
    assert found.min() > 4.5
    assert found.max() < 40.5
    assert abs(float(found.mean()) - 22.5) < 2.5  # four deviations of the mean
    assert abs(float(found.std()) - 35 / 12**0.5) < 2


def test_sounds_come_first_and_noise_is_by_the_mix(folder: Path) -> None:
    settings: dict[str, Any] = {"gaussian_snr": (10, 10), "background_snr": (-20, -20), **ALWAYS}
    alone = make(folder, **(settings | {"gaussian_snr": None}))(CLEAN, seeded(1))
    mix = make(folder, **settings)(CLEAN, seeded(1))
    assert ratio(CLEAN, alone) == pytest.approx(-20, abs=0.5)
    assert ratio(alone, mix) == pytest.approx(10, abs=0.5)
    noise = make(gaussian_snr=(10, 10), **ALWAYS)(CLEAN, seeded(1)) - CLEAN  # the same noise, by another power
    assert torch.nn.functional.cosine_similarity(mix - alone, noise, dim=0) > 0.999


@pytest.mark.parametrize(("probability", "least", "most"), [(0, 0, 0), (1, 200, 200), (0.8, 136, 184)])
def test_probabilities_are_those_of_crops(folder: Path, probability: float, least: int, most: int) -> None:
    for augment in (
        make(gaussian_snr=(5, 40), gaussian_probability=probability),
        make(folder, background_probability=probability),
    ):
        mixes = [augment(CLEAN, seeded(seed)) for seed in range(200)]
        assert least <= sum(not torch.equal(mix, CLEAN) for mix in mixes) <= most


def test_the_generator_decides_and_global_ones_are_as_they_were(folder: Path) -> None:
    augment = make(folder, gaussian_snr=(5, 40), **ALWAYS)
    first, again, other = (augment(CLEAN, seeded(seed)) for seed in (4, 4, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    random.seed(7)
    np.random.seed(8)  # noqa: NPY002 - what others may do
    torch.manual_seed(9)
    states = random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state()  # noqa: NPY002
    assert torch.equal(augment(CLEAN, seeded(4)), first)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tobytes() == states[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), states[2])


def test_global_generators_are_as_they_were_after_an_error_too(tmp_path: Path) -> None:
    write_noise(tmp_path / "gone.wav", 0)
    augment = make(tmp_path, **ALWAYS)
    (tmp_path / "gone.wav").unlink()
    before = random.getstate(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    with pytest.raises(DecodeError, match=r"background sound \S+gone.wav cannot be decoded any more \(.*System error"):
        augment(CLEAN, seeded(0))
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == before  # noqa: NPY002


def test_the_first_crop_of_a_process_is_no_other(folder: Path) -> None:
    """What libraries do when they are loaded, or first used, moves nothing."""
    augment = make(folder, [folder / "wide.flac"], gaussian_snr=(5, 40), **ALWAYS)
    expected = augment(CLEAN, seeded(6))
    script = (
        "import pickle, sys, torch\n"
        "augment, crop = pickle.load(sys.stdin.buffer)\n"
        "mix = augment(crop, torch.Generator().manual_seed(6))\n"
        "sys.stdout.buffer.write(mix.numpy().tobytes())"
    )
    given = pickle.dumps((augment, CLEAN))
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], input=given, capture_output=True, check=True)
    assert done.stdout == expected.numpy().tobytes()
    assert done.stderr == b""


def test_neither_names_nor_places_of_sounds_decide(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "x" / "y").mkdir(parents=True)
    for n, file in enumerate(sorted(read(folder).files, reverse=True)):
        shutil.copy(file, tmp_path / ("x/y", "x", ".")[n % 3] / f"{n}{file.suffix.upper()}")
    assert read(tmp_path).digest == read(folder).digest
    augments = make(folder, **ALWAYS), make(tmp_path, **ALWAYS)
    for seed in range(20):
        first, second = (augment(CLEAN, seeded(seed)) for augment in augments)
        assert torch.equal(first, second)
    write_noise(tmp_path / "x" / "0.wav", 10)
    assert read(tmp_path).digest != read(folder).digest


def test_silence_stays_silence_and_silent_sounds_add_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    with caplog.at_level(logging.WARNING):
        augment = make(tmp_path, **ALWAYS)
        assert torch.equal(augment(CLEAN, seeded(0)), CLEAN)
    (told,) = [record.getMessage() for record in caplog.records]
    assert "1 of 1 background sounds" in told
    assert "are silent and add nothing" in told
    write_noise(tmp_path / "silent.wav", 0)
    augment = make(tmp_path, gaussian_snr=(5, 40), **ALWAYS)
    nothing = torch.zeros(LENGTH)
    assert torch.equal(augment(nothing, seeded(0)), nothing)


def test_sounds_of_another_rate_are_told_once(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        make(folder, **ALWAYS)(CLEAN, seeded(0))
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(
        f"1 of 4 background sounds ({folder / 'wide.flac'} first) are not at {RATE} Hz, and resampled"
    )


def cut(path: Path, suffix: str) -> None:
    whole = path.with_name(f"whole{suffix}")
    soundfile.write(whole, np.random.default_rng(0).standard_normal(4 * RATE) / 10, RATE)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    whole.unlink()


BROKEN: dict[str, Callable[[Path], object]] = {
    "text.wav": lambda path: path.write_text("no sound"),
    "empty.flac": lambda path: path.write_bytes(b""),
    "cut.flac": lambda path: cut(path, ".flac"),
    "cut.mp3": lambda path: cut(path, ".mp3"),
    "none.wav": lambda path: soundfile.write(path, np.zeros(0), RATE),
    "holes.wav": lambda path: soundfile.write(path, np.full(RATE, np.nan), RATE, subtype="FLOAT"),
    "phone.m4a": lambda path: path.write_bytes(b"\0\0\0\x20ftypM4A "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_sound_that_cannot_be_decoded_is_named_before_anything_begins(tmp_path: Path, name: str) -> None:
    write_noise(tmp_path / "a.wav", 0)
    BROKEN[name](tmp_path / name)
    with pytest.raises(
        ConfigError, match=rf"background sound \S+{name} cannot be decoded \(.+\); mend it or take it out"
    ):
        read(tmp_path)


def test_folders_without_sounds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder .*missing of background sounds; name another"):
        read(tmp_path / "missing")
    (tmp_path / "read me.txt").write_text("no sound")
    with pytest.raises(ConfigError, match="folder .* holds no background sound; add some, or name another"):
        read(tmp_path)


def test_settings_that_cannot_be_are_refused() -> None:
    assert not Augmentations()
    for settings, told in (
        ({"gaussian_snr": [40, 5]}, r"gaussian_snr = \[40, 5\] is not possible; give two numbers, the lower one"),
        ({"gaussian_snr": 5}, "gaussian_snr = 5 is not possible"),
        ({"gaussian_snr": [5, "loud"]}, "gaussian_snr.1 = 'loud' is not possible"),
        ({"gaussian_snr": [0, float("inf")]}, "gaussian_snr.1 = inf is not possible"),
        ({"background": 3}, "background = 3 is not possible; it is not a valid path"),
        ({"background": "x", "background_probability": 1.5}, "background_probability = 1.5 is not possible"),
        ({"background_probability": 0.5}, "background_probability would have no effect without background; give that"),
        ({"gaussian_probability": 0.5}, "gaussian_probability would have no effect without gaussian_snr"),
        ({"gaussian_snr": (5.0,)}, "gaussian_snr takes more values"),
        ({"backgrounds": "x"}, r"no setting is called 'backgrounds' \(did you mean 'background'\?\)"),
    ):
        with pytest.raises(ConfigError, match=told):
            Augmentations(**settings).require_switches()
    full = Augmentations(gaussian_snr=(5, 40), background=Path("sounds"))
    assert Augmentations(**full.model_dump(mode="json")) == full
    assert Augmentations(**Augmentations().model_dump(mode="json")) == Augmentations()


def test_who_lacks_the_library_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "audiomentations", None)
    with pytest.raises(MissingLibrary, match=r"pip install 'emoclim\[augment\]'"):
        make(gaussian_snr=(5, 40))


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return make_material(tmp_path_factory.mktemp("tones"))


def test_excerpts_are_those_of_training_without(material: Material, folder: Path) -> None:
    items, encoder = material.recordings["train"].items, make_encoder()
    asked = Batch({"audio": torch.arange(8)[:, None]}, {"audio": torch.zeros(8, dtype=torch.int64)})
    places: dict[str, Any] = {"seed": 0, "workers": 0, "device": CPU}
    augment = make(folder, gaussian_snr=(20, 20), background_snr=(20, 20), **ALWAYS)
    (clean,) = CropLoader([CropMaker(encoder, items)], **places).fill([asked], "crop", augmented=True)
    loader = CropLoader([CropMaker(encoder, items, augment=augment)], **places)
    (mixed,) = loader.fill([asked], "crop", augmented=True)
    (unmixed,) = loader.fill([asked], "crop")
    assert torch.equal(clean.rows["audio"], unmixed.rows["audio"])
    for number, (crop, mix) in enumerate(zip(clean.rows["audio"], mixed.rows["audio"], strict=True)):
        assert ratio(crop, mix) == pytest.approx(17, abs=0.7)  # of two at 20 dB
        generator = generator_for(f"crop/0/{number}", 0)
        assert torch.equal(encoder.crop(items[number], generator), crop)
        assert torch.equal(augment(crop, generator), mix)


def test_a_sound_that_is_gone_is_told_and_the_training_goes_on(
    material: Material, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(12):
        write_noise(tmp_path / f"{n}.wav", n)
    augment = make(tmp_path, **ALWAYS)
    (tmp_path / "3.wav").unlink()
    with caplog.at_level(logging.WARNING):
        training = train(material, QUICK.updated(epochs=1), augment=augment, workers=1)
    assert any("left out: background sound" in record.getMessage() for record in caplog.records)
    assert training.history.train_loss.isfinite().all()


def test_no_byte_depends_on_workers_or_a_kill(material: Material, folder: Path) -> None:
    augment = make(folder, gaussian_snr=(5, 40), **ALWAYS)
    snapshots: list[Snapshot] = []

    def keep(snapshot: Snapshot) -> None:
        snapshots.append({name: tensor.clone() for name, tensor in snapshot.items()})

    config = QUICK.updated(epochs=2)
    whole = train(material, config, augment=augment, keep=keep)
    random.seed(1)
    assert differences(whole, train(material, config, augment=augment, workers=2)) == []
    assert differences(whole, train(material, config, augment=augment, resume=snapshots[0], workers=1)) == []
    assert "train_loss" in differences(whole, train(material, config))


def test_nothing_is_added_to_validation(material: Material, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Tensor] = []
    evaluate = JointLearner.evaluate

    def listening(learner: JointLearner, batches: Any) -> Any:
        kept = list(batches)
        heard.append(torch.cat([batch.rows["audio"] for batch in kept]))
        return evaluate(learner, kept)

    monkeypatch.setattr(JointLearner, "evaluate", listening)
    config = QUICK.updated(epochs=1)
    without = train(material, config)
    augmented = train(material, config, augment=make(folder, gaussian_snr=(5, 40), **ALWAYS))
    assert torch.equal(*heard)
    assert "train_loss" in differences(without, augmented)
    never = make(folder, gaussian_snr=(5, 40), gaussian_probability=0.0, background_probability=0.0)
    assert differences(without, train(material, config, augment=never)) == []
