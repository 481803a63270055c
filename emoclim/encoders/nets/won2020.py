"""Hold what the networks of music by one author share; waveforms are mono at 16 kHz.

Most are of M. Won, A. Ferraro, D. Bogdanov and X. Serra, "Evaluation of CNN-based automatic music tagging models" (SMC
2020). Modules bear the names of the parameters that they published.
"""

import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram

SAMPLE_RATE = 16_000
N_FFT = 512
HOP_LENGTH = 256
TAGS = 50
POWER_FLOOR = 1e-10


def mel_spectrogram(n_mels: int, **more: Any) -> MelSpectrogram:
    """Make the module: power in HTK mel bands, or as is said, from 0 to 8 kHz, one frame per 16 ms."""
    with warnings.catch_warnings():  # of 128 bands the lowest lies between two bins and stays silent
        warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")
        return MelSpectrogram(
            SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, f_min=0.0, f_max=SAMPLE_RATE / 2, n_mels=n_mels, **more
        )


class MusicNetwork(nn.Module):
    """A network on a power spectrogram in decibels."""

    def power(self, waveform: Tensor) -> Tensor:
        """Power in mel bands of a waveform, by the module ``spec`` unless a network has another: ``(B, n_mels, T)``."""
        spec = cast(MelSpectrogram, self.get_submodule("spec"))
        spectrum = spec.spectrogram(waveform)
        # One product per waveform: in one of all, last bits would depend on a waveform's place in the batch
        return torch.bmm(spec.mel_scale.fb.T.expand(len(spectrum), -1, -1), spectrum)

    def decibels(self, waveform: Tensor) -> Tensor:
        """Power spectrogram in dB, not below -100: ``(B, samples) -> (B, ..., T)``."""
        with torch.autocast(waveform.device.type, enabled=False):  # powers span more than half precision holds
            return 10.0 * torch.log10(self.power(waveform).clamp(min=POWER_FLOOR))


class PooledConvolution(nn.Module):
    """One convolution, then pooled: ``(B, C, F, T) -> (B, C', F // pool[0], T // pool[1])``."""

    def __init__(self, inputs: int, channels: int, pool: tuple[int, int] = (2, 2), size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, size, padding=size // 2)
        self.bn = nn.BatchNorm2d(channels)
        self.pool = pool

    def forward(self, level: Tensor) -> Tensor:
        """See the class."""
        return functional.max_pool2d(functional.relu(self.bn(self.conv(level))), self.pool)


class PooledResidual(nn.Module):
    """Two convolutions on top of their input, then pooled: ``(B, C, F, T) -> (B, C, F // pool[0], T // pool[1])``."""

    def __init__(self, channels: int, pool: tuple[int, int] = (2, 2)) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn_1 = nn.BatchNorm2d(channels)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn_2 = nn.BatchNorm2d(channels)
        self.pool = pool

    def forward(self, level: Tensor) -> Tensor:
        """See the class."""
        residual = self.bn_2(self.conv_2(functional.relu(self.bn_1(self.conv_1(level)))))
        return functional.max_pool2d(functional.relu(level + residual), self.pool)


class ConvolutionalNetwork(MusicNetwork):
    """Blocks ``layer1``, ``layer2``, ..., and the maximum of the last one."""

    def add_blocks(self, blocks: Sequence[nn.Module]) -> None:
        """Add the blocks."""
        self.blocks = [f"layer{number}" for number in range(1, len(blocks) + 1)]
        for name, block in zip(self.blocks, blocks, strict=True):
            self.add_module(name, block)

    def pooled(self, level: Tensor) -> Tensor:
        """The feature ``(B, D)`` of a normalised spectrogram ``(B, C, F, T)``."""
        for name in self.blocks:
            level = self.get_submodule(name)(level)
        return level.amax(dim=(2, 3))


class ConvolutionalTagger(ConvolutionalNetwork):
    """Blocks, and two dense layers from the maximum of the last one to the tags.

    In the training recipe dropout of .5 lies between the two dense layers, which an encoder has no use for.
    """

    def add_layers(self, blocks: Sequence[nn.Module], width: int) -> None:
        """Add the blocks, and the dense layers on a feature of so many values."""
        self.add_blocks(blocks)
        self.dense1 = nn.Linear(width, width)
        self.bn = nn.BatchNorm1d(width)
        self.dense2 = nn.Linear(width, TAGS)

    def tags(self, feature: Tensor) -> Tensor:
        """Probability of each tag: ``(B, D) -> (B, 50)``."""
        return torch.sigmoid(self.dense2(functional.relu(self.bn(self.dense1(feature)))))
