"""SampleCNN: small filters and maxima over a raw waveform, level upon level, until one value per channel is left.

Written from J. Lee, J. Park, K. L. Kim and J. Nam, "Sample-level deep convolutional neural networks for music
auto-tagging using raw waveforms" (SMC 2017), and from K. Avramidis, S. Stewart and S. Narayanan, "On the role of visual
context in enriching music representations" (ICASSP 2023), sections 3.2 and 4.3, with the sizes and names of the layers
in the code that they published; their parameters they did not.

Conventions: waveforms are mono at 16 kHz, of ``first * pool**blocks`` samples; the modules bear the published names.
"""

from itertools import pairwise

from torch import Tensor, nn

FILTER = 3  # samples of every filter but the first and the last
NARROW, MIDDLE, FEATURE = 128, 256, 512  # channels


def block(inputs: int, channels: int, size: int, *, stride: int = 1, pool: int = 1) -> nn.Sequential:
    """Make one block: ``(B, C, T) -> (B, C', T // stride // pool)``."""
    layers = [
        nn.Conv1d(inputs, channels, size, stride=stride, padding=0 if stride > 1 else size // 2),
        nn.BatchNorm1d(channels),
        nn.ReLU(),
    ]
    return nn.Sequential(*layers, *([nn.MaxPool1d(pool)] if pool > 1 else []))


class SampleCnn(nn.Module):
    """Waveform to the values of its last channels: ``(B, samples) -> (B, 512)``.

    Notes
    -----
    A first filter of `first` samples, which is its stride too, then `blocks` blocks of small filters and maxima over
    `pool`, then one mixture of the channels. Of the blocks with maxima the first two have 128 channels, the last two
    512, and those between them 256: published for nine of them, and kept for other numbers of them.
    """

    def __init__(self, first: int, pool: int, blocks: int) -> None:
        super().__init__()
        widths = [NARROW, *[NARROW] * 2, *[MIDDLE] * (blocks - 4), *[FEATURE] * 2]
        pooled = [block(inputs, channels, FILTER, pool=pool) for inputs, channels in pairwise(widths)]
        self.all_blocks = nn.Sequential(block(1, NARROW, first, stride=first), *pooled, block(FEATURE, FEATURE, 1))

    def forward(self, waveform: Tensor) -> Tensor:
        """Feature of a waveform."""
        level: Tensor = self.all_blocks(waveform[:, None])  # (B, 512, 1)
        return level.squeeze(2)
