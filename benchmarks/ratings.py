"""Articulation, tempo, dynamics and mode of music by a network that is trained on ratings, and its onset density.

All music is generated, and so are its ratings: for each work cues are drawn one by one, evenly over their ranges (mode:
major or minor), and the ratings of an excerpt are these cues, without error. As on instruments, what is played louder
is brighter. No listener has rated anything, so that this tells whether the way from sound to ratings works, not how
well ratings of people are predicted. There are no drums and no wrong notes, and melodies lie around F sharp 4 or
higher, where the bands of the front end tell a major third from a minor one. Works of the test have not been learnt
from.

``midlevel`` are two networks of that encoder, with one value a rating and, for a CPU, fewer channels (``--channels``;
128 are the published ones), trained end to end by ``regression`` without heads: one for articulation, tempo and
dynamics, one for mode, which beside the others is not learnt in so few steps. Their front end brings each segment to
one peak level, as published, so that of dynamics they hear what is not level. ``timbre`` are heads of ``regression``
on that encoder's features, which hear the level, too. A correlation stands with its 95 % interval over works; a goal
asks that the lower end is above 0.

Onset density is measured without training, against the moments at which tones begin: those within 30 ms, which its
peaks cannot part, are one. Correlation, and the median of its ratio to that number.
"""

import argparse
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from record import Row, command_line, publish
from torch import Tensor

from emoclim.cache.memory import MemoryCache
from emoclim.config import TrainConfig
from emoclim.data.content import ContentKeys
from emoclim.data.features import FeatureSpec, Split
from emoclim.data.generated.music import HIGHEST, LOWEST, SAMPLE_RATE, SECONDS, Style, perform
from emoclim.data.manifest import Item, Manifest
from emoclim.encoders import midlevel
from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.loading import load_encoder
from emoclim.encoders.nets.cp_resnet import CpResnet
from emoclim.encoders.nets.onset_density import OnsetDensity
from emoclim.learning.objectives.loading import make_objective
from emoclim.learning.settings import EncoderTuning
from emoclim.metrics import bootstrap_regression
from emoclim.stages.encoder_training import LabelledItems, LiveModality, train_end_to_end
from emoclim.stages.extracting import extract
from emoclim.stages.head_training import train_heads

RATINGS = ("articulation", "tempo", "dynamics", "minorness")
LENGTH = int(SECONDS * midlevel.SAMPLE_RATE)  # of a segment: an excerpt
CLEAR = 66.0  # lowest register: chords lie 10 semitones below, where bands part their thirds
PARTED = 0.03  # seconds between onsets that are two
SPLITS = ("train", "val", "test")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Corpus:
    """Excerpts, one of each work."""

    items: list[Item]
    waves: list[NDArray[np.float64]]
    onsets: list[int]  # of each

    def numbers(self, split: str, names: Sequence[str] = RATINGS) -> Tensor:
        """Ratings ``(N, R)`` of a split."""
        return torch.tensor([[item.measures[name] for name in names] for item in self.of(split)])

    def of(self, split: str) -> list[Item]:
        """Items of a split."""
        return [item for item in self.items if item.split == split]


def main() -> None:
    """Generate, train, compare."""
    parser = command_line(__doc__)
    parser.add_argument("--works", type=int, nargs=3, default=(240, 60, 100), help="of training, validation and test")
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--head-epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = generate(asked.works, Path(folder), asked.seed)
        apart = torch.cat([by_network(corpus, asked, names) for names in (RATINGS[:3], RATINGS[3:])], dim=1)
        predicted = {"midlevel": apart, "timbre": by_heads(corpus, Path(folder), asked)}
    found = {name: measure(one, corpus.numbers("test")) for name, one in predicted.items()}
    rows = [*rating_rows(found), *density_rows(corpus)]
    publish("Generated ratings", __doc__, asked, rows, {"found": found}, "torch", "soxr")


def generate(works: tuple[int, int, int], folder: Path, seed: int) -> Corpus:
    """Write excerpts of so many works of each split."""
    corpus = Corpus([], [], [])
    for split, count in zip(SPLITS, works, strict=True):
        for number in range(count):
            draw = np.random.default_rng([seed, SPLITS.index(split), number])
            style, minor = cues(draw), bool(draw.integers(2))
            wave, starts = perform(style, minor, draw, draw)
            name = f"{split}-{number:03}"
            soundfile.write(folder / f"{name}.flac", wave, SAMPLE_RATE, subtype="PCM_16")
            own = dict(zip(RATINGS, (style.articulation, style.tempo, style.level, float(minor)), strict=True))
            corpus.items.append(Item(name, folder / f"{name}.flac", split=split, measures=own))
            corpus.waves.append(wave)
            corpus.onsets.append(1 + int((np.diff(starts) > PARTED).sum()))
    return corpus


def cues(draw: np.random.Generator) -> Style:
    """Draw the cues of a work, each by itself but for brightness, which goes with the level."""
    lowest = replace(LOWEST, register=CLEAR)
    drawn = {cue.name: draw.uniform(getattr(lowest, cue.name), getattr(HIGHEST, cue.name)) for cue in fields(Style)}
    loudness = (drawn["level"] - LOWEST.level) / (HIGHEST.level - LOWEST.level)
    brightness = float(np.clip(0.15 + 0.7 * loudness + 0.1 * draw.standard_normal(), 0.05, 1))
    plain = {"percussion": 0.0, "roughness": 0.0, "brightness": brightness, "dissonance": 0.0}
    return replace(Style(**drawn), **plain)


