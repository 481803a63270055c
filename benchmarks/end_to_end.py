"""Steps of training an encoder end to end, against the bare forward and backward pass of the same batch.

Repeat with ``python benchmarks/end_to_end.py``; prints JSON: steps per second, and shares. Recordings are generated,
30 s of noise each, in a format of choice; the network is untrained, for what a parameter is does not change its cost.

``bare`` is the same step (encoder, heads, loss, gradients, optimiser) on a batch that lies ready on the device; the
others take random crops from the files, or from the store of waveforms that these are decoded into before. A share of 1
says that crops cost nothing. ``crops_per_second`` is what one process reads with nothing else going on;
``decoding_seconds``, how long one process takes to fill the store. The goal: a share of at least 0.9 with 2 workers.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import soundfile
import torch
from machine import facts
from torch import nn

from emoclim.config import TrainConfig
from emoclim.crops import CropLoader, CropSource
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Item
from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.loading import find_encoder
from emoclim.features import FeatureSpec
from emoclim.heads import HeadBank
from emoclim.joint import JointLearner
from emoclim.learning import Learner
from emoclim.losses import EMO_CLIM
from emoclim.pipeline.waveforms import stored_crops
from emoclim.pipeline.workspace import Workspace
from emoclim.sampling import Batch, generator_for
from emoclim.tuning import EncoderTuning

SECONDS, RATE = 30, 44_100  # of the recordings
FILES, CLASSES, IMAGE_DIM = 16, 7, 512
TAGGERS_RATE = 16_000


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", default="musicnn", help="one of the taggers")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--format", default="mp3", choices=("mp3", "flac", "wav"))
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device(options.device)
    encoder = untrained_encoder(options.encoder)
    learner = make_learner(encoder, device, options.precision)
    with tempfile.TemporaryDirectory() as folder:
        items = write_recordings(Path(folder), options.format)
        begun = time.perf_counter()
        stored = stored_crops(encoder, items, Workspace(Path(folder)), ContentKeys())
        result = {"decoding_seconds": time.perf_counter() - begun}
        result |= measure(learner, encoder, items, {"": encoder.crop, ", store": stored}, device, options)
    text = json.dumps({"options": vars(options) | {"json": None}, **result, **facts("torch", "soundfile")}, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


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
        f"{number} workers{name}": CropLoader(encoder, items, seed=0, workers=number, device=device, source=source)
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
        "share_of_bare": {name: found / medians["bare"] for name, found in medians.items() if name != "bare"},
        "crops_per_second": {
            name.removeprefix(", ") or "files": reading(source, items) for name, source in sources.items()
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


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
    heads = Learner(cast(Any, banks), EMO_CLIM, torch.full((1, 4), 0.25, device=device), TrainConfig())
    return JointLearner(encoder, heads, EncoderTuning(precision=precision), device)


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


def write_recordings(folder: Path, kind: str) -> list[Item]:
    """Noise, in stereo."""
    generator = np.random.default_rng(0)
    paths = [folder / f"{number}.{kind}" for number in range(FILES)]
    for path in paths:
        soundfile.write(path, 0.1 * generator.standard_normal((SECONDS * RATE, 2)), RATE)
    return [Item(path.stem, path) for path in paths]


if __name__ == "__main__":
    main()
