"""How many pictures per second the process that runs the network can take from those that decode.

A core's time in the receiving process alone, of pictures of 224 x 224 that cost nothing to decode and a network that
does nothing: what is left is messages, copies and packing into batches of 64. Peers are a plain DataLoader in batches
of 64 of the same pixels, and one that sends picture by picture, normalised to float32. Rounds alternate; medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field

import torch
from record import Row, command_line, publish
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from emoclim.data.features import FeatureSpec
from emoclim.data.manifest import Item
from emoclim.extraction.batches import BatchPacker
from emoclim.extraction.workers import ItemEnd, decode
from emoclim.progress import Stopwatch

SHAPE = (3, 224, 224)
BATCH = 64
PIXELS = (torch.arange(3 * 224 * 224) % 256).to(torch.uint8).view(SHAPE)


class Nothing(nn.Module):
    """Eight values of each row."""

    def forward(self, batch: Tensor) -> Tensor:
        """``(B, 3, H, W)`` to ``(B, 8)``."""
        return batch[:, 0, 0, :8].float()


@dataclass
class Same:
    """An encoder to which all pictures are the same."""

    spec: FeatureSpec = field(default_factory=lambda: FeatureSpec("same", "image", 8, "none", {}))
    input_shape: tuple[int, ...] = SHAPE
    hop_seconds: float = 0.0
    segment_seconds: float = 0.0
    module: nn.Module = field(default_factory=Nothing)

    def prepare(self, item: Item) -> Generator[Tensor, None, float]:  # noqa: ARG002 - whichever it is
        """One block of one."""
        yield PIXELS.clone()[None]
        return 0.0

    def crop(self, item: Item, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        """The whole."""
        return PIXELS.clone()


class Pictures(Dataset[Tensor]):
    """The same as a torch data set, in some type of numbers."""

    def __init__(self, number: int, kind: torch.dtype) -> None:
        self._number, self._kind = number, kind

    def __len__(self) -> int:
        """How many there are."""
        return self._number

    def __getitem__(self, place: int) -> Tensor:
        """One picture."""
        if place >= self._number:
            raise IndexError(place)
        return PIXELS.to(self._kind, copy=True)


def main() -> None:
    """Let all ways take turns."""
    parser = command_line(__doc__)
    parser.add_argument("--pictures", type=int, default=4000)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    ways: Mapping[str, Callable[[argparse.Namespace], None]] = {"ours": ours, "batches": batches, "one by one": singly}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(asked.rounds):
        for name, way in ways.items():
            begun = time.process_time()
            way(asked)
            taken[name].append(time.process_time() - begun)
    speed = {name: asked.pictures / statistics.median(found) for name, found in taken.items()}
    name, unit = "received and packed by one core", "images/s"
    rows = [
        Row(name, speed["ours"], unit, "DataLoader, batches of 64, 8 bits", speed["batches"], ">= 5000 images/s"),
        Row(name, speed["ours"], unit, "DataLoader, one by one, float32", speed["one by one"]),
    ]
    publish("Feeding the network", __doc__, asked, rows, {"seconds": taken}, "torch")


def ours(asked: argparse.Namespace) -> None:
    """As extraction does it."""
    encoder, items = Same(), [Item(str(n), text=str(n)) for n in range(asked.pictures)]
    packer = BatchPacker(encoder, BATCH, torch.device("cpu"), Stopwatch())
    encoded = 0
    for position, event in decode(encoder, items, asked.workers):
        if not isinstance(event, ItemEnd):
            encoded += sum(len(rows) for _, rows in packer.add(position, event))
    encoded += sum(len(rows) for _, rows in packer.flush())
    if encoded != asked.pictures:
        raise RuntimeError(f"{encoded} of {asked.pictures} pictures came through")


def batches(asked: argparse.Namespace) -> None:
    """The workers make the batches."""
    for batch in DataLoader(Pictures(asked.pictures, torch.uint8), batch_size=BATCH, num_workers=asked.workers):
        Nothing()(batch.clone())


def singly(asked: argparse.Namespace) -> None:
    """The receiver makes the batches, of pictures as large as the network takes them."""
    waiting: list[Tensor] = []
    for picture in DataLoader(Pictures(asked.pictures, torch.float32), batch_size=None, num_workers=asked.workers):
        waiting.append(picture.clone())  # gives the memory shared with a worker back
        if len(waiting) == BATCH:
            Nothing()(torch.stack(waiting))
            waiting = []


if __name__ == "__main__":
    main()
