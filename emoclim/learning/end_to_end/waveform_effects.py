"""Effects on a waveform that no library gives here as published: noise by its level, filters, a delay, a reverb.

Used by :mod:`emoclim.learning.end_to_end.augment`, in whose chain their numbers are drawn from the global generators.
Each takes samples ``(n,)`` float32 and their rate in Hz, and returns as many.
"""

import math
import random
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.fft
import scipy.signal
from numpy.typing import NDArray

from emoclim.data import Samples

Complex = NDArray[np.complex64]
Ends = tuple[float, float]

DELAY_STEP, DELAY_VOLUME = 50, 0.5  # ms; of the delayed sound
COMBS = (1116, 1188, 1277, 1356, 1422, 1491, 1557, 1617)  # samples at REVERB_RATE, as ALLPASSES and SPREAD
ALLPASSES, SPREAD, REVERB_RATE = (225, 341, 441, 556), 12, 44_100
REVERB_GAIN = 0.015
LEAST_FEEDBACK, MOST_FEEDBACK = 0.3, 0.98
PERCENT = 99  # highest of the three numbers of a reverb
FADED = 1e-4  # of its first volume, to which a reverb fades before what is left is heard from the beginning


def add_noise(levels: Ends, samples: Samples, _: int) -> Samples:
    """Add Gaussian noise whose deviation is a share of the crop's, uniform between `levels`."""
    deviation = random.uniform(*levels) * samples.std()
    noisy: Samples = (samples + deviation * np.random.standard_normal(samples.shape)).astype(np.float32)  # noqa: NPY002
    return noisy


def filter_one_side(high: Ends, low: Ends, samples: Samples, rate: int) -> Samples:
    """Take away what lies below a frequency, or as often what lies above one, both uniform in Hz; 12 dB per octave."""
    ends, kind = random.choice(((high, "highpass"), (low, "lowpass")))
    sections = scipy.signal.butter(2, random.uniform(*ends), kind, fs=rate, output="sos")
    filtered: Samples = scipy.signal.sosfilt(sections, samples).astype(np.float32)
    return filtered


def delay(milliseconds: Ends, samples: Samples, rate: int) -> Samples:
    """Average the crop and itself later, at half its volume; times go in steps of 50 ms."""
    steps = range(round(milliseconds[0]), round(milliseconds[1]) + 1, DELAY_STEP)
    late = min(len(samples), rate * random.choice(steps) // 1000)
    delayed = np.concatenate([np.zeros(late, np.float32), samples[: len(samples) - late]])
    mixed: Samples = (samples + np.float32(DELAY_VOLUME) * delayed) / np.float32(2)
    return mixed


def reverberate(samples: Samples, rate: int) -> Samples:
    """Add a reverb of any reverberance, damping and size of the room, each a whole number from 0 to 99 percent."""
    return reverb(samples, rate, *(random.randint(0, PERCENT) for _ in range(3)))


def reverb(samples: Samples, rate: int, reverberance: float, damping: float, room: float) -> Samples:
    """Add the reverb of sox to samples, as its two channels are when mixed to one; numbers are percents.

    Notes
    -----
    Freeverb, of which sox's is a form, is eight combs side by side, each with a low-pass in its feedback, and four
    allpasses after them. All are linear, so that a product with their response in the frequency domain does at once
    what they do sample by sample.
    """
    slope = -1 / math.log(1 - LEAST_FEEDBACK)
    reach = 100 / (math.log(1 - MOST_FEEDBACK) * slope + 1)
    feedback = 1 - math.exp((reverberance - reach) / (slope * reach))
    damped, wide = damping / 100 * 0.3 + 0.2, room / 100 * 0.9 + 0.1
    tail = math.ceil(math.log(FADED) / math.log(feedback)) * wide * COMBS[-1] + 8 * sum(ALLPASSES)
    size = scipy.fft.next_fast_len(len(samples) + math.ceil(tail * rate / REVERB_RATE), real=True)
    bins = np.arange(size // 2 + 1)
    earlier = np.exp(2j * np.pi / size * np.arange(size)).astype(np.complex64)  # by a sample, of each bin
    fed_back = np.complex64((1 - damped) * feedback) / (1 - np.float32(damped) * earlier[bins].conj())

    def advance(lengths: Sequence[int], scale: float, side: int) -> Iterator[Complex]:
        for place, length in enumerate(lengths):
            shift = int(scale * rate / REVERB_RATE * (length + (-1) ** place * side * SPREAD) + 0.5)
            yield earlier[bins * shift % size]

    wet: Complex = np.zeros(len(bins), np.complex64)
    for side in (0, 1):
        response: Complex = np.zeros(len(bins), np.complex64)
        for comb in advance(COMBS, wide, side):
            response += 1 / (comb - fed_back)
        for allpass in advance(ALLPASSES, 1.0, side):
            response *= 1 / (allpass - np.float32(0.5)) - 1
        wet += response
    dry = scipy.fft.rfft(samples, size)
    wetted = scipy.fft.irfft(dry * (1 + np.float32(REVERB_GAIN / 2) * wet), size)[: len(samples)]
    reverberant: Samples = wetted.astype(np.float32)
    return reverberant
