"""Music ResNet: seven layers of 3x3 filters and maxima over a mel spectrogram of 5 s, and a mixture of their channels.

Written from M. Won, J. Salamon, N. J. Bryan, G. J. Mysore and X. Serra, "Emotion embedding spaces for matching music
to stories" (ISMIR 2021), section 3.1, and from the names and sizes of the layers in the code that they published; their
parameters they did not. Of the scales in that code, decibels are the one here: its regressions have power instead.

Conventions: waveforms are mono at 16 kHz; frequency comes before time; the modules bear the published names.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from emoclim.encoders.nets.won2020 import Tagger, mel_spectrogram

N_MELS = 128
CHANNELS = 64


class Convolution(nn.Module):
    """A convolution and maxima of its rectified values: ``(B, C, F, T) -> (B, C', F // p, T // q)``."""

    def __init__(self, inputs: int, channels: int, pool: Sequence[int] = (2, 2), size: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, channels, size, padding=size // 2)
        self.bn = nn.BatchNorm2d(channels)
        self.pool = tuple(pool)

    def forward(self, level: Tensor) -> Tensor:
        """See the class."""
        return functional.max_pool2d(functional.relu(self.bn(self.conv(level))), self.pool)


class Residual(nn.Module):
    """Two convolutions beside the input itself, and maxima: ``(B, C, F, T) -> (B, C, F // p, T // q)``."""

    def __init__(self, channels: int, pool: Sequence[int] = (2, 2)) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn_1 = nn.BatchNorm2d(channels)
        self.conv_2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn_2 = nn.BatchNorm2d(channels)
        self.pool = tuple(pool)

    def forward(self, level: Tensor) -> Tensor:
        """See the class."""
        change = self.bn_2(self.conv_2(functional.relu(self.bn_1(self.conv_1(level)))))
        return functional.max_pool2d(functional.relu(level + change), self.pool)


class MusicResnet(Tagger):
    """Waveform of at least 4.6 s to the maximum over time of its last layer: ``(B, samples) -> (B, 256)``."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = mel_spectrogram(N_MELS)
        self.spec_bn = nn.BatchNorm2d(1)
        self.layer1 = Convolution(1, CHANNELS)
        self.layer2 = Residual(CHANNELS)
        self.layer3 = Convolution(CHANNELS, 2 * CHANNELS)
        self.layer4 = Residual(2 * CHANNELS)
        self.layer5 = Residual(2 * CHANNELS)
        self.layer6 = Residual(2 * CHANNELS, pool=(2, 3))
        self.layer7 = Convolution(2 * CHANNELS, 4 * CHANNELS, pool=(2, 3))
        self.layer8 = Convolution(4 * CHANNELS, 4 * CHANNELS, pool=(1, 1), size=1)

    def forward(self, waveform: Tensor) -> Tensor:
        """Feature of a waveform."""
        level: Tensor = self.spec_bn(self.decibels(waveform)[:, None])  # (B, 1, 128, T)
        for number in range(1, 9):
            level = self.get_submodule(f"layer{number}")(level)
        return level.amax(dim=(2, 3))  # from (B, 256, 1, T // 288)
