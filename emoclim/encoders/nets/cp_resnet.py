"""CP-ResNet on mid-level perceptual features: a residual network that sees 95 bands and frames at once, and where.

Written from K. Koutini et al., "The receptive field as a regularizer in deep convolutional neural networks for acoustic
scene classification" (EUSIPCO 2019) and "Receptive-field-regularized CNN variants for acoustic scene classification"
(DCASE 2019), which puts a channel with the height of each band before every convolution; and from the sizes of layers
that S. Chowdhury and G. Widmer, "On perceived emotion in expressive piano performance" (ISMIR 2021), state. The
receptive field is kept small by filters of size 1. Their parameters are not public, nor are their names these.

Conventions: waveforms are mono at 22,050 Hz; frequency comes before time.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import max_pool2d, relu

from emoclim.encoders.nets.log_spectrogram import LogSpectrogram, trimmed
from emoclim.encoders.nets.onset_density import OnsetDensity

SAMPLE_RATE = 22_050
N_FFT = 2048
FRAME_RATE = 31.3
BANDS_PER_OCTAVE, F_MIN, F_MAX = 24, 20.0, 16_000.0
# Of each block: times the channels of the first, sizes of its two filters, and whether maxima of 2 x 2 follow it
BLOCKS = ((1, 3, 1, True), (1, 3, 3, True), (1, 3, 3, False), (2, 3, 3, False), (4, 1, 1, False))


class PlacedConvolution(nn.Module):
    """A convolution that sees the height of each band, from -1 to 1, as one more channel; and its normalisation."""

    def __init__(self, inputs: int, channels: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs + 1, channels, size, stride, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, level: Tensor) -> Tensor:
        """``(B, C, F, T) -> (B, C', F / stride, T / stride)``."""
        height = torch.linspace(-1, 1, level.shape[2], device=level.device, dtype=level.dtype)[:, None]
        place = height.expand(len(level), 1, -1, level.shape[3])
        output: Tensor = self.bn(self.conv(torch.cat([level, place], dim=1)))
        return output


class ResidualBlock(nn.Module):
    """Two convolutions on top of their input: ``(B, C, F, T) -> (B, C', F, T)``."""

    def __init__(self, inputs: int, channels: int, first: int, second: int) -> None:
        super().__init__()
        self.first = PlacedConvolution(inputs, channels, first)
        self.second = PlacedConvolution(channels, channels, second)
        self.shortcut = nn.Identity() if inputs == channels else PlacedConvolution(inputs, channels, 1)

    def forward(self, level: Tensor) -> Tensor:
        """See the class."""
        return relu(self.second(relu(self.first(level))) + self.shortcut(level))


class CpResnet(nn.Module):
    """Waveform to values that are the means of a last layer over bands and frames: ``(B, N) -> (B, outputs)``."""

    def __init__(self, outputs: int, channels: int = 128) -> None:
        super().__init__()
        self.spectrogram = LogSpectrogram(
            SAMPLE_RATE, N_FFT, FRAME_RATE, bands_per_octave=BANDS_PER_OCTAVE, f_min=F_MIN, f_max=F_MAX
        )
        widths = [channels, *(times * channels for times, *_ in BLOCKS)]
        self.entry = PlacedConvolution(1, channels, 5, stride=2)
        self.blocks = nn.ModuleList(
            ResidualBlock(inputs, width, first, second)
            for inputs, width, (_, first, second, _) in zip(widths, widths[1:], BLOCKS, strict=False)
        )
        self.exit = PlacedConvolution(widths[-1], outputs, 1)

    def forward(self, waveform: Tensor) -> Tensor:
        """Values of a waveform."""
        return self.levels(self.spectrogram(trimmed(waveform))).mean(dim=(2, 3))

    def levels(self, bands: Tensor) -> Tensor:
        """The last layer ``(B, outputs, F', T')`` on a spectrogram ``(B, F, T)``."""
        level = relu(self.entry(bands[:, None]))
        for block, (*_, pooled) in zip(self.blocks, BLOCKS, strict=True):
            level = max_pool2d(block(level), 2) if pooled else block(level)
        output: Tensor = self.exit(level)
        return output


class CpResnetWithOnsets(CpResnet):
    """The same, and the onsets per second: ``(B, N) -> (B, outputs + 1)``."""

    def __init__(self, outputs: int, channels: int = 128) -> None:
        super().__init__(outputs, channels)
        self.onset_density = OnsetDensity()

    def forward(self, waveform: Tensor) -> Tensor:
        """Values of a waveform."""
        return torch.cat([super().forward(waveform), self.onset_density(waveform)], dim=1)
