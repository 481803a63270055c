"""Short-chunk CNN, the residual variant: a tagger of music of small filters over 3.7 s of a mel spectrogram.

Written from M. Won, A. Ferraro, D. Bogdanov and X. Serra, "Evaluation of CNN-based automatic music tagging models"
(SMC 2020), and from the names and shapes of the parameters that they published with it.

Conventions: waveforms are mono at 16 kHz; frequency comes before time; the modules bear the published names.
"""

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram

from emoclim.encoders.nets.musicnn import HOP_LENGTH, N_FFT, POWER_FLOOR, SAMPLE_RATE, TAGS

N_MELS = 128
FEATURE = 512


class StridedResidual(nn.Module):
    """Two convolutions and a shortcut, half the size: ``(B, C, F, T) -> (B, C', ceil(F / 2), ceil(T / 2))``."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(inputs, channels, 3, stride=2, padding=1)
        self.bn_1 = nn.BatchNorm2d(channels)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn_2 = nn.BatchNorm2d(channels)
        self.conv_3 = nn.Conv2d(inputs, channels, 3, stride=2, padding=1)
        self.bn_3 = nn.BatchNorm2d(channels)

    def forward(self, level: Tensor) -> Tensor:
        """See the class."""
        residual = self.bn_2(self.conv_2(functional.relu(self.bn_1(self.conv_1(level)))))
        return functional.relu(self.bn_3(self.conv_3(level)) + residual)


class ShortChunkCnn(nn.Module):
    """Waveform to the maximum of the last convolution; :meth:`tags` goes on to the tags.

    Notes
    -----
    Decibels of 128 HTK mel bands (0 to 8 kHz) of the power spectrum, one frame per 16 ms; seven residual blocks, each
    of half the size of the one before. In the training recipe dropout of .5 lies between the two dense layers of the
    tags, which an encoder has no use for.
    """

    def __init__(self) -> None:
        super().__init__()
        with warnings.catch_warnings():  # the lowest band lies between two bins and stays silent
            warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")
            self.spec = MelSpectrogram(
                SAMPLE_RATE, n_fft=N_FFT, hop_length=HOP_LENGTH, f_min=0.0, f_max=SAMPLE_RATE / 2, n_mels=N_MELS
            )
        self.spec_bn = nn.BatchNorm2d(1)
        self.layer1 = StridedResidual(1, 128)
        self.layer2 = StridedResidual(128, 128)
        self.layer3 = StridedResidual(128, 256)
        self.layer4 = StridedResidual(256, 256)
        self.layer5 = StridedResidual(256, 256)
        self.layer6 = StridedResidual(256, 256)
        self.layer7 = StridedResidual(256, FEATURE)
        self.dense1 = nn.Linear(FEATURE, FEATURE)
        self.bn = nn.BatchNorm1d(FEATURE)
        self.dense2 = nn.Linear(FEATURE, TAGS)

    def decibels(self, waveform: Tensor) -> Tensor:
        """Mel spectrogram in dB, not below -100: ``(B, samples) -> (B, 128, T)``."""
        with torch.autocast(waveform.device.type, enabled=False):  # powers span more than half precision holds
            return 10.0 * torch.log10(self.spec(waveform).clamp(min=POWER_FLOOR))

    def forward(self, waveform: Tensor) -> Tensor:
        """Feature of a waveform."""
        level: Tensor = self.spec_bn(self.decibels(waveform)[:, None])  # (B, 1, 128, T)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4, self.layer5, self.layer6, self.layer7):
            level = layer(level)
        return level.amax(dim=(2, 3))

    def tags(self, feature: Tensor) -> Tensor:
        """Probability of each tag: ``(B, 512) -> (B, 50)``."""
        return torch.sigmoid(self.dense2(functional.relu(self.bn(self.dense1(feature)))))
