"""Make small copies of items to look at and listen to, as bytes that a browser takes."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import soundfile
from PIL.Image import Image, Resampling

from emoclim.data.items.item import Item
from emoclim.data.media.images.image import read_image
from emoclim.data.media.videos.video import read_frames
from emoclim.data.media.waveform import read_blocks

EXCERPT_RATE = 32_000  # Hz
PEAK = 0.98  # of full scale: what an MP3 adds to a wave must not clip


def thumbnail(item: Item, pixels: int) -> bytes:
    """Make a JPEG of an item's picture, its longer side at most so many pixels."""
    return _small(read_image(item), pixels)


def still(item: Item, start: float, pixels: int) -> bytes:
    """Make a JPEG of what an item's video shows at a time of the item, its longer side at most so many pixels."""
    part = replace(item, start=(item.start or 0.0) + start, duration=1.0)
    return _small(next(one for one in read_frames(part, 1) if isinstance(one, Image)).copy(), pixels)


def _small(picture: Image, pixels: int) -> bytes:
    picture.thumbnail((pixels, pixels), Resampling.LANCZOS)
    written = BytesIO()
    picture.save(written, "JPEG", quality=82)
    return written.getvalue()


def excerpt(item: Item, start: float, seconds: float) -> bytes:
    """Make an MP3 of a part of an item's sound, mono."""
    length = seconds if item.duration is None else min(seconds, item.duration - start)
    part = replace(item, start=(item.start or 0.0) + start, duration=length)
    waveform = np.concatenate([block.numpy() for block in read_blocks(part, EXCERPT_RATE)])
    peak = float(np.abs(waveform).max())
    written = BytesIO()
    soundfile.write(written, waveform * min(1.0, PEAK / max(peak, PEAK)), EXCERPT_RATE, format="MP3")
    return written.getvalue()
