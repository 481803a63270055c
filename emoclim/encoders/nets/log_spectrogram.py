"""A spectrogram in bands of equal parts of an octave, as madmom makes it, and the trimming of waveforms before it.

Written from the definitions of S. Boeck et al., "madmom: a new Python audio and music signal processing library" (ACM
Multimedia 2016): frames around multiples of ``sample_rate / frame_rate``, with zeros beyond both ends; magnitudes under
a Hann window, without the bin at half the sample rate; triangles between the bins nearest to the steps of a scale tuned
to 440 Hz, each bin once, each triangle of area 1; log10(1 + x).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import pad

TUNING = 440.0  # Hz


class LogSpectrogram(nn.Module):
    """Waveform to its bands in a logarithmic scale: ``(B, N) -> (B, n_bands, T)``, T the frames that begin in it."""

    window: Tensor
    filters: Tensor

    def __init__(
        self, sample_rate: int, n_fft: int, frame_rate: float, *, bands_per_octave: int, f_min: float, f_max: float
    ) -> None:
        super().__init__()
        self.n_fft, self.hop_length = n_fft, sample_rate / frame_rate  # a frame begins at the whole sample before it
        frequencies = np.arange(n_fft // 2) * (sample_rate / n_fft)
        centres = nearest_bins(steps_of_scale(bands_per_octave, f_min, f_max), frequencies)
        filters = torch.from_numpy(triangles(centres, len(frequencies))).float()
        self.register_buffer("window", torch.from_numpy(np.hanning(n_fft)).float(), False)
        self.register_buffer("filters", filters, False)

    @property
    def n_bands(self) -> int:
        """How many bands there are."""
        return len(self.filters)

    def forward(self, waveform: Tensor) -> Tensor:
        """Bands of waveforms, of which none depends on those beside it."""
        count = int(np.ceil(waveform.shape[1] / self.hop_length))
        starts = torch.from_numpy((np.arange(count) * self.hop_length).astype(np.int64)).to(waveform.device)
        places = starts[:, None] + torch.arange(self.n_fft, device=waveform.device)
        with torch.autocast(waveform.device.type, enabled=False):
            frames = pad(waveform.float(), (self.n_fft // 2, self.n_fft // 2))[:, places]
            magnitudes = torch.fft.rfft(frames * self.window)[..., :-1].abs().mT
            # One product per waveform: in one of all, last bits would depend on a waveform's place in the batch
            bands = torch.bmm(self.filters.expand(len(magnitudes), -1, -1), magnitudes)
            return torch.log10(1 + bands)


def steps_of_scale(bands_per_octave: int, f_min: float, f_max: float) -> NDArray[np.float64]:
    """Frequencies of a scale tuned to 440 Hz, none outside the limits, in Hz."""
    octaves = np.log2(np.array([f_min, f_max]) / TUNING)
    first, last = np.ceil(octaves[0] * bands_per_octave), np.floor(octaves[1] * bands_per_octave)
    return np.asarray(TUNING * 2.0 ** (np.arange(first, last + 1) / bands_per_octave), np.float64)


def nearest_bins(frequencies: NDArray[np.float64], bins: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which bins are nearest to frequencies, in order, each once; the last to all beyond it."""
    upper = np.clip(np.searchsorted(bins, frequencies), 1, len(bins) - 1)
    nearest: NDArray[np.int64] = np.where(frequencies - bins[upper - 1] < bins[upper] - frequencies, upper - 1, upper)
    return np.unique(nearest)


def triangles(corners: NDArray[np.int64], n_bins: int) -> NDArray[np.float64]:
    """Triangles of area 1 over bins, from one corner over the next to the one after: ``(C - 2, n_bins)``.

    Where these are neighbours, the triangle is the first of them.
    """
    filters = np.zeros((len(corners) - 2, n_bins))
    for row, (start, centre, stop) in zip(filters, zip(corners, corners[1:], corners[2:], strict=False), strict=True):
        row[start:centre] = np.arange(centre - start) / (centre - start)
        row[centre:stop] = 1 - np.arange(stop - centre) / (stop - centre)
    return np.asarray(filters / filters.sum(axis=1, keepdims=True), np.float64)


def trimmed(waveform: Tensor) -> Tensor:
    """Leave zeros at both ends of waveforms ``(B, N)`` out, repeat what is left up to N, and bring its peak to 1."""
    length = waveform.shape[1]
    sounds = waveform != 0
    first = sounds.long().argmax(dim=1, keepdim=True)
    last = length - 1 - sounds.flip(1).long().argmax(dim=1, keepdim=True)
    place = torch.arange(length, device=waveform.device)
    kept = waveform.gather(1, first + place % (last - first + 1))
    return kept / kept.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(kept.dtype).tiny)