def by_network(corpus: Corpus, asked: argparse.Namespace, names: Sequence[str]) -> Tensor:
    """Predictions ``(N, R)`` of some ratings of the test by a network, trained from its first values."""
    torch.manual_seed(asked.seed)
    spec = FeatureSpec("midlevel", "audio", len(names), "none", {"channels": asked.channels})
    encoder = AudioEncoder(
        spec, midlevel.SAMPLE_RATE, LENGTH, 0.0, lambda: CpResnet(len(names), channels=asked.channels)
    )
    train, val = (labelled(corpus, split, names) for split in ("train", "val"))
    objective = make_objective("regression", ("audio",), [{"columns": ", ".join(names), "head": "none"}])
    config = TrainConfig(
        batch_size=8,
        epochs=asked.epochs,
        batches_per_epoch=max(1, len(train.items) // 8),
        val_batches=max(1, len(val.items) // 8),
        seed=asked.seed,
    )
    nothing = Split({}, {}, ())
    trained = train_end_to_end(
        nothing,
        nothing,
        [LiveModality(encoder, train, val)],
        objective,
        (1.0,),
        config,
        EncoderTuning(learning_rate=asked.learning_rate, weight_decay=1e-5),
        device=CPU,
    )
    network = CpResnet(len(names), channels=asked.channels)
    network.load_state_dict(trained.encoders["audio"])
    with torch.inference_mode():
        inputs = [torch.cat(list(encoder.prepare(item))) for item in corpus.of("test")]
        outputs = torch.cat([network.eval()(rows).mean(dim=0, keepdim=True) for rows in inputs])
    found = trained.objective.predictions("audio", {"audio": outputs[None]})
    assert found is not None
    return found[0]


def labelled(corpus: Corpus, split: str, names: Sequence[str]) -> LabelledItems:
    """Items of a split with some of their ratings."""
    numbers = corpus.numbers(split, names)
    return LabelledItems(corpus.of(split), torch.full((len(numbers),), -1), numbers)


def by_heads(corpus: Corpus, folder: Path, asked: argparse.Namespace) -> Tensor:
    """Predictions ``(N, 4)`` of the test by heads on features of timbre."""
    encoder, keys = load_encoder("timbre"), ContentKeys()
    cache = MemoryCache(encoder.spec)
    extract(Manifest("generated", "audio", folder, tuple(corpus.items)), encoder, cache, keys=keys, device=CPU)
    splits = {}
    for split in SPLITS:
        items = corpus.of(split)
        features = cache.read([keys(item) for item in items])
        labels = {"audio": torch.full((len(items),), -1)}
        splits[split] = Split({"audio": features}, labels, (), numbers={"audio": corpus.numbers(split)})
    objective = make_objective("regression", ("audio",), [{"columns": ", ".join(RATINGS)}])
    config = TrainConfig(
        batch_size=32,
        epochs=asked.head_epochs,
        batches_per_epoch=20,
        val_batches=4,
        hidden_dim=64,
        learning_rate=1e-3,
        seed=asked.seed,
    )
    heads = train_heads(splits["train"], splits["val"], objective, [(1.0,)], config, device=CPU).heads
    found = heads.objective.predictions("audio", heads.outputs(splits["test"].features["audio"]))
    assert found is not None
    return found[0]


def measure(predicted: Tensor, numbers: Tensor) -> dict[str, list[float]]:
    """Correlation of each rating, and the ends of its interval."""
    found = bootstrap_regression(predicted, numbers, torch.Generator().manual_seed(0))["r"]
    return {
        name: [float(end[column]) for end in (found.value, found.low, found.high)]
        for column, name in enumerate(RATINGS)
    }


def rating_rows(found: Mapping[str, Mapping[str, list[float]]]) -> Iterator[Row]:
    """The network beside heads on timbre."""
    for name in RATINGS:
        value, low, high = found["midlevel"][name]
        other, *ends = found["timbre"][name]
        told = f"midlevel {low:.2f} to {high:.2f}, timbre {ends[0]:.2f} to {ends[1]:.2f}"
        yield Row(f"{name}: correlation ({told})", value, "", "heads on timbre", other)
        yield Row(f"{name}: lower end, by midlevel", low, "", goal="> 0")


def density_rows(corpus: Corpus) -> Iterator[Row]:
    """Onsets a second against those that were played."""
    rate = midlevel.SAMPLE_RATE
    waves = [torch.from_numpy(soxr.resample(wave, SAMPLE_RATE, rate)).float()[None] for wave in corpus.waves]
    found = torch.cat([OnsetDensity()(wave) for wave in waves]).double()
    played = torch.tensor(corpus.onsets, dtype=torch.float64)[:, None] / SECONDS
    interval: Any = bootstrap_regression(found, played, torch.Generator().manual_seed(0))["r"]
    value, low, high = (float(end[0]) for end in (interval.value, interval.low, interval.high))
    yield Row(f"onset density: correlation with tones a second ({low:.2f} to {high:.2f})", value, "", goal=">= 0.8")
    yield Row("onset density: median of its ratio to tones a second", float((found / played).median()), "")


if __name__ == "__main__":
    main()
