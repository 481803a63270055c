"""Onsets per second: the summed rise of a spectrogram's bands, and its summits.

Sources: S. Boeck and G. Widmer, "Maximum filter vibrato suppression for onset detection" (DAFx 2013), section 3, for
the spectrogram, 200 frames per second of 46 ms with 24 bands an octave from 30 Hz, and for the rise, over the greatest
of three bands two frames before; S. Boeck, F. Krebs and M. Schedl, "Evaluating the online capabilities of onset
detection methods" (ISMIR 2012), for the summits, which are those of ``librosa.util.peak_pick``; its settings are those
of the published code of S. Chowdhury and G. Widmer.

Conventions: waveforms are mono at 22,050 Hz; zeros at their ends are left out, and their peaks brought to 1.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool1d, pad

from emoclim.encoders.nets.log_spectrogram import LogSpectrogram, trimmed

SAMPLE_RATE = 22_050
N_FFT = 1024
FRAME_RATE = 200
BANDS_PER_OCTAVE, F_MIN, F_MAX = 24, 30.0, 17_000.0
BACK = 2  # frames over which the bands rise: the window of the earlier one is at half its height there
REACH, THRESHOLD, WAIT = 5, 0.8, 5  # frames before and from a summit; rise above the mean there; frames after one


class OnsetDensity(nn.Module):
    """Waveforms to their onsets per second: ``(B, N) -> (B, 1)``, without gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrogram = LogSpectrogram(
            SAMPLE_RATE, N_FFT, FRAME_RATE, bands_per_octave=BANDS_PER_OCTAVE, f_min=F_MIN, f_max=F_MAX
        )

    @torch.no_grad()
    def forward(self, waveform: Tensor) -> Tensor:
        """Density of each waveform."""
        samples = waveform.shape[1]
        whole = int((samples - N_FFT // 2) * FRAME_RATE / SAMPLE_RATE) + 1  # frames that end within it: a cut is loud
        counts = [len(found) for found in pick_peaks(rise(self.spectrogram(trimmed(waveform))[..., :whole]))]
        return torch.tensor(counts, dtype=torch.float32, device=waveform.device)[:, None] * SAMPLE_RATE / samples


def rise(bands: Tensor) -> Tensor:
    """Sum what bands ``(B, F, T)`` rise by over the greatest of their neighbours and themselves before: ``(B, T)``."""
    before = max_pool1d(bands.mT.flatten(0, 1)[:, None], 3, 1, 1).view_as(bands.mT).mT
    return pad((bands[..., BACK:] - before[..., :-BACK]).relu().sum(dim=1), (BACK, 0))


def pick_peaks(curve: Tensor) -> list[list[int]]:
    """List where each curve ``(B, T)`` has the maximum about it, far enough above the mean there, and from the last."""
    about = pad(curve, (REACH, REACH - 1), value=-torch.inf).unfold(1, 2 * REACH, 1)
    there = about.isfinite()
    mean = about.where(there, 0).sum(dim=2) / there.sum(dim=2)
    summits = (curve == about.amax(dim=2)) & (curve >= mean + THRESHOLD)
    found: list[list[int]] = [[] for _ in curve]
    for row, place in summits.nonzero().tolist():
        if not found[row] or place - found[row][-1] > WAIT:
            found[row].append(place)
    return found
