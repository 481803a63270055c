"""A small encoder of sound with all that makes one hard to train, one of text, what they take, and their trainings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from objective_cases import emo_clim
from torch import Tensor, nn

from emoclim.config import TrainConfig
from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.data.manifest import Item
from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.text_encoder import TextEncoder
from emoclim.learning.epochs import Callbacks
from emoclim.learning.settings import EncoderTuning
from emoclim.modality import Modality
from emoclim.stages.encoder_training import JointTraining, LabelledItems, LiveModality, train_end_to_end

CPU = torch.device("cpu")
RATE, LENGTH, DIM = 8_000, 1_000, 16
CLASSES = ("calm", "tense")
WORDS = "sea storm lake war moon fight sleep fear soft loud".split()  # one of each class by turns
EVEN = (0.25, 0.25, 0.25, 0.25)
IMAGE = FeatureSpec("clip", "image", 12, "none", {})
AUDIO = FeatureSpec("small", "audio", DIM, "none", {"length": LENGTH, "precision": "fp32"})
TEXT = FeatureSpec("words", "text", DIM, "none", {"length": 8, "precision": "fp32"})
QUICK = TrainConfig(
    epochs=3,
    batches_per_epoch=4,
    val_batches=2,
    batch_size=8,
    hidden_dim=16,
    embedding_dim=16,
    learning_rate=1e-3,
    dropout=0.0,
)


class SmallNet(nn.Module):
    """Two convolutions with batch normalisation, a fixed parameter, and a last layer that comes after the feature."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([3.0]), requires_grad=False)
        self.layer1 = nn.Sequential(nn.Conv1d(1, 8, 32, stride=8), nn.BatchNorm1d(8), nn.ReLU())
        self.layer2 = nn.Conv1d(8, DIM, 5, stride=2)
        self.bn = nn.BatchNorm1d(DIM)
        self.drop = nn.Dropout(0.5)
        self.tags = nn.Linear(DIM, 3)

    def forward(self, waveforms: Tensor) -> Tensor:
        hidden = self.bn(self.layer2(self.layer1(self.scale * waveforms[:, None])))
        return self.drop(hidden.relu().mean(dim=2))


def make_net() -> SmallNet:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return SmallNet()


def make_encoder() -> AudioEncoder:
    return AudioEncoder(AUDIO, RATE, LENGTH, 0.0, make_net)


class SmallTextNet(nn.Module):
    """Vectors of words, and a layer on their mean over what is not filled up."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(1 + len(WORDS), DIM)
        self.layer = nn.Linear(DIM, DIM)
        self.norm = nn.LayerNorm(DIM)

    def forward(self, ids: Tensor) -> Tensor:
        known = (ids > 0).float()[..., None]
        return self.norm(self.layer((self.words(ids) * known).sum(1) / known.sum(1).clamp(min=1)))


def make_text_net() -> SmallTextNet:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return SmallTextNet()


def tokenize(passage: str) -> list[int]:
    return [1 + WORDS.index(word) for word in passage.split()]


def make_text_encoder() -> TextEncoder:
    return TextEncoder(TEXT, 8, tokenize, make_text_net)


@dataclass(frozen=True)
class Material:
    """Splits of image features, the recordings and texts that go with them, and where the recordings lie."""

    train: Split
    val: Split
    recordings: dict[str, LabelledItems]
    texts: dict[str, LabelledItems]

    def live(self, *modalities: Modality, **how: Any) -> list[LiveModality]:
        """Modalities that are encoded while training."""
        parts = {"audio": (make_encoder, self.recordings), "text": (make_text_encoder, self.texts)}
        return [
            LiveModality(make(), items["train"], items["val"], **how)
            for make, items in map(parts.__getitem__, modalities)
        ]


def make_material(folder: Path, seconds: float = 0.5, n: int = 12, words: int = 30) -> Material:
    """Tones of two pitches in noise; the images lean towards one direction per class; texts have words of each."""
    generator, drawn = np.random.default_rng(2), np.random.default_rng(4)
    splits, recordings, texts = {}, {}, {}
    for name in ("train", "val"):
        labels = torch.arange(n) % len(CLASSES)
        values = generator.standard_normal((n, IMAGE.dim)).astype(np.float32) + 2 * labels[:, None].float().numpy()
        features = Features(IMAGE, tuple(map(str, range(n))), torch.from_numpy(values))
        pairs = torch.arange(n)
        splits[name] = Split({"image": features}, {"image": labels}, CLASSES, pairs={"image": pairs})
        items = [write_tone(folder / f"{name}-{i}.wav", 300 * (1 + int(labels[i])), seconds, i) for i in range(n)]
        recordings[name] = LabelledItems(items, labels.clone(), pairs=pairs)
        prose = [" ".join(WORDS[2 * int(k) + int(labels[i])] for k in drawn.integers(0, 5, words)) for i in range(n)]
        texts[name] = LabelledItems([Item(f"{name}-{i}", text=prose[i]) for i in range(n)], labels.clone(), pairs=pairs)
    return Material(splits["train"], splits["val"], recordings, texts)


def write_tone(path: Path, pitch: float, seconds: float, seed: int) -> Item:
    time = np.arange(round(seconds * RATE)) / RATE
    noise = 0.3 * np.random.default_rng(seed).standard_normal(len(time))
    soundfile.write(path, (0.3 * np.sin(2 * np.pi * pitch * time) + noise).astype(np.float32), RATE, subtype="FLOAT")
    return Item(path.stem, path)


def train(material: Material, config: TrainConfig = QUICK, tuning: Any = None, **changes: Any) -> JointTraining:
    """`tuning`: an EncoderTuning, or settings of one."""
    settings = (
        tuning if isinstance(tuning, EncoderTuning) else EncoderTuning(learning_rate=1e-2).updated(**(tuning or {}))
    )
    making = {name: changes.pop(name) for name in ("source", "augment") if name in changes}
    live = material.live(*changes.pop("modalities", ("audio",)), **making)
    if encoder := changes.pop("encoder", None):
        live = [replace(live[0], encoder=encoder)]
    callbacks = Callbacks(**{name: changes.pop(name) for name in ("track", "keep", "watch") if name in changes})
    given: dict[str, Any] = {"objective": emo_clim(), "weights": EVEN, "callbacks": callbacks, **changes}
    return train_end_to_end(material.train, material.val, live, config=config, tuning=settings, device=CPU, **given)


def tensors(training: JointTraining) -> dict[str, Tensor]:
    """Every parameter and statistic that is kept."""
    banks = {
        f"{modality}.{name}": tensor
        for modality, bank in training.banks.items()
        for name, tensor in bank.state_dict().items()
    }
    encoders = {
        f"encoder.{own}.{name}": tensor for own, state in training.encoders.items() for name, tensor in state.items()
    }
    return banks | encoders


def differences(one: JointTraining, other: JointTraining) -> Sequence[str]:
    """Names of what differs by a bit, the losses among them."""
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    for name in ("train_loss", "val_loss", "val_terms"):
        equal = torch.equal(getattr(one.history, name), getattr(other.history, name))
        differing += [] if equal else [name]
    return differing
