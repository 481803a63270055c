"""A whole training of heads by the preset `paper`, and what it would take with the encoders in the loop.

Features are generated, as many as the papers' data have items: 17,357 images and 10,355 pieces of music, of 512 values
as by CLIP, CLAP and the Short-chunk CNN, of six classes that overlap, in parts of .8, .1 and .1. Measured in the same
run are the training of one pair of heads and of 64 at once, and one encoding by each encoder; the networks are
untrained, which costs the same, for trained parameters are loaded without denormal numbers, the only ones that cost
more.

Extrapolated, never run, is the papers' procedure, which encodes the items of every batch anew, in training and in
validation: the number of its encodings times the measured cost of one. The number follows from the presets, `paper` for
a run of the same length as ours, and `paper-code` for the settings of the published code: 576,000 of each modality. The
same way, the encoding of every item once, for a cache. Decoding is left out of both, augmentation and the steps of the
heads out of the procedure, which would thus take longer than is said here.

The procedure is run once for each pair of heads. "Heads alone" have their cache; "cache and heads" begin with nothing.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from record import Row, command_line, counted, publish
from torch import Tensor, nn

from emoclim.config import TrainConfig
from emoclim.data import segment_step
from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.encoders import clap, clip, frozen, short_chunk_cnn
from emoclim.encoders.nets.won2020 import SAMPLE_RATE as TAGGERS_RATE
from emoclim.learning.objectives.loading import make_objective
from emoclim.learning.sweep import simplex_points
from emoclim.modality import Modality
from emoclim.pipeline.machine import limit_threads
from emoclim.pipeline.training.sweep import HEADS_PER_THREAD
from emoclim.recipes import find_preset
from emoclim.stages.evaluating import evaluate
from emoclim.stages.head_training import train_heads

CPU = torch.device("cpu")
DIMS: dict[Modality, int] = {"image": 512, "audio": 512}
ITEMS: dict[Modality, int] = {"image": 17_357, "audio": 10_355}
CLASSES = ("amusement", "anger", "contentment", "excitement", "fear", "sadness")
PARTS = {"train": (0.0, 0.8), "val": (0.8, 0.9), "test": (0.9, 1.0)}
SIGNAL = 0.12  # spread of the classes' centres, where that of the items round them is 1
ITEM_SECONDS, OVERLAP = 10, 0.75  # of the papers' music, and of its windows
MUSIC = ("clap", "short_chunk_cnn")
PRESETS = ("paper", "paper-code")


@dataclass(frozen=True)
class Subject:
    """An encoder to measure: its network, the shape of one input, how many at once, and how many make an item."""

    make: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    batch: int
    per_item: int


def main() -> None:
    """Measure encoders and trainings, extrapolate, compare."""
    parser = command_line(__doc__)
    parser.add_argument("--heads", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--batches", type=int, default=5, help="of each encoder; the median counts")
    parser.add_argument("--at-once", type=int, help="inputs of an encoder; default what suits it")
    parser.add_argument("--share", type=float, default=1.0, help="of the papers' items")
    parser.add_argument("--epochs", type=int, help="of the measured training; default the preset's")
    asked = parser.parse_args()
    encoders = subjects(asked.at_once)
    costs = encoding_seconds(encoders, asked.batches)
    splits, config = generated(asked.share), find_preset("paper").training
    config = config.updated(epochs=asked.epochs or config.epochs)
    trainings = {heads: timed_training(splits, heads, config) for heads in asked.heads}
    counts = {name: encodings(find_preset(name).training) for name in PRESETS}
    extrapolated = {
        f"clip and {music}": {
            "cache": cache_seconds(encoders, costs, music),
            "procedure": {name: count * (costs["clip"] + costs[music]) for name, count in counts.items()},
        }
        for music in MUSIC
    }
    details = {
        "measured": {
            "seconds_per_encoding": costs,
            "inputs_at_once": {name: subject.batch for name, subject in encoders.items()},
            "training": trainings,
        },
        "extrapolated_seconds": extrapolated,
        "encodings_of_each_modality": counts,
    }
    rows = [row for heads, training in trainings.items() for row in told(training["seconds"], heads, extrapolated)]
    publish("A whole run", __doc__, asked, rows, details, "torch", "open_clip_torch", "laion_clap")


def subjects(at_once: int | None) -> dict[str, Subject]:
    """The papers' encoders: CLIP ViT-B/32, and for music HTSAT-base of CLAP or the Short-chunk CNN."""
    long, short = clap.LENGTH, short_chunk_cnn.LENGTH
    base = partial(clap.untrained, model="music_speech")
    return {
        "clip": Subject(clip.untrained, (3, 224, 224), at_once or 32, 1),
        "clap": Subject(base, (long,), at_once or 4, windows(long, clap.SAMPLE_RATE)),
        "short_chunk_cnn": Subject(short_chunk_cnn.untrained, (short,), at_once or 16, windows(short, TAGGERS_RATE)),
    }


