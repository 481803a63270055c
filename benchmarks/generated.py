"""What benchmarks run on where nothing real is named: noise as photos and recordings, and parameters nobody trained.

Some files are made; further ones are copies that differ in a comment, so that no two have the same content and each
costs the same to decode.
"""

import inspect
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import soundfile
import torch
from PIL import Image
from torch import nn

from emoclim.data.manifest import Item, Manifest
from emoclim.encoders.loading import find_encoder
from emoclim.modality import Modality

PHOTO = (640, 480)
OCTAVES = {4: 60, 20: 40, 80: 22, 320: 11, 640: 5}  # width in spots -> deviation of grey levels; finer ones are fainter
QUALITY = 88  # of JPEG: files of 60 to 100 KB
ORIGINALS = 64
RATE = 44_100  # Hz, stereo
LABELS = ("calm", "tense", "sad")
PSEUDO = "pseudo-weights: speed only"


def manifest(modality: Modality, folder: Path, number: int, seconds: float, kind: str) -> Manifest:
    """So many files in a folder: JPEGs, or recordings of a `kind` ("mp3", "flac", "wav")."""
    made = pictures(folder) if modality == "image" else recordings(folder, seconds, kind)
    items = tuple(Item(path.name, path, label=LABELS[n % 3]) for n, path in enumerate(islice(made, number)))
    return Manifest("generated", modality, folder, items)


def pictures(folder: Path) -> Iterator[Path]:
    """Photos of nothing, of 640 x 480, without end."""
    draw, number = np.random.default_rng(0), 0
    originals: list[bytes] = []
    while True:
        path = folder / f"{number:06d}.jpg"
        if number < ORIGINALS:
            noise(draw).save(path, quality=QUALITY)
            originals.append(path.read_bytes())
        else:
            path.write_bytes(_commented(originals[number % ORIGINALS], b"%08d" % number))
        yield path
        number += 1


def noise(draw: np.random.Generator) -> Image.Image:
    """Spots of all sizes, as in a photo: the finer, the fainter."""
    width, height = PHOTO
    total = np.full((height, width, 3), 128.0)
    for spots, deviation in OCTAVES.items():
        pixels = (128 + deviation * draw.standard_normal((spots * 3 // 4, spots, 3))).clip(0, 255).astype(np.uint8)
        total += np.asarray(Image.fromarray(pixels).resize(PHOTO, Image.Resampling.BICUBIC), dtype=np.float64) - 128
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


def _commented(jpeg: bytes, comment: bytes) -> bytes:
    """The same picture with a comment after its first segment, the header of JFIF."""
    place = 4 + int.from_bytes(jpeg[4:6], "big")
    return jpeg[:place] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[place:]


def recordings(folder: Path, seconds: float, kind: str) -> Iterator[Path]:
    """Noise in stereo, without end."""
    draw, number = np.random.default_rng(0), 0
    originals: list[bytes] = []
    while True:
        path = folder / f"{number:06d}.{kind}"
        if kind == "mp3" and number >= ORIGINALS // 4:
            tag = b"TAG" + (b"%08d" % number).ljust(124, b"\0") + b"\xff"  # ID3v1: title first, genre last
            path.write_bytes(originals[number % len(originals)] + tag)
        else:
            soundfile.write(path, 0.1 * draw.standard_normal((round(seconds * RATE), 2)), RATE)
            if kind == "mp3":
                originals.append(path.read_bytes())
        yield path
        number += 1


def long_recording(path: Path, seconds: float) -> Item:
    """Noise in stereo, 16 bit, written minute by minute."""
    minute = (0.1 * np.random.default_rng(0).standard_normal((60 * RATE, 2))).astype(np.float32)
    left = round(seconds * RATE)
    with soundfile.SoundFile(path, "w", RATE, 2, subtype="PCM_16") as file:
        while left > 0:
            file.write(minute[:left])
            minute = np.roll(minute, 1001, axis=0)  # no two minutes are the same
            left -= len(minute)
    return Item(path.name, path, label=LABELS[0])


def checkpoint(folder: Path, encoder: str, model: str | None) -> Path:
    """A file of parameters as they are before training, in the layout of the published one."""
    found = find_encoder(encoder)
    named = {"model": model} if model and "model" in inspect.signature(found.untrained).parameters else {}
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network: nn.Module = found.untrained(**named)
    prefix = "visual." if encoder == "clip" else ""  # its files hold two towers
    path = folder / f"{encoder}-untrained.pt"
    torch.save({f"{prefix}{name}": tensor for name, tensor in network.state_dict().items()}, path)
    return path


def write_csv(path: Path, items: Sequence[Item]) -> Path:
    """A manifest of items whose files lie beside or below it."""
    lines = [f"{item.path.relative_to(path.parent)},{item.label}" for item in items if item.path]
    path.write_text("\n".join(["path,label", *lines]) + "\n", encoding="utf-8")
    return path
