"""The extraction that ``cache_torture.py`` kills: of texts, by a linear map, in small commits, dying where it is told.

What it has done stands in memory that outlives it.
"""

import os
import random
import signal
import struct
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from mmap import mmap
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emoclim.cache import open_cache
from emoclim.cache.formats import hdf5, store
from emoclim.cache.formats import zarr as _zarr  # noqa: F401 - so that no child has to load it
from emoclim.data.features import FeatureSpec
from emoclim.data.manifest import Item, Manifest
from emoclim.errors import DecodeError
from emoclim.extraction import writer as committing
from emoclim.stages import extracting as extract

DIM, LENGTH = 16, 8
COMMIT_ITEMS = 8  # small, as are chunks and ledger: so much of a run is spent in commits, and many make room
CALLS = ("write", "fsync", "ftruncate", "replace", "rename")


@dataclass
class Letters:
    """Segments of eight characters of a text, four apart; the feature is a fixed linear map of their code points."""

    spec: FeatureSpec = field(default_factory=lambda: FeatureSpec("letters", "text", DIM, "none", {"length": LENGTH}))
    input_shape: tuple[int, ...] = (LENGTH,)
    hop_seconds: float = 0.5
    segment_seconds: float = 1.0

    @property
    def module(self) -> nn.Module:
        """The same for all."""
        layer = nn.Linear(LENGTH, DIM)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(DIM, LENGTH, generator=torch.Generator().manual_seed(0)))
            layer.bias.zero_()
        return layer.eval()

    def prepare(self, item: Item) -> Generator[Tensor, None, float]:
        """Cut a text; one that begins with an exclamation mark cannot be used."""
        text = item.text or ""
        if text.startswith("!"):
            raise DecodeError(text)
        yield torch.tensor([float(ord(letter)) for letter in text]).unfold(0, LENGTH, 4)
        return len(text) / LENGTH

    def crop(self, item: Item, generator: torch.Generator) -> Tensor:
        """Draw a segment."""
        segments = next(self.prepare(item))
        return segments[int(torch.randint(len(segments), (), generator=generator))]


def library(size: int) -> Manifest:
    """Texts of all lengths, one in twenty of which cannot be used."""
    draw = random.Random(0)
    texts = ["".join(draw.choices("abcdefgh", k=draw.randint(LENGTH, 60))) for _ in range(size)]
    items = (Item(f"t{n}", text=f"!{text}" if n % 20 == 7 else text) for n, text in enumerate(texts))
    return Manifest("texts", "text", Path("texts.csv"), tuple(items))


class Progress:
    """What a child has done, in memory that outlives it: items finished, calls made, and whether it is committing."""

    def __init__(self) -> None:
        self._memory = mmap(-1, 24)

    def __getitem__(self, place: int) -> int:
        return int(struct.unpack_from("q", self._memory, place * 8)[0])

    def __setitem__(self, place: int, value: int) -> None:
        struct.pack_into("q", self._memory, place * 8, value)


FINISHED, MADE, COMMITTING = range(3)


def run(path: Path, manifest: Manifest, workers: int, progress: Progress, fatal: tuple[int, str] | None) -> None:
    """Extract, in a child; the fatal one of its calls to the system within commits is its last."""
    store.CHUNK_ROWS, hdf5.LEDGER_CHUNK = 16, 1024
    committing.COMMIT_ITEMS, committing.COMMIT_PAUSE = COMMIT_ITEMS, 0.0
    for name in CALLS:
        setattr(os, name, watched(getattr(os, name), progress, fatal))

    def track(sequence: Iterable[Any], description: str = "", total: float | None = None) -> Iterator[Any]:
        del total
        for finished, element in enumerate(sequence, start=1):
            if description.startswith("encode"):
                progress[FINISHED] = finished
            yield element

    encoder = Letters()
    with open_cache(path, encoder.spec) as cache:
        for name in ("append", "record_failure"):
            setattr(cache, name, noted(getattr(cache, name), progress))
        extract.extract(manifest, encoder, cache, batch_size=16, workers=workers, track=track)


def noted(put: Callable[..., None], progress: Progress) -> Callable[..., None]:
    """Note when a commit begins and ends."""

    def put_noted(*what: Any) -> None:
        progress[COMMITTING] = 1
        put(*what)
        progress[COMMITTING] = 0

    return put_noted


def watched(call: Callable[..., Any], progress: Progress, fatal: tuple[int, str] | None) -> Callable[..., Any]:
    """Count the calls that are made while committing, and die at the fatal one."""

    def counted(*what: Any, **options: Any) -> Any:
        if not progress[COMMITTING]:
            return call(*what, **options)
        progress[MADE] += 1
        now = None if fatal is None or fatal[0] != progress[MADE] else fatal[1]
        if now == "half" and len(what) == 2 and isinstance(what[1], memoryview):
            call(what[0], what[1][: len(what[1]) // 2])
        elif now != "before":
            result = call(*what, **options)
        if now is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return counted
