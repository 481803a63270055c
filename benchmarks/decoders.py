"""What other decoders of pictures cost, and what they change, against Pillow: CPU time, pixels and features.

The time is that of all preparation of a picture in one process, from the file to the network's input, with the
preprocessing of CLIP; medians of rounds in which the decoders take turns. Pixels are the network's input, normalised:
mean absolute difference. Features differ by 1 - cosine, in the mean and at worst. Both stand beside what they are
between a picture and the next one, decoded by Pillow, which is what they would have to be small against.

Pictures are generated where no manifest is named: JPEGs of 640 x 480 with about 90 KB, and of 4000 x 3000 with 2 MB.
Without a checkpoint the network has pseudo-weights, whose features cannot tell what a trained network would see. A
draft is smaller only of a JPEG with at least twice the sides that the network takes: no other has any difference.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import generated
import numpy as np
import torch
from PIL import Image
from record import Row, command_line, counted, publish
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.data.manifest import Item, read_manifest
from emoclim.data.media.images.decoders import DECODERS, DRAFT, PILLOW
from emoclim.encoders import Encoder, frozen
from emoclim.encoders.loading import load_encoder
from emoclim.errors import DecodeError

LARGE = (4000, 3000)
SMALL_GOAL, LARGE_GOAL = "<= 0.8", "<= 1/4"  # of a draft's time
GRAIN = 6  # grey levels, either way: of a sensor; without, an enlarged picture would be decoded too fast
BATCH = 8


def main() -> None:
    """Make what is missing, measure, tell."""
    parser = command_line(__doc__)
    parser.add_argument("--model", help="which of clip's; default the encoder's")
    parser.add_argument("--checkpoint", type=Path, help="default pseudo-weights")
    parser.add_argument("--manifest", type=Path, help="real photos; default generated pictures")
    parser.add_argument("--pictures", type=int, default=30)
    parser.add_argument("--large", type=int, default=2, help="pictures of 4000 x 3000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as name:
        encoders = load(asked, Path(name))
        found = {}
        told: list[Row] = []
        for kind, items, goal in subjects(asked, Path(name), encoders[PILLOW]):
            subject = f"{counted(len(items), 'picture')}, {kind}"
            found[subject] = measure(encoders, items, asked.rounds)
            told += rows(asked, subject, found[subject], goal)
    parameters = encoders[PILLOW].spec.checkpoint if asked.checkpoint else generated.PSEUDO
    details = {"parameters": parameters, "subjects": found}
    publish("Decoders", __doc__, asked, told, details, "torch", "torchvision", "pillow")


def load(asked: argparse.Namespace, folder: Path) -> dict[str, Encoder]:
    """The same encoder with each decoder; with pseudo-weights it is of a training that nobody published."""
    settings = {"model": asked.model} if asked.model else {}
    if not asked.checkpoint:
        settings["pretrained"] = "none"
    path = asked.checkpoint or generated.checkpoint(folder, "clip", asked.model)
    encoders = {name: load_encoder("clip", checkpoint=path, decoder=name, **settings) for name in DECODERS}
    _ = encoders[PILLOW].module
    return encoders


def subjects(
    asked: argparse.Namespace, folder: Path, encoder: Encoder
) -> Iterator[tuple[str, Sequence[Item], str | None]]:
    """What pictures of one kind are called, they themselves, and the goal for them."""
    if asked.manifest:
        items = []
        for item in read_manifest(asked.manifest, "image", unlabelled=True).items[: asked.pictures]:
            with suppress(DecodeError):
                next(encoder.prepare(item))
                items.append(item)
        yield "real", items, None
        return
    small = generated.manifest("image", folder, asked.pictures, 0, "")
    yield "generated, {} x {}".format(*generated.PHOTO), small.items, SMALL_GOAL
    yield "generated, {} x {}".format(*LARGE), list(large(folder, asked.large)), LARGE_GOAL


def large(folder: Path, number: int) -> Iterator[Item]:
    """Pictures as from a camera: the generated ones enlarged, with grain."""
    draw = np.random.default_rng(1)
    for one in range(number):
        picture = generated.noise(draw).resize(LARGE, Image.Resampling.BICUBIC)
        grain = draw.integers(-GRAIN, GRAIN + 1, (LARGE[1], LARGE[0], 3), np.int16)
        path = folder / f"large{one}.jpg"
        Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8)).save(
            path, quality=generated.QUALITY
        )
        yield Item(path.name, path)


def measure(encoders: Mapping[str, Encoder], items: Sequence[Item], rounds: int) -> dict[str, Any]:
    """CPU time of each decoder, and how far it is from Pillow."""
    inputs = {name: given(encoder, items) for name, encoder in encoders.items()}  # untimed: all is loaded now
    taken: dict[str, list[float]] = {name: [] for name in encoders}
    for _ in range(rounds):
        for name, encoder in encoders.items():
            taken[name].append(1e3 * prepared(encoder, items)[1] / len(items))
    features = {name: encoded(encoders[PILLOW], rows) for name, rows in inputs.items()}
    pixels, directions = inputs[PILLOW], features[PILLOW]
    return {
        "milliseconds": {name: statistics.median(found) for name, found in taken.items()},
        "rounds": taken,
        "pixels": {name: float((rows - pixels).abs().mean()) for name, rows in inputs.items()},
        "pixels_apart": float((pixels - pixels.roll(1, 0)).abs().mean()),
        "features": {name: distances(rows, directions) for name, rows in features.items()},
        "features_apart": distances(directions, directions.roll(1, 0)),
    }


def given(encoder: Encoder, items: Sequence[Item]) -> Tensor:
    """What the network is given: ``(N, 3, H, W)`` float32."""
    pixels, _ = prepared(encoder, items)
    normalise: Callable[[Tensor], Tensor] | None = getattr(encoder, "normalise", None)
    return pixels if normalise is None else normalise(pixels)


def prepared(encoder: Encoder, items: Sequence[Item]) -> tuple[Tensor, float]:
    """The rows of all items, ``(N, 3, H, W)``, and the seconds of CPU time that they took."""
    begun = time.process_time()
    blocks = [block for item in items for block in encoder.prepare(item)]
    return torch.cat(blocks), time.process_time() - begun


def encoded(encoder: Encoder, rows: Tensor) -> Tensor:
    """Directions of the features, ``(N, D)`` float64."""
    with frozen(encoder.spec, rows.device):
        return torch.cat([normalize(encoder.module(batch).double()) for batch in torch.split(rows, BATCH)])


def distances(ours: Tensor, theirs: Tensor) -> dict[str, float]:
    """Of 1 - cosine of pairs of directions, ``(N, D)``, mean and largest."""
    # half the squared distance: of directions that hardly differ, 1 - cosine itself is all rounding
    found = (ours - theirs).square().sum(1) / 2
    return {"mean": float(found.mean()), "worst": float(found.max())}


def rows(asked: argparse.Namespace, subject: str, found: Mapping[str, Any], goal: str | None) -> Iterator[Row]:
    """What was found of some pictures."""
    model = f"clip {asked.model}" if asked.model else "clip"
    weights = "" if asked.checkpoint else ", pseudo-weights"
    times, apart = found["milliseconds"], found["features_apart"]["mean"]
    for decoder in (name for name in times if name != PILLOW):
        name = f"{decoder}, {subject}, {model}"
        yield Row(
            f"{name}: CPU time each", times[decoder], "ms", PILLOW, times[PILLOW], goal if decoder == DRAFT else None
        )
        yield Row(f"{name}: pixels", found["pixels"][decoder], "", "another picture", found["pixels_apart"])
        for which, value in found["features"][decoder].items():
            yield Row(f"{name}{weights}: {which} 1 - cosine", value, "", "another picture, mean", apart)


if __name__ == "__main__":
    main()
