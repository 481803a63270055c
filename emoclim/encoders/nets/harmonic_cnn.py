"""Harmonic CNN: a tagger of music whose input channels are the harmonics of each pitch, through filters it has learnt.

Written from M. Won, S. Chun, O. Nieto and X. Serra, "Data-driven harmonic filters for audio representation learning"
(ICASSP 2020) and M. Won, A. Ferraro, D. Bogdanov and X. Serra, "Evaluation of CNN-based automatic music tagging models"
(SMC 2020), and from the names and shapes of the parameters that the latter published.

Conventions: waveforms are mono at 16 kHz; frequency comes before time; the modules bear the published names.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import Spectrogram

from emoclim.encoders.nets.won2020 import (
    HOP_LENGTH,
    N_FFT,
    SAMPLE_RATE,
    ConvolutionalTagger,
    PooledConvolution,
    PooledResidual,
)

HARMONICS = 6
LOWEST, HIGHEST = 24, 88  # MIDI numbers of C1 and E6, the last note whose sixth harmonic is below 8 kHz
BANDS_PER_SEMITONE = 2
BANDS = (HIGHEST - LOWEST) * BANDS_PER_SEMITONE
BANDWIDTH_SLOPE = 0.1079
BANDWIDTH_AT_ZERO = 24.7  # Hz
CHANNELS = 128
FEATURE = 256


def centre_frequencies() -> Tensor:
    """Hz of each harmonic of each pitch from C1 up to but not including E6: ``(6, 128)``."""
    midi = LOWEST + torch.arange(BANDS, dtype=torch.float64) / BANDS_PER_SEMITONE
    pitches = 440.0 * 2.0 ** ((midi - 69.0) / 12.0)  # MIDI number 69 is the A of 440 Hz
    return (torch.arange(1, HARMONICS + 1)[:, None] * pitches).float()


class HarmonicSpectrogram(nn.Module):
    """Power around each harmonic of each pitch: ``(B, samples) -> (B, 6, 128, T)``.

    Notes
    -----
    Filters are triangles of height 1, ``max(0, 1 - 2 |f - f0| / w)``, as wide as the ear's bands are for their centre,
    ``w = (0.1079 f0 + 24.7 Hz) / Q``, where the one number Q is learnt.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spec = Spectrogram(N_FFT, hop_length=HOP_LENGTH)
        self.bw_Q = nn.Parameter(torch.ones(1))
        bins = torch.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)
        self.register_buffer("bins", bins, persistent=False)  # published files hold neither of these two
        self.register_buffer("centres", centre_frequencies().flatten(), persistent=False)

    def filters(self) -> Tensor:
        """Weight of each bin in each harmonic and band: ``(768, 257)``, harmonics outermost."""
        centres = self.get_buffer("centres")[:, None]
        widths = (BANDWIDTH_SLOPE * centres + BANDWIDTH_AT_ZERO) / self.bw_Q
        return functional.relu(1.0 - 2.0 * (self.get_buffer("bins") - centres).abs() / widths)

    def forward(self, waveform: Tensor) -> Tensor:
        """See the class."""
        power: Tensor = self.spec(waveform)  # (B, 257, T)
        return (self.filters() @ power).view(len(power), HARMONICS, BANDS, -1)


class HarmonicCnn(ConvolutionalTagger):
    """Waveform to the maximum of the last convolution; :meth:`tags` goes on to the tags.

    Notes
    -----
    Decibels of 6 harmonics (the channels) of 128 pitches, two per semitone, one frame per 16 ms; seven convolutional
    blocks, all but two residual.
    """

    def __init__(self) -> None:
        super().__init__()
        self.hstft = HarmonicSpectrogram()
        self.hstft_bn = nn.BatchNorm2d(HARMONICS)
        blocks = (
            PooledConvolution(HARMONICS, CHANNELS),
            *(PooledResidual(CHANNELS) for _ in range(3)),
            PooledConvolution(CHANNELS, FEATURE),
            *(PooledResidual(FEATURE, pool=(2, 3)) for _ in range(2)),
        )
        self.add_layers(blocks, FEATURE)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolutions are the faster for it

    def power(self, waveform: Tensor) -> Tensor:
        """Power of each harmonic: ``(B, samples) -> (B, 6, 128, T)``."""
        power: Tensor = self.hstft(waveform)
        return power

    def forward(self, waveform: Tensor) -> Tensor:
        """Feature of a waveform."""
        return self.pooled(self.hstft_bn(self.decibels(waveform)))  # from (B, 6, 128, T)
