"""Steps of training an encoder end to end, against the bare forward and backward pass of the same batch.

Recordings are generated, of noise; the network is untrained, which costs the same, for trained parameters are loaded
without denormal numbers, the only ones that cost more. Medians of rounds that alternate.

The bare step is the same (encoder, heads, loss, gradients, optimiser) on a batch that lies ready on the device; the
others take random crops from the files, or from the store of waveforms that these are decoded into before. A ratio of 1
says that crops cost nothing. Crops per second are what one process reads with nothing else going on.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from clock import synchronise
from record import Row, command_line, publish
from torch import nn

from emoclim.config import TrainConfig
from emoclim.data.content import ContentKeys
from emoclim.data.features import FeatureSpec
from emoclim.data.manifest import Item
from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.loading import find_encoder
from emoclim.extraction.glibc_malloc import keep_freed_memory
from emoclim.learning.banks.base import HeadBank
from emoclim.learning.branches import Banks
from emoclim.learning.end_to_end.crops import CropLoader, CropMaker, CropSource
from emoclim.learning.end_to_end.encoder_trainer import JointLearner
from emoclim.learning.learner import Learner
from emoclim.learning.objectives.loading import make_objective
from emoclim.learning.sampling import Batch
from emoclim.learning.settings import EncoderTuning
from emoclim.pipeline.training.end_to_end.crops import stored_crops
from emoclim.pipeline.workspace import Workspace
from emoclim.seeding import generator_for

RATE = 44_100  # Hz of the recordings
FILES, CLASSES, IMAGE_DIM = 16, 7, 512
TAGGERS_RATE = 16_000


def main() -> None:
    """Measure and print."""
    parser = command_line(__doc__)
    parser.add_argument("--encoder", default="musicnn", help="one of the taggers")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=int, default=30, help="of a recording")
    parser.add_argument("--format", default="mp3", choices=("mp3", "flac", "wav"))
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    encoder = untrained_encoder(options.encoder)
    learner = make_learner(encoder, device, options.precision)
    with tempfile.TemporaryDirectory() as folder:
        items = write_recordings(Path(folder), options.seconds, options.format)
        begun = time.perf_counter()
        stored = stored_crops(encoder, items, Workspace(Path(folder)), ContentKeys())
        details: dict[str, Any] = {"decoding_seconds": time.perf_counter() - begun}
        with keep_freed_memory(device):  # as training does
            details |= measure(learner, encoder, items, {"": encoder.crop, ", store": stored}, device, options)
    details["recordings"] = f"{FILES} recordings of {options.seconds} s, {options.format}"
    rows = list(told(f"{options.encoder}, batches of {options.batch_size}, {options.precision}", details))
    publish("Training end to end", __doc__, options, rows, details, "torch", "soundfile")


def told(subject: str, details: Mapping[str, Any]) -> Iterator[Row]:
    """What was found."""
    bare = details["steps_per_second"]["bare"]
    for name, found in details["steps_per_second"].items():
        if name != "bare":
            goal = ">= 0.9" if name.startswith("2 workers") else None
            yield Row(f"{subject}: {name}", found, "steps/s", "the bare step", bare, goal)
    for name, found in details["crops_per_second"].items():
        yield Row(f"one process reads from {name}", found, "crops/s")
    yield Row(f"one process decodes {details['recordings']} into the store", details["decoding_seconds"], "s")


def measure(
    learner: JointLearner,
    encoder: AudioEncoder,
    items: list[Item],
    sources: dict[str, CropSource],
    device: torch.device,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Steps per second, ready and from each source by number of workers, in rounds that alternate."""
    size, steps = options.batch_size, options.steps
    loaders = {
        f"{number} workers{name}": CropLoader(
            [CropMaker(encoder, items, source)], seed=0, workers=number, device=device
        )
        for number in options.workers
        for name, source in sources.items()
    }
    (ready,) = next(iter(loaders.values())).fill(asked(1, size, device), "ready")
    ways: dict[str, Callable[[], Iterator[Batch]]] = {"bare": lambda: iter([ready] * steps)}
    for name, loader in loaders.items():
        ways[name] = lambda loader=loader: loader.fill(asked(steps, size, device), "round")
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            speeds[name].append(speed(learner, way(), steps, device))
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    return {
        "steps_per_second": medians,
        "crops_per_second": {
            f"the {name.removeprefix(', ') or 'files'}": reading(source, items) for name, source in sources.items()
        },
    }


def speed(learner: JointLearner, batches: Iterator[Batch], steps: int, device: torch.device) -> float:
    """Steps per second; the first batch, for which any loader has to be waited, is not counted."""
    generator = torch.Generator()
    learner.train([next(batches)], 1, generator)
    synchronise(device)
    begun = time.perf_counter()
    learner.train(batches, steps - 1, generator)
    synchronise(device)
    return (steps - 1) / (time.perf_counter() - begun)


def reading(source: CropSource, items: list[Item], count: int = 64) -> float:
    """Crops that this process reads in a second."""
    begun = time.perf_counter()
    for number in range(count):
        source(items[number % len(items)], generator_for(f"reading/{number}", 0))
    return count / (time.perf_counter() - begun)


def asked(count: int, size: int, device: torch.device) -> Iterator[Batch]:
    """Batches of row numbers, beside which lie features of pictures."""
    generator = torch.Generator().manual_seed(0)
    for _ in range(count):
        rows = torch.randint(FILES, (size, 1), generator=generator)
        labels = torch.randint(CLASSES, (size,), generator=generator)
        pictures = torch.randn(size, IMAGE_DIM, generator=generator)
        yield Batch({"image": pictures.to(device), "audio": rows}, {"image": labels.to(device), "audio": labels})


def make_learner(encoder: AudioEncoder, device: torch.device, precision: str) -> JointLearner:
    """The encoder and a pair of heads, everything unfrozen."""
    generator = torch.Generator().manual_seed(0)
    dims = {"image": IMAGE_DIM, "audio": encoder.spec.dim}
    banks = {
        name: HeadBank(1, dim, 256, 128, dropout=0.5, generator=generator).to(device) for name, dim in dims.items()
    }
    objective = make_objective("emo_clim", ("image", "audio"), [{}])
    heads = Learner(Banks(banks), objective, torch.full((1, 4), 0.25, device=device), TrainConfig())
    return JointLearner([encoder], heads, EncoderTuning(precision=precision), device)


def untrained_encoder(name: str) -> AudioEncoder:
    """One of the taggers, without a checkpoint."""
    found = find_encoder(name)
    net: nn.Module = found.untrained().eval()
    with torch.inference_mode():
        dim = net(torch.zeros(1, found.LENGTH)).shape[1]
    settings = {"length": found.LENGTH, "precision": "fp32"}
    return AudioEncoder(
        FeatureSpec(name, "audio", dim, "none", settings), TAGGERS_RATE, found.LENGTH, 0.75, lambda: net
    )


def write_recordings(folder: Path, seconds: int, kind: str) -> list[Item]:
    """Noise, in stereo."""
    generator = np.random.default_rng(0)
    paths = [folder / f"{number}.{kind}" for number in range(FILES)]
    for path in paths:
        soundfile.write(path, 0.1 * generator.standard_normal((seconds * RATE, 2)), RATE)
    return [Item(path.stem, path) for path in paths]


if __name__ == "__main__":
    main()
