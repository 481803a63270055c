"""Read the sound of an item as a mono waveform, as a whole or one random segment of it.

Conventions: a waveform is float32 at the sample rate that is asked for, full scale at 1 and never clipped; mono is the
mean of the channels (see :mod:`.sound`); soxr resamples. The same file gives the same numbers, however it is cut into
blocks.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from emoclim.data.items.item import Item
from emoclim.data.media.sound import END, Samples, Sound, open_sound, read_mono, resample
from emoclim.errors import DecodeError

SURROUNDINGS = 256  # periods of the lower rate; soxr's HQ filter reaches some 90 to either side
LONGEST = 1e9  # seconds, some 30 years, of any sound


class Waveform(Protocol):
    """A decoded waveform ``(n,)``: a tensor, or what gets its parts from somewhere when they are asked for."""

    def __len__(self) -> int:
        """Return the number of samples, n."""
        ...

    def __getitem__(self, part: slice, /) -> Tensor:
        """Return the samples of a part, ``(m,)`` float32."""
        ...


def read_blocks(
    item: Item, sample_rate: int, *, source_rate: int | None = None, block_seconds: float = 30.0
) -> Iterator[Tensor]:
    """Read an item's sound as a stream, in bounded memory."""
    with open_sound(item) as sound:
        first, last = _part(item, sound)
        pieces: Iterator[Samples] = read_mono(sound, first, last, item.id)
        for source, target in pairwise(_rates(sound, source_rate, sample_rate)):
            pieces = resample(pieces, source, target)
        samples = 0
        for block in _regroup(pieces, max(1, round(block_seconds * sample_rate))):
            samples += len(block)
            yield block
    if samples == 0:
        raise DecodeError(f"the sound is too short: no sample of it is left at {sample_rate} Hz")


def read_crop(
    item: Item,
    sample_rate: int,
    length: int,
    generator: torch.Generator,
    pad: Callable[[Tensor, int], Tensor],
    *,
    source_rate: int | None = None,
) -> Tensor:
    """Read one random segment, seeking to it instead of decoding the whole file where its length is known."""
    position = _draw(generator)
    with open_sound(item) as sound:
        if sound.frames is not None:
            first, last = _part(item, sound)
            last = min(last, sound.frames - sound.slack)
            rates = _rates(sound, source_rate, sample_rate)
            samples = last - first
            for source, target in pairwise(rates):
                samples = samples * target // source
            if samples >= length:
                return _excerpt(sound, (first, last), rates, _start(position, samples, length), length)
    waveform = torch.cat(list(read_blocks(item, sample_rate, source_rate=source_rate)))
    return _cut(waveform, length, position, pad).clone()


def cut_crop(
    waveform: Waveform, length: int, generator: torch.Generator, pad: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """Cut one random segment ``(length,)`` out of a waveform that is decoded already, n > 0.

    From an equal generator this is the excerpt that :func:`read_crop` gives, if that expected as many samples.
    """
    return _cut(waveform, length, _draw(generator), pad)


def _draw(generator: torch.Generator) -> float:
    """Draw the place of a segment, from 0 for the first possible one to 1."""
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def _start(position: float, samples: int, length: int) -> int:
    return int(position * (samples - length + 1))


def _cut(waveform: Waveform, length: int, position: float, pad: Callable[[Tensor, int], Tensor]) -> Tensor:
    if len(waveform) < length:
        return pad(waveform[:], length)
    start = _start(position, len(waveform), length)
    return waveform[start : start + length]


def _part(item: Item, sound: Sound) -> tuple[int, int]:
    """Return the first frame of an item's part of the file, and the one after its last."""
    start, duration = item.start or 0.0, math.inf if item.duration is None else item.duration
    if not (0 <= start < LONGEST and duration > 0):
        raise DecodeError(f"the part from {start} s, {duration} s long, is none; correct start and duration")
    first = round(start * sound.sample_rate)
    if sound.frames is not None and first >= max(1, sound.frames):
        seconds = sound.frames / sound.sample_rate
        raise DecodeError(f"the part begins at {start} s, but the sound ends at {seconds:.2f} s; correct the manifest")
    return first, END if duration > LONGEST else first + max(1, round(duration * sound.sample_rate))


def _regroup(pieces: Iterable[Samples], size: int) -> Iterator[Tensor]:
    """Join pieces into tensors of `size` samples; the last holds what is left."""
    waiting: list[Samples] = []
    count = 0
    for piece in pieces:
        while count + len(piece) >= size:
            yield torch.from_numpy(np.concatenate([*waiting, piece[: size - count]]))
            waiting, count, piece = [], 0, piece[size - count :]
        waiting.append(piece)
        count += len(piece)
    if count:
        yield torch.from_numpy(np.concatenate(waiting))


def _rates(sound: Sound, source_rate: int | None, sample_rate: int) -> tuple[int, ...]:
    """Return the sample rates, in Hz, of the file, in between if any, and of the result."""
    between = () if source_rate is None else (source_rate,)
    return (sound.sample_rate, *between, sample_rate)


def _excerpt(sound: Sound, part: tuple[int, int], rates: Sequence[int], start: int, length: int) -> Tensor:
    """Read samples ``(length,)`` from `start` of a resampled part, decoding little more than them."""
    waveform = _stretch(sound, part, rates, start, start + length)
    if len(waveform) < length:
        raise DecodeError("the file is cut short: it ends before the length that its header promises; fetch it again")
    return torch.from_numpy(waveform.copy())


def _stretch(sound: Sound, part: tuple[int, int], rates: Sequence[int], first: int, last: int) -> Samples:
    """Read samples from `first` up to `last`, or the part's end, at the last of the `rates`."""
    if len(rates) == 1:
        return np.concatenate(list(read_mono(sound, part[0] + first, min(part[0] + last, part[1]))))
    source, target = rates[-2:]
    divisor = math.gcd(source, target)
    up, down = target // divisor, source // divisor  # `down` frames last as long as `up` samples
    around = math.ceil(SURROUNDINGS * max(1.0, down / up))
    begin = max(0, first * down // up - around) // down * down  # so that the resampled grid is that of the whole
    end = math.ceil(last * down / up) + around
    wider = _stretch(sound, part, rates[:-1], begin, end)
    skip = first - begin // down * up
    return np.concatenate(list(resample([wider], source, target)))[skip : skip + last - first]
