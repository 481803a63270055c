"""Short-chunk CNN, the residual variant: a tagger of music of small filters over 3.7 s of a mel spectrogram.

Written from M. Won, A. Ferraro, D. Bogdanov and X. Serra, "Evaluation of CNN-based automatic music tagging models"
(SMC 2020), and from the names and shapes of the parameters that they published with it.

Conventions: waveforms are mono at 16 kHz; frequency comes before time; the modules bear the published names.
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from emoclim.encoders.nets.won2020 import ConvolutionalTagger, mel_spectrogram

N_MELS = 128
FEATURE = 512
CHANNELS = (1, 128, 128, 256, 256, 256, 256, FEATURE)


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


class ShortChunkCnn(ConvolutionalTagger):
    """Waveform to the maximum of the last convolution; :meth:`tags` goes on to the tags.

    Notes
    -----
    Decibels of 128 mel bands of the power spectrum; seven residual blocks, each of half the size of the one before.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spec = mel_spectrogram(N_MELS)
        self.spec_bn = nn.BatchNorm2d(1)
        self.add_layers([StridedResidual(*widths) for widths in pairwise(CHANNELS)], FEATURE)

    def forward(self, waveform: Tensor) -> Tensor:
        """Feature of a waveform."""
        return self.pooled(self.spec_bn(self.decibels(waveform)[:, None]))  # from (B, 1, 128, T)
