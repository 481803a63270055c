"""Encoders of videos: of each second the mean over five pictures, each encoded as a picture is."""

from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_contract import prepare
from film_files import busy_frames, write_film
from PIL import Image
from torch import Tensor

from emoclim import load_encoder
from emoclim.cache import MemoryCache
from emoclim.data import Item, Manifest, read_frames
from emoclim.data.media.checks import Remark
from emoclim.encoders import Encoder, find_encoder, text_tower, vocabulary_of
from emoclim.encoders.video_encoder import over_frames
from emoclim.errors import EncoderError
from emoclim.stages import extract


def encoded(pictures: list[Image.Image], folder: Path) -> Tensor:
    """What the encoder of pictures makes of the files of some."""
    encoder, rows = load_encoder("colour"), []
    for number, picture in enumerate(pictures):
        path = folder / f"{number}.png"
        picture.save(path)
        rows += prepare(encoder, Item("x", path))[0]
    with torch.inference_mode():
        return encoder.module(torch.cat(rows))


def test_a_feature_is_the_mean_over_the_pictures_of_its_second(tmp_path: Path) -> None:
    film = Item("film", write_film(tmp_path / "film.mp4", busy_frames(65)), start=0.4)
    pictures = [one for one in read_frames(film, 5) if not isinstance(one, Remark)]
    assert len(pictures) == 11
    alone = encoded(pictures, tmp_path)
    encoder = load_encoder("colour_video")
    with MemoryCache(encoder.spec) as cache:
        extract(Manifest("films", "video", Path(), (film,)), encoder, cache)
        found = cache.features(["film"])
    assert found.segments is not None
    assert found.starts is not None
    torch.testing.assert_close(found.segments, torch.stack([alone[:5].mean(0), alone[5:10].mean(0)]))
    assert found.starts.tolist() == pytest.approx([0.4, 1.4])


def test_frames_of_less_than_a_second_are_repeated(tmp_path: Path) -> None:
    film = Item("film", write_film(tmp_path / "film.mp4", busy_frames(8)))
    (second,), seconds = prepare(load_encoder("colour_video"), film)
    assert seconds == 0.4
    assert torch.equal(second[0, :2], second[0, 2:4])
    assert torch.equal(second[0, 0], second[0, 4])


def test_a_crop_shows_the_same_part_of_all_frames(tmp_path: Path) -> None:
    still = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    film = Item("film", write_film(tmp_path / "film.mkv", [still] * 50, demuxer="matroska", codec="ffv1"))
    crop = load_encoder("colour_video").crop(film, torch.Generator().manual_seed(1))
    assert torch.equal(crop, crop[:1].expand_as(crop))


def test_words_are_those_of_the_encoder_of_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path))
    assert find_encoder("clip_video").TEXT == "clip_text"
    (tmp_path / "weights.pth").touch()
    load = find_encoder("efficientnet_lite0_video").load
    spec = load(checkpoint=tmp_path / "weights.pth", output="classes").spec
    assert len(vocabulary_of(spec)) == spec.dim == 1000
    assert text_tower(load_encoder("colour_video").spec) is None


def test_only_encoders_of_pictures_make_one_of_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EncoderError, match="'timbre_video'"):
        load_encoder("timbre_video")
    other: Encoder = load_encoder("timbre")
    with pytest.raises(EncoderError, match="no frames of videos"):
        over_frames(other)  # type: ignore[arg-type]
