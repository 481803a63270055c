"""Random views of pictures: cached beside the picture itself, drawn in training, and never averaged."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from emoclim.cache import open_cache
from emoclim.data.content import ContentKeys
from emoclim.data.features import Features
from emoclim.data.manifest import Item, Manifest
from emoclim.encoders.loading import load_encoder
from emoclim.learning.banks.base import HeadBank
from emoclim.learning.branches import Banks
from emoclim.learning.heads import Heads
from emoclim.stages import search
from emoclim.stages.extracting import extract

VIEWS = 3


def pictures(folder: Path, names: Sequence[str] = ("a", "b", "c")) -> Manifest:
    for name in names:
        values = np.random.default_rng(ord(name[0])).integers(0, 256, (40, 60, 3), np.uint8)
        Image.fromarray(values).save(folder / f"{name}.png")
    items = tuple(Item(name, folder / f"{name}.png") for name in names)
    return Manifest("pictures", "image", folder / "pictures.csv", items)


def encode(manifest: Manifest, path: Path, *, workers: int = 0, batch_size: int = 4, **settings: int) -> Features:
    encoder = load_encoder("colour", size=64, **settings)
    with open_cache(path, encoder.spec) as cache:
        extract(manifest, encoder, cache, batch_size=batch_size, workers=workers)
        return cache.read([ContentKeys()(item) for item in manifest.items])


@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
def test_views_stand_beside_the_picture_itself(tmp_path: Path, suffix: str) -> None:
    manifest = pictures(tmp_path)
    plain, viewed = (encode(manifest, tmp_path / f"{n}{suffix}", views=n) for n in (0, VIEWS))
    torch.testing.assert_close(viewed.values, plain.values)
    assert viewed.offsets is not None
    assert viewed.offsets.tolist() == [0, 3, 6, 9]
    assert viewed.segments is not None
    assert len(torch.cat([viewed.segments, viewed.values]).unique(dim=0)) == 4 * VIEWS
    generator = torch.Generator().manual_seed(0)
    drawn = {tuple(viewed.draw(torch.tensor([1]), generator)[0].tolist()) for _ in range(50)}
    assert drawn == {tuple(row.tolist()) for row in viewed.segments[3:6]}


def test_views_follow_from_the_pixels_and_the_seed_alone(tmp_path: Path) -> None:
    manifest = pictures(tmp_path)
    once = encode(manifest, tmp_path / "once.h5", views=VIEWS)
    (tmp_path / "moved").mkdir()
    moved = pictures(tmp_path / "moved")
    backwards = replace(moved, items=moved.items[::-1])
    again = encode(backwards, tmp_path / "again.h5", views=VIEWS, workers=2, batch_size=4)
    assert again.segments is not None
    assert once.segments is not None
    reordered = again.select(torch.tensor([2, 1, 0]))
    assert reordered.segments is not None
    torch.testing.assert_close(reordered.segments, once.segments)
    other = encode(manifest, tmp_path / "other.h5", views=VIEWS, view_seed=1)
    assert other.segments is not None
    assert not torch.isclose(other.segments, once.segments).all(dim=1).any()


def test_heads_and_search_take_the_picture_itself(tmp_path: Path) -> None:
    viewed = encode(pictures(tmp_path), tmp_path / "viewed.h5", views=VIEWS)
    bank = HeadBank(1, viewed.spec.dim, 8, 4, dropout=0.0, generator=torch.Generator().manual_seed(0))
    heads = Heads(Banks({"image": bank}), {"image": viewed.spec})
    assert viewed.windows is None
    assert torch.equal(heads.vectors(viewed)[0], heads.vectors(viewed, average="features")[0])
    hits = search(viewed.select(torch.tensor([0])), viewed, heads, top=3)
    assert hits[0][0].id == viewed.ids[0]
    assert [hit.start for hit in hits[0]] == [None] * 3
