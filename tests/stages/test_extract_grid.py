"""Every encoder's features are the same whatever the batch size, the workers and the items around."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import pytest
import torch
from encoder_cases import make_subject, shrunk, write_films, write_pictures, write_recordings, write_texts
from pseudo_weights import register_tiny_clip

from emoclim.cache.memory import MemoryCache
from emoclim.data.content import ContentKeys
from emoclim.data.features import Features
from emoclim.data.manifest import Item, Manifest
from emoclim.encoders.base import Encoder
from emoclim.encoders.loading import ENCODERS
from emoclim.pipeline.machine import limit_threads
from emoclim.stages.extracting import extract

TOLERANCE = 1e-5
MIDDLE = 7  # segments per batch: one batch is full, and the last is not


@dataclass(frozen=True)
class Effort:
    """Pairs of batch size and number of workers to try, and how many segments each recording has."""

    cells: tuple[tuple[int, int], ...] = tuple(product((1, MIDDLE, 32), (0, 2)))
    segments: tuple[int, ...] = (6, 1, 2)  # the first is decoded in two blocks, so that workers interleave


FEW = ((1, 0), (MIDDLE, 0), (MIDDLE, 2))
EFFORTS = {  # a batch is always filled up, and one of 32 takes these seconds
    "clap": Effort(FEW, (2, 1)),
    "colour_video": Effort(FEW, (2, 1)),
    "efficientnet_lite0": Effort(FEW),
    "harmonic_cnn": Effort(FEW, (4, 1, 2)),
    "midlevel": Effort(FEW, (2, 1)),
    "music_resnet": Effort(FEW, (4, 1, 2)),
    "musicnn": Effort(FEW, (2, 1)),
    "musicnn_msd": Effort(FEW, (2, 1)),
    "musicnn_mtt": Effort(FEW, (2, 1)),
    "sample_cnn": Effort(FEW, (2, 1)),
    "short_chunk_cnn": Effort(FEW, (4, 1, 2)),
}


@dataclass(frozen=True)
class Grid:
    """One encoder, its items, and their features by batch size and number of workers."""

    encoder: Encoder
    items: tuple[Item, ...]
    effort: Effort
    features: Mapping[tuple[int, int], Features]


def encode(encoder: Encoder, items: Sequence[Item], batch_size: int, workers: int = 0) -> Features:
    manifest = Manifest("items", encoder.spec.modality, Path("items.csv"), tuple(items))
    with MemoryCache(encoder.spec) as cache:
        assert extract(manifest, encoder, cache, batch_size=batch_size, workers=workers).failures == ()
        return cache.read([ContentKeys()(item) for item in items])


def write_items(encoder: Encoder, segments: Sequence[int], folder: Path) -> tuple[Item, ...]:
    if encoder.spec.modality == "image":
        return tuple(write_pictures(folder, (90, 160), (20, 13), (64, 64)))
    if encoder.spec.modality == "text":
        return tuple(write_texts(folder, 9, 2, 5))
    beyond = encoder.hop_seconds / 3  # of the last segment, so that it fits in any case
    lengths = (encoder.segment_seconds + (n - 1) * encoder.hop_seconds + beyond for n in segments)
    write = write_films if encoder.spec.modality == "video" else write_recordings
    return tuple(write(folder, *lengths))


def equal(one: Features, other: Features) -> bool:
    """Whether values and segments are the same to the bit."""
    assert one.segments is not None
    assert other.segments is not None
    return torch.equal(one.values, other.values) and torch.equal(one.segments, other.segments)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the whole suite should be run: several processes with several threads each are in each other's way."""
    with limit_threads(1):
        yield


@pytest.fixture(scope="module", params=[*ENCODERS.names(), "colour_video"])
def grid(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grid]:
    folder = tmp_path_factory.mktemp(request.param)
    register_tiny_clip(folder)
    with shrunk(request.param):
        encoder, effort = make_subject(request.param, folder).load(), EFFORTS.get(request.param, Effort())
        items = write_items(encoder, effort.segments, folder)
        yield Grid(encoder, items, effort, {cell: encode(encoder, items, *cell) for cell in effort.cells})


def test_batch_size_and_workers_change_no_feature(grid: Grid) -> None:
    first, *others = grid.features.values()
    assert first.offsets is not None
    counts = grid.effort.segments if grid.encoder.segment_seconds else (1,) * len(grid.items)
    assert first.offsets.diff().tolist() == list(counts)
    for other in others:
        torch.testing.assert_close(other.values, first.values, atol=TOLERANCE, rtol=TOLERANCE)
        torch.testing.assert_close(other.segments, first.segments, atol=TOLERANCE, rtol=TOLERANCE)


def test_workers_change_no_byte(grid: Grid) -> None:
    for (size, workers), features in grid.features.items():
        assert workers == 0 or equal(features, grid.features[size, 0])


def test_a_second_time_gives_the_same_bytes(grid: Grid) -> None:
    assert equal(encode(grid.encoder, grid.items, MIDDLE), grid.features[MIDDLE, 0])


def test_neither_rows_that_fill_a_batch_nor_other_items_change_a_byte(grid: Grid) -> None:
    last = len(grid.items) - 1
    alone = encode(grid.encoder, grid.items[last:], MIDDLE)
    assert equal(alone, grid.features[MIDDLE, 0].select(torch.tensor([last])))


def test_threads_that_share_a_batch_change_no_byte(tmp_path: Path) -> None:
    register_tiny_clip(tmp_path)
    encoder = make_subject("clip", tmp_path).load()
    items = write_pictures(tmp_path, *((40, 30 + n) for n in range(MIDDLE)))
    torch.set_num_threads(2)  # the fixture sets it back
    straight = encode(encoder, items, MIDDLE)
    turned = encode(encoder, [*items[3:], *items[:3]], MIDDLE)
    assert equal(turned.select(torch.tensor([4, 5, 6, 0, 1, 2, 3])), straight)
