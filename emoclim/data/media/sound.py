"""Open one sound file, whichever library decodes it, and mix it down at its own sample rate.

Conventions: what a file is follows from its content, never from its name. No header is trusted: nothing is allocated by
it, and a file that decodes to less than it promises is cut short and refused. Samples are float32 with full scale at 1;
peaks above that pass unchanged, up to :data:`MAX_AMPLITUDE`. Mono is the mean of the channels.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from emoclim.data.manifest import Item
from emoclim.data.media import sound_ffmpeg, sound_libsndfile
from emoclim.data.media.checks import check_file
from emoclim.errors import DecodeError

log = logging.getLogger(__name__)

Samples: TypeAlias = NDArray[np.float32]

RESAMPLER = "HQ"  # quality of soxr; stands in the spec of every feature of sound
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz
MAX_CHANNELS = 64
MAX_AMPLITUDE = 1_000.0  # 60 dB above full scale; beyond, samples are broken, or integers that were saved as floats
CANCELLED = 1e-6  # a mix with less of its channels' power, -60 dB, has lost the sound


class Sound(Protocol):
    """An open sound file."""

    sample_rate: int
    channels: int
    frames: int | None  # samples per channel that the file promises; None where it promises nothing
    slack: int  # frames that may be missing at the end of a file that is whole

    def chunks(self, first: int, last: int) -> Iterator[Samples]:
        """Yield ``(n, channels)`` from frame `first` to before `last`, or to the end of the file; to be called once."""
        ...


@contextmanager
def open_sound(item: Item) -> Iterator[Sound]:
    """Open the sound file of an item, and close it again."""
    path, head = check_file(item)
    demuxer = sound_ffmpeg.find_demuxer(head)
    with sound_ffmpeg.open_media(path, demuxer) if demuxer else sound_libsndfile.open_plain(path) as sound:
        if not MIN_RATE <= sound.sample_rate <= MAX_RATE:
            raise DecodeError(f"the header claims {sound.sample_rate} Hz; {MIN_RATE} to {MAX_RATE} Hz can be used")
        if not 1 <= sound.channels <= MAX_CHANNELS:
            raise DecodeError(f"the header claims {sound.channels} channels; 1 to {MAX_CHANNELS} can be used")
        yield sound


def read_mono(sound: Sound, first: int, last: int, name: str | None = None) -> Iterator[Samples]:
    """Mix the channels of a part of a sound."""
    decoded, mixed, separate = 0, 0.0, 0.0
    for chunk in sound.chunks(first, last):
        _check_amplitude(chunk)
        # Column by column: twenty times as fast as a mean over an axis of two, and in the same order everywhere.
        mono = sum(chunk.T[1:], chunk[:, 0]) / np.float32(sound.channels)
        mixed += float(np.vdot(mono, mono))
        separate += float(np.vdot(chunk, chunk)) / sound.channels
        decoded += len(mono)
        yield mono
    if sound.frames is not None and decoded < (promised := min(last, sound.frames) - first) - sound.slack:
        seconds, of = decoded / sound.sample_rate, promised / sound.sample_rate
        raise DecodeError(f"the file is cut short: {seconds:.2f} s of {of:.2f} s can be decoded; fetch it again")
    if decoded < 2:
        raise DecodeError(f"the sound is too short: {decoded} sample{'s' * (decoded != 1)}; leave it out")
    if mixed < CANCELLED * separate and name is not None:
        log.warning("%s: its channels are in opposite phase, so that mixed to mono it is silent", name)


def _check_amplitude(chunk: Samples) -> None:
    peak = max(float(chunk.max()), -float(chunk.min()))  # NaN if any sample is
    if not np.isfinite(peak):
        raise DecodeError("the sound holds samples that are not finite (NaN or infinity); leave it out")
    if peak > MAX_AMPLITUDE:
        raise DecodeError(
            f"the sound holds samples of {peak:.3g} where full scale is 1; if they are integers saved as floats, "
            "divide them by their largest value"
        )
