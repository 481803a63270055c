"""Make inputs that anybody can make again and that have little in common, for the check of encoders."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from emoclim.data import Item, write_video
from emoclim.errors import EncoderError
from emoclim.modality import Modality

SAMPLE_RATE, SECONDS = 16_000, 12
HEIGHT, WIDTH = 240, 320
PHOTOS = ("china.jpg", "flower.jpg")  # of scikit-learn, which is always here
TEXTS = {
    "joy": "We danced on the beach until the sun came up, laughing like children.",
    "fear": "Something moved in the dark cellar, and he did not dare to breathe.",
    "prose": "The committee will publish its annual report on railway tariffs next Tuesday.",
    "recipe": "Chop two onions, fry them in butter, then add flour and a pint of milk.",
}

Write = Callable[[Path], list[Item]]


def write_inputs(modality: Modality, folder: Path) -> list[Item]:
    """Write the inputs of a modality into a folder, or name those that lie elsewhere."""
    write: Mapping[str, Write] = {"image": _pictures, "audio": _sounds, "text": _texts, "video": _videos}
    if modality not in write:
        raise EncoderError(f"encoders of {modality} have no known inputs; check them with extract and cache verify")
    return write[modality](folder)


def _texts(_: Path) -> list[Item]:
    return [Item(name, text=text) for name, text in TEXTS.items()]


def _pictures(folder: Path) -> list[Item]:
    """A bright disc, dark stripes, noise, and two photos."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    disc = np.hypot(x - 200, y - 100)[..., None] < 60
    stripes = ((x + y) // 12 % 2)[..., None]
    pictures = {
        "disc": np.where(disc, (250, 90, 20), (250, 220, 120)),
        "stripes": stripes * np.array((10, 20, 70)),
        "noise": np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3)),
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}.png")
    paths = [*(folder / f"{name}.png" for name in pictures), *photos()]
    return [Item(path.stem, path) for path in paths]


def photos() -> list[Path]:
    """List two real photos that scikit-learn has, where it has them."""
    sklearn = importlib.util.find_spec("sklearn")  # its place, without its import
    folder = Path(sklearn.origin).parent / "datasets" / "images" if sklearn and sklearn.origin else Path()
    return [path for name in PHOTOS if (path := folder / name).is_file()]


def _videos(folder: Path) -> list[Item]:
    """Two seconds of each of the pictures, in which the view wanders to the right."""
    videos = []
    for item in _pictures(folder):
        picture, path = Image.open(str(item.path)).convert("RGB"), folder / f"{item.id}.mp4"
        views = (picture.crop((step, 0, step + WIDTH // 2, HEIGHT)) for step in range(20))
        write_video(path, views, 10, np.zeros(2 * SAMPLE_RATE))
        videos.append(Item(item.id, path))
    return videos


def _sounds(folder: Path) -> list[Item]:
    """Fast high notes, a low chord that fades out, beats of noise, and a sweep."""
    t: NDArray[np.float64] = np.arange(SECONDS * SAMPLE_RATE) / SAMPLE_RATE
    note = 523.25 * 2 ** (np.array((0, 4, 7, 12))[(8 * t).astype(int) % 4] / 12)
    noise = np.random.default_rng(0).uniform(-1, 1, len(t))
    sounds = {
        "notes": 0.5 * np.sin(2 * np.pi * note * t) * np.exp(-8 * (t % 0.125)),
        "chord": sum(0.2 * np.sin(2 * np.pi * hertz * t) for hertz in (110, 130.81, 164.81)) * np.exp(-t / 2),
        "beats": 0.7 * noise * np.exp(-25 * (t % 0.5)),
        "sweep": 0.3 * np.sin(2 * np.pi * (100 * t + 200 * t**2)),
    }
    for name, samples in sounds.items():
        soundfile.write(folder / f"{name}.wav", samples, SAMPLE_RATE, subtype="PCM_16")
    return [Item(name, folder / f"{name}.wav") for name in sounds]
