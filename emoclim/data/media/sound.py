"""Open one sound file, whichever library decodes it, and mix it down at its own sample rate.

Conventions: what a file is follows from its content, never from its name. No header is trusted: nothing is allocated by
it, and a file that decodes to less than it promises is cut short and refused. All the sounds that lie one after another
in a file are decoded; which those are is found in `containers` before a decoder sees the file. Samples are float32 with
full scale at 1; peaks above that pass unchanged, up to :data:`MAX_AMPLITUDE`. Mono is the mean of the channels.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import BinaryIO, Protocol, TypeAlias

import numpy as np
import soxr
from numpy.typing import NDArray

from emoclim.data.items.item import Item
from emoclim.data.media import sound_ffmpeg
from emoclim.data.media.checks import NotDecodable, check_file, file_errors
from emoclim.data.media.containers.parts import find_packets, find_parts
from emoclim.data.media.containers.view import Part, View
from emoclim.data.media.sound_libsndfile import open_plain
from emoclim.errors import DecodeError, MissingLibrary
from emoclim.files import regular_handle

log = logging.getLogger(__name__)

Samples: TypeAlias = NDArray[np.float32]

END = 2**62  # frames: no end
RESAMPLER = "HQ"  # quality of soxr; stands in the spec of every feature of sound
MIN_RATE, MAX_RATE = 1_000, 768_000  # Hz
MAX_CHANNELS = 64
MAX_AMPLITUDE = 100.0  # 40 dB above full scale; beyond, samples are broken, or integers that were saved as floats
CANCELLED = 1e-6  # a mix with less of its channels' power, -60 dB, has lost the sound


class Sound(Protocol):
    """An open sound file."""

    sample_rate: int
    channels: int
    frames: int | None  # samples per channel that are there; None where only decoding tells
    promised: int | None  # those that the file promises, of which there may be more; None where it promises nothing
    slack: int  # frames that may be missing at the end of a file that is whole

    def chunks(self, first: int, last: int) -> Iterator[Samples]:
        """Yield ``(n, channels)`` from frame `first` to before `last`, or to the end of the file; to be called once."""
        ...


@contextmanager
def open_sound(item: Item) -> Iterator[Sound]:
    """Open the sound file of an item, and close it again."""
    path, _ = check_file(item)
    with ExitStack() as opened:
        with file_errors():
            handle = regular_handle(path, os.O_RDONLY, follow=True)
            stream = opened.enter_context(os.fdopen(handle, "rb", buffering=0))  # libsndfile shares its position
            parts = find_parts(stream)
        if len(parts) > 1:
            yield _Chain(stream, parts, item.id)
        else:
            yield opened.enter_context(_open_part(stream, parts[0], alone=True))


@contextmanager
def _open_part(stream: BinaryIO, part: Part, *, alone: bool) -> Iterator[Sound]:
    """Open a sound of a file, which may have no other."""
    with ExitStack() as opened:
        sound: Sound
        refusals: list[NotDecodable] = []
        for decoder in _decoders(stream, part, alone=alone):
            try:
                sound = opened.enter_context(decoder)
                break
            except NotDecodable as error:
                refusals.append(error)
            except MissingLibrary as error:
                if not refusals:
                    raise
                raise MissingLibrary(f"{refusals[0]}; FFmpeg may know it: pip install 'emoclim[media]'") from error
        else:
            told, cut = "; ".join(map(str, refusals)), ", or it is cut short" * (part.kind is not None)
            raise DecodeError(
                f"this is no sound file that can be read{cut} ({told}); fetch it again or convert it to FLAC"
            )
        if not MIN_RATE <= sound.sample_rate <= MAX_RATE:
            raise DecodeError(f"the header claims {sound.sample_rate} Hz; {MIN_RATE} to {MAX_RATE} Hz can be used")
        if not 1 <= sound.channels <= MAX_CHANNELS:
            raise DecodeError(f"the header claims {sound.channels} channels; 1 to {MAX_CHANNELS} can be used")
        yield sound


def _decoders(stream: BinaryIO, part: Part, *, alone: bool) -> Iterator[AbstractContextManager[Sound]]:
    """Yield what may open a sound, one after the other."""
    if part.kind not in sound_ffmpeg.ONLY:
        whole = alone and not part.differs and (part.start == 0 or part.kind == "mp3")  # whose tags are skipped anyway
        yield open_plain(stream if whole else View(stream, part), part)
    if part.kind is None and (found := find_packets(stream)):
        yield nullcontext(_Chain(stream, found)) if len(found) > 1 else _open_part(stream, found[0], alone=False)
    yield sound_ffmpeg.open_media(View(stream, part), part.kind, part.seconds)


class _Chain:
    """Sounds of one file, one after another, at the highest of their sample rates and mixed to mono."""

    def __init__(self, stream: BinaryIO, parts: Sequence[Part], name: str | None = None) -> None:
        self._stream, self._parts, self._name = stream, parts, name
        self.sample_rate, self.channels, self.slack = 0, 1, 0
        self.frames: int | None = None
        self.promised: int | None = None
        for number in range(len(parts)):
            with self._open(number) as sound:
                self.sample_rate = max(self.sample_rate, sound.sample_rate)

    @contextmanager
    def _open(self, number: int) -> Iterator[Sound]:
        try:
            with _open_part(self._stream, self._parts[number], alone=False) as sound:
                yield sound
        except (DecodeError, MissingLibrary) as error:
            where = f"the file holds {len(self._parts)} sounds one after another; of number {number + 1}, "
            raise type(error)(f"{where}{error}") from error

    def chunks(self, first: int, last: int) -> Iterator[Samples]:
        position = 0
        for number in range(len(self._parts)):
            with self._open(number) as sound:
                for mono in resample(read_mono(sound, 0, END, self._name), sound.sample_rate, self.sample_rate):
                    wanted = mono[max(0, first - position) : max(0, last - position)]
                    position += len(mono)
                    if len(wanted):
                        yield wanted[:, None]
                    if position >= last:
                        return


def resample(pieces: Iterable[Samples], source: int, target: int) -> Iterator[Samples]:
    """Bring a mono waveform in pieces to another sample rate."""
    if source == target:
        yield from pieces
        return
    stream = soxr.ResampleStream(source, target, 1, dtype="float32", quality=RESAMPLER)
    for piece in pieces:
        yield stream.resample_chunk(piece)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def read_mono(sound: Sound, first: int, last: int, name: str | None = None) -> Iterator[Samples]:
    """Mix the channels of a part of a sound."""
    decoded, mixed, separate = 0, 0.0, 0.0
    for chunk in sound.chunks(first, last):
        _check_amplitude(chunk)
        channels = chunk.shape[1]  # which may change within a file
        # Column by column: twenty times as fast as a mean over an axis of two, and in the same order everywhere.
        mono = sum(chunk.T[1:], chunk[:, 0]) / np.float32(channels)
        mixed += float(np.vdot(mono, mono))
        separate += float(np.vdot(chunk, chunk)) / channels
        decoded += len(mono)
        yield mono
    if sound.promised is not None and decoded < (promised := min(last, sound.promised) - first) - sound.slack:
        seconds, of = decoded / sound.sample_rate, promised / sound.sample_rate
        raise DecodeError(f"the file is cut short: {seconds:.2f} s of {of:.2f} s can be decoded; fetch it again")
    if decoded == 0 < first:
        seconds = first / sound.sample_rate
        raise DecodeError(f"the part begins at {seconds:.2f} s, but the sound ends before; correct the manifest")
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
