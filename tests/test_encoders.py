"""Every encoder that there is keeps every promise of an encoder."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import soundfile
import torch
from encoder_contract import EncoderContract
from pseudo_weights import TINY_CLIP, pseudo_random, register_tiny_clip
from torch import Tensor

from emoclim.data.manifest import Item, Modality
from emoclim.encoders import checkpoints, clap, clip
from emoclim.encoders.base import Encoder, encoder_names, find_encoder, load_encoder
from emoclim.errors import CheckpointError, EncoderError
from emoclim.features import Setting
from emoclim.nets.harmonic_cnn import HarmonicCnn
from emoclim.nets.musicnn import Musicnn
from emoclim.nets.short_chunk_cnn import ShortChunkCnn

Settings = Mapping[str, Setting]


@dataclass(frozen=True)
class Case:
    """What the tests need to know of one encoder.

    `tensors` are written to its checkpoint; `settings` make it small; `changes` gives each of its settings another
    value, or None where a setting acts on the numbers through the checkpoint only.
    """

    tensors: Callable[[], Mapping[str, Tensor]] | None = None
    settings: Settings = field(default_factory=dict)
    changes: Mapping[str, Setting | None] = field(default_factory=dict)


def clap_tensors() -> Mapping[str, Tensor]:
    tensors = pseudo_random(clap.bare_tower("tiny").state_dict())
    window = torch.hann_window(1024)
    tensors["audio_branch.spectrogram_extractor.stft.conv_real.weight"][0, 0] = window
    tensors["audio_branch.logmel_extractor.melW"].abs_()
    return tensors


def clip_tensors() -> Mapping[str, Tensor]:
    return {f"visual.{name}": tensor for name, tensor in pseudo_random(clip.bare_tower(TINY_CLIP).state_dict()).items()}


def harmonic_cnn_tensors() -> Mapping[str, Tensor]:
    return pseudo_random(HarmonicCnn().state_dict()) | {"hstft.bw_Q": torch.ones(1)}


CASES = {
    "clap": Case(clap_tensors, changes={"model": "630k_audioset", "overlap": 0.5}),
    "clip": Case(
        clip_tensors,
        settings={"model": TINY_CLIP, "pretrained": "none"},
        changes={"model": "ViT-B-32-quickgelu", "pretrained": None},
    ),
    "colour": Case(changes={"size": 128}),
    "harmonic_cnn": Case(harmonic_cnn_tensors, changes={"overlap": 0.5}),
    "musicnn": Case(lambda: pseudo_random(Musicnn().state_dict()), changes={"overlap": 0.5}),
    "short_chunk_cnn": Case(lambda: pseudo_random(ShortChunkCnn().state_dict()), changes={"overlap": 0.5}),
    "timbre": Case(changes={"length": 48_000, "overlap": 0.75}),
}


@dataclass(frozen=True)
class Subject:
    """One encoder with a checkpoint of its own."""

    name: str
    case: Case
    named: Mapping[str, Path]

    def load(self, **changes: Setting) -> Encoder:
        return load_encoder(self.name, **self.named, **{**self.case.settings, **changes})


def make_subject(name: str, case: Case, folder: Path) -> Subject:
    """Write the checkpoint, or fail and say what this file lacks."""
    parameters = inspect.signature(find_encoder(name).load).parameters.keys()
    if unnamed := parameters - {"checkpoint"} - case.changes.keys():
        pytest.fail(f"give CASES[{name!r}] in {Path(__file__).name} another value for its settings {sorted(unnamed)}")
    if "checkpoint" not in parameters:
        return Subject(name, case, {})
    if case.tensors is None:
        pytest.fail(f"give CASES[{name!r}] in {Path(__file__).name} the tensors of a checkpoint")
    path = folder / f"{name}.pt"
    torch.save(dict(case.tensors()), path)
    return Subject(name, case, {"checkpoint": path})


def write_items(modality: Modality, folder: Path) -> Sequence[Item]:
    generator = np.random.default_rng(0)
    if modality == "image":
        for name, shape in {"wide": (90, 160, 3), "small": (20, 13, 3)}.items():
            PIL.Image.fromarray(generator.integers(0, 256, shape, np.uint8)).save(folder / f"{name}.png")
        return [Item(name, folder / f"{name}.png") for name in ("wide", "small")]
    if modality == "audio":
        for name, seconds in {"long": 21.0, "short": 1.3}.items():
            noise = 0.1 * generator.standard_normal((int(seconds * 22_050), 2))
            soundfile.write(folder / f"{name}.flac", noise * np.linspace(0.1, 1, len(noise))[:, None], 22_050)
        return [Item(name, folder / f"{name}.flac") for name in ("long", "short")]
    pytest.fail(f"write items of modality {modality!r} in {Path(__file__).name}")


@pytest.fixture(scope="module", params=encoder_names())
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp(request.param)
    register_tiny_clip(folder)
    return make_subject(request.param, CASES.get(request.param, Case()), folder)


@pytest.fixture(scope="module")
def encoder(subject: Subject) -> Encoder:
    return subject.load()


@pytest.fixture(scope="module")
def again(subject: Subject) -> Encoder:
    return subject.load()


@pytest.fixture(scope="module")
def changed(subject: Subject) -> Sequence[Encoder]:
    return [subject.load(**{key: value}) for key, value in subject.case.changes.items() if value is not None]


@pytest.fixture(scope="module")
def items(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Item]:
    return write_items(find_encoder(subject.name).MODALITY, tmp_path_factory.mktemp("items"))


class TestEveryEncoder(EncoderContract):
    def test_the_spec_bears_the_encoders_name_and_modality(self, subject: Subject, encoder: Encoder) -> None:
        assert (encoder.spec.name, encoder.spec.modality) == (subject.name, find_encoder(subject.name).MODALITY)

    def test_an_unknown_setting_is_refused(self, subject: Subject) -> None:
        with pytest.raises(EncoderError, match=f"encoder '{subject.name}' has no setting flavour; it takes"):
            subject.load(flavour="sweet")

    def test_a_checkpoint_goes_with_parameters(self, subject: Subject, tmp_path: Path) -> None:
        if subject.named:
            assert subject.load().spec.checkpoint == checkpoints.identity(subject.named["checkpoint"])
            with pytest.raises(CheckpointError, match="no checkpoint at"):
                load_encoder(subject.name, checkpoint=tmp_path / "absent.pt", **subject.case.settings)
        else:
            with pytest.raises(EncoderError, match="has no parameters; leave out the checkpoint"):
                load_encoder(subject.name, checkpoint=tmp_path / "any.pt")

    def test_parameters_are_published_somewhere(self, subject: Subject) -> None:
        if subject.named:
            published = find_encoder(subject.name).published()
            assert published.url.startswith("https://")
            assert published.licence
            assert published.trained_on


@pytest.mark.parametrize(
    ("case", "lacking"),
    [(Case(), r"settings \['overlap'\]"), (Case(changes={"overlap": 0.5}), "tensors of a checkpoint")],
)
def test_an_encoder_that_this_file_does_not_know_fails_and_says_why(case: Case, lacking: str, tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match=rf"give CASES\['musicnn'\] in test_encoders.py .*{lacking}"):
        make_subject("musicnn", case, tmp_path)


def test_a_name_that_is_no_encoder_is_told() -> None:
    with pytest.raises(EncoderError, match="no encoder is called 'base'; there are: .*clip"):
        load_encoder("base")
