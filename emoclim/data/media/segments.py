"""Cut waveforms into segments.

Convention: segments start at 0, step, 2 step, ... as long as they fit; the tail is dropped. A waveform shorter than one
segment is padded to one, where the published code leaves it out.
"""

from __future__ import annotations  # lest a segment's length load torch

from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING

from emoclim.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

SEGMENT_BYTES = 2**20  # of the segments that are yielded together


def segment_step(length: int, overlap: float) -> int:
    """Return the samples from one segment's start to the next; halves go to even, as in the published code."""
    if length < 1:
        raise ConfigError(f"a segment of {length} samples is too short; it needs at least 1")
    if not 0 <= overlap < 1:
        raise ConfigError(f"overlap {overlap} is out of range; it is a fraction of a segment, from 0 to below 1")
    step = round((1 - overlap) * length)
    if step < 1:
        raise ConfigError(f"overlap {overlap} leaves no step between segments of {length} samples; lower it")
    return step


def segment_starts(n_samples: int, length: int, overlap: float) -> list[int]:
    """Return the samples at which the segments of a waveform begin.

    Parameters
    ----------
    n_samples
        Length of the waveform; one shorter than a segment has one, at 0, which is padded; one of no samples has none.
    length
        Samples of a segment.
    overlap
        Fraction of a segment that it shares with the next, from 0 to below 1.

    Raises
    ------
    ConfigError
        A length or an overlap out of range, or an overlap that leaves no step.

    Examples
    --------
    >>> segment_starts(10, 4, 0.5)
    [0, 2, 4, 6]
    """
    step = segment_step(length, overlap)
    return list(range(0, max(n_samples - length, 0) + 1, step)) if n_samples > 0 else []


def repeat_pad(waveform: Tensor, length: int) -> Tensor:
    """Repeat a waveform ``(n,)``, n > 0, cyclically, and cut it to ``(length,)``."""
    return waveform.repeat(-(-length // len(waveform)))[:length]


def cut_segments(
    blocks: Iterable[Tensor], length: int, overlap: float, pad: Callable[[Tensor, int], Tensor]
) -> Generator[Tensor, None, int]:
    """Cut a stream into blocks ``(S, length)`` of overlapping segments; return the number of samples in it.

    The segments are the same however the stream comes in blocks.
    """
    import torch

    step = segment_step(length, overlap)
    rows = max(1, SEGMENT_BYTES // (4 * length))
    enough = (rows - 1) * step + length
    waiting, samples = torch.empty(0, dtype=torch.float32), 0
    for block in blocks:
        samples += len(block)
        waiting = torch.cat([waiting, block])
        while len(waiting) >= enough:
            yield _unfold(waiting[:enough], length, step)
            waiting = waiting[rows * step :]
    if 0 < samples < length:
        yield _unfold(pad(waiting, length), length, step)
    elif len(waiting) >= length:
        yield _unfold(waiting, length, step)
    return samples


def _unfold(waveform: Tensor, length: int, step: int) -> Tensor:
    import torch

    return waveform.unfold(0, length, step).clone(memory_format=torch.contiguous_format)