def windows(length: int, sample_rate: int) -> int:
    """Segments of `length` samples in one piece of music."""
    return 1 + (ITEM_SECONDS * sample_rate - length) // segment_step(length, OVERLAP)


def encoding_seconds(encoders: Mapping[str, Subject], batches: int) -> dict[str, float]:
    """Median seconds of one encoding by each, measured in turn."""
    networks = {name: subject.make().eval() for name, subject in encoders.items()}
    taken: dict[str, list[float]] = {name: [] for name in encoders}
    for number in range(batches + 1):
        for name, subject in encoders.items():
            inputs = torch.rand(subject.batch, *subject.input_shape) - 0.5
            with frozen(FeatureSpec(name, "image", 1, "none", {}), CPU):
                begun = time.perf_counter()
                networks[name](inputs)
                if number:  # the first one warms up
                    taken[name].append((time.perf_counter() - begun) / subject.batch)
    return {name: statistics.median(times) for name, times in taken.items()}


def generated(share: float) -> dict[str, Split]:
    """Parts of generated data: classes are Gaussians of equal spread round random centres."""
    generator = torch.Generator().manual_seed(0)
    tables: dict[Modality, tuple[Tensor, Tensor]] = {}
    for modality, whole in ITEMS.items():
        number = round(share * whole)
        centres = SIGNAL * torch.randn(len(CLASSES), DIMS[modality], generator=generator)
        labels = torch.randint(len(CLASSES), (number,), generator=generator)
        tables[modality] = centres[labels] + torch.randn(number, DIMS[modality], generator=generator), labels
    splits = {}
    for part, (first, last) in PARTS.items():
        features, classes = {}, {}
        for modality, (rows, labels) in tables.items():
            chosen = slice(round(first * len(rows)), round(last * len(rows)))
            spec = FeatureSpec("generated", modality, DIMS[modality], "none", {})
            ids = tuple(map(str, range(len(rows))[chosen]))
            features[modality], classes[modality] = Features(spec, ids, rows[chosen]), labels[chosen]
        splits[part] = Split(features, classes, CLASSES)
    return splits


def timed_training(splits: Mapping[str, Split], heads: int, config: TrainConfig) -> dict[str, Any]:
    """Train so many pairs of heads, on as many threads as the command would; and whether the first of them learnt."""
    objective = make_objective("emo_clim", ("image", "audio"), [{}] * heads)
    weights = simplex_points(heads, len(objective.terms), config.seed)
    with limit_threads(max(1, heads // HEADS_PER_THREAD)):
        threads = torch.get_num_threads()
        begun = time.perf_counter()
        training = train_heads(splits["train"], splits["val"], objective, weights, config, device=CPU)
        seconds = time.perf_counter() - begun
    report = evaluate(splits["test"], training.heads.select(0), ks=(5,), pairs=[("image", "audio")], device=CPU)
    (direction,) = report.directions.values()
    learnt = {"P@5": direction.metrics["P@5"], "P@5 at random": direction.random["P@5"]}
    return {"seconds": seconds, "threads": threads, "first_head_image_to_music": learnt}


def encodings(config: TrainConfig) -> int:
    """How often the procedure encodes an item of one modality."""
    training = config.batches_per_epoch * config.rows
    validation = config.val_batches * config.batch_size
    return config.epochs * (training + validation)


def cache_seconds(encoders: Mapping[str, Subject], costs: Mapping[str, float], music: str) -> float:
    """Seconds of encoding every item once, music in all its windows."""
    by_modality: dict[Modality, str] = {"image": "clip", "audio": music}
    return sum(ITEMS[modality] * encoders[name].per_item * costs[name] for modality, name in by_modality.items())


def told(seconds: float, heads: int, extrapolated: Mapping[str, Any]) -> Iterator[Row]:
    """Trained heads, alone and with their cache, against the procedure, once for each pair of heads."""
    for encoders, of in extrapolated.items():
        for settings, procedure in of["procedure"].items():
            against = f"the procedure, {encoders}, preset {settings} (extrapolated)"
            theirs = heads * procedure
            yield Row(f"{counted(heads, 'pair')} of heads, alone", seconds, "s", against, theirs)
            yield Row(
                f"{counted(heads, 'pair')} of heads, cache and heads", of["cache"] + seconds, "s", against, theirs
            )


if __name__ == "__main__":
    main()
