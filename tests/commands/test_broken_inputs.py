"""Every row of a table of bad and awkward real-world inputs is used, or refused with a reason, as the table says."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from emoclim.data import read_blocks, read_crop, repeat_pad
from emoclim.data.manifest import Item
from emoclim.data.media.images.image import read_image
from emoclim.errors import DecodeError

OTHER_VERDICTS: dict[str, str] = {}  # path -> verdict, where we decide otherwise than a row that leaves it to policy
RATE = 16_000


def item(shared: Path, name: str) -> Item:
    return Item(name, shared / "broken" / name)


def photo(shared: Path, name: str) -> NDArray[np.uint8]:
    return np.asarray(read_image(item(shared, f"images/{name}")))


def wave(shared: Path, name: str) -> Tensor:
    return torch.cat(list(read_blocks(item(shared, f"audio/{name}"), RATE)))


def verdict(use: Callable[[Item], bool], one: Item) -> str:
    """``ok`` or ``reject``; anything else that happens is told in words."""
    try:
        return "ok" if use(one) else "gives numbers that are not finite"
    except DecodeError as error:
        return "reject" if 10 < len(str(error)) < 200 and str(one.path) not in str(error) else f"says {error}"


def usable_image(one: Item) -> bool:
    return np.asarray(read_image(one)).ndim == 3


def usable_audio(one: Item) -> bool:
    crop = read_crop(one, RATE, 100, torch.Generator().manual_seed(0), repeat_pad)
    return all(bool(block.isfinite().all()) for block in [crop, *read_blocks(one, RATE)])


@pytest.mark.parametrize(("modality", "use", "rows"), [("image", usable_image, 28), ("audio", usable_audio, 32)])
def test_every_verdict_is_that_of_the_table(
    shared: Path, modality: str, use: Callable[[Item], bool], rows: int
) -> None:
    with (shared / "broken" / "broken.csv").open(encoding="utf-8", newline="") as stream:
        table = [row for row in csv.DictReader(stream) if row["modality"] == modality]
    assert len(table) >= rows
    disagreements = {}
    for row in table:
        expected = OTHER_VERDICTS.get(row["path"], row["expect"]) if row["firm"] == "policy" else row["expect"]
        if (found := verdict(use, item(shared, row["path"]))) != expected:
            disagreements[row["path"]] = (found, row["reason"])
    assert disagreements == {}


def test_what_the_pictures_show(shared: Path) -> None:
    rotated = photo(shared, "exif_rotated.jpg")
    assert rotated.shape == (96, 64, 3)
    assert np.abs(rotated[12:36, 44:52].astype(int) - (255, 0, 0)).max() < 40  # the red block, top right
    clear = photo(shared, "rgba_transparent.png")
    assert (clear[:, :40] == 255).all()
    assert (photo(shared, "animated.gif") == (255, 0, 0)).all()
    grey = photo(shared, "gray16.png")
    assert 126 < grey.mean() < 129
    assert grey.min() < 3
    assert grey.max() > 252
    assert np.array_equal(grey[..., 0], grey[..., 2])
    assert 126 < photo(shared, "rgb16.png").mean() < 129
    assert photo(shared, "one_pixel.png").tolist() == [[[200, 30, 30]]]
    assert photo(shared, "strip_3000x2.png").shape == (2, 3000, 3)


def test_the_same_scene_looks_the_same_in_every_format(shared: Path) -> None:
    scene = photo(shared, "comma, quote' and %20.png").astype(int)
    for name in ("cmyk.jpg", "ok.webp", "progressive.jpg", "jpeg_content.png", "UPPER.JPG", "été spécial 🎵 photo.jpg"):
        assert np.abs(photo(shared, name) - scene).mean() < 8, name


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("rate_8k.wav", 2.0),
        ("rate_11025.wav", 2.0),
        ("rate_96k_24bit.wav", 0.4),
        ("header_size_ffffffff.wav", 1.0),
        ("ogg_content.wav", 2.0),
        ("chanson été 🎶 (mix).ogg", 2.0),
        ("stereo_one_empty.flac", 2.0),
        ("pcm_u8.wav", 2.0),
        ("ulaw.wav", 2.0),
        ("float64.wav", 0.5),
        ("very_quiet.wav", 2.0),
        ("over_full_scale.wav", 1.0),
    ],
)
def test_what_the_sounds_play(shared: Path, name: str, seconds: float) -> None:
    sound = wave(shared, name)
    assert len(sound) == round(seconds * RATE)
    loudest = torch.fft.rfft(sound * torch.hann_window(len(sound))).abs().argmax()
    assert float(loudest) / seconds == pytest.approx(440, abs=1 / seconds)


def test_how_loud_the_sounds_are(shared: Path) -> None:
    assert float(wave(shared, "over_full_scale.wav").abs().max()) > 3
    assert 1e-5 < float(wave(shared, "very_quiet.wav").abs().max()) < 1e-4
    assert not wave(shared, "silence.flac").any()
    assert (wave(shared, "dc_constant.flac") == 0.5).all()
    assert len(wave(shared, "short_0p2s.wav")) == 3200
    assert len(wave(shared, "surround_5_1.wav")) == 6400


def test_opposite_phase_is_told(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert not wave(shared, "stereo_opposite_phase.flac").any()
    assert "opposite phase" in caplog.text
