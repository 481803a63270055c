"""Make small copies of items to look at and listen to, as bytes that a browser takes."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import soundfile
from PIL.Image import Resampling

from emoclim.data.manifest import Item
from emoclim.data.media.images.image import read_image
from emoclim.data.media.waveform import read_blocks

EXCERPT_RATE = 32_000  # Hz
PEAK = 0.98  # of full scale: what an MP3 adds to a wave must not clip


def thumbnail(item: Item, pixels: int) -> bytes:
    """Make a JPEG of an item's picture, its longer side at most so many pixels."""
    picture = read_image(item)
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
