"""Music ResNet: seven layers of 3x3 filters and maxima over a mel spectrogram of 5 s, and a mixture of their channels.

Written from M. Won, J. Salamon, N. J. Bryan, G. J. Mysore and X. Serra, "Emotion embedding spaces for matching music
to stories" (ISMIR 2021), section 3.1, and from the names and sizes of the layers in the code that they published; their
parameters they did not. Of the scales in that code, decibels are the one here: its regressions have power instead.

Conventions: waveforms are mono at 16 kHz; frequency comes before time; the modules bear the published names.
"""

from torch import Tensor, nn

from emoclim.encoders.nets.won2020 import ConvolutionalNetwork, PooledConvolution, PooledResidual, mel_spectrogram

N_MELS = 128
CHANNELS = 64


class MusicResnet(ConvolutionalNetwork):
    """Waveform of at least 4.6 s to the maximum over time of its last layer: ``(B, samples) -> (B, 256)``."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = mel_spectrogram(N_MELS)
        self.spec_bn = nn.BatchNorm2d(1)
        self.add_blocks(
            (
                PooledConvolution(1, CHANNELS),
                PooledResidual(CHANNELS),
                PooledConvolution(CHANNELS, 2 * CHANNELS),
                PooledResidual(2 * CHANNELS),
                PooledResidual(2 * CHANNELS),
                PooledResidual(2 * CHANNELS, pool=(2, 3)),
                PooledConvolution(2 * CHANNELS, 4 * CHANNELS, pool=(2, 3)),
                PooledConvolution(4 * CHANNELS, 4 * CHANNELS, pool=(1, 1), size=1),
            )
        )

    def forward(self, waveform: Tensor) -> Tensor:
        """Feature of a waveform."""
        return self.pooled(self.spec_bn(self.decibels(waveform)[:, None]))  # from (B, 1, 128, T)
