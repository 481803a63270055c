"""Musicnn: a convolutional music tagger whose first layer has musically shaped filters.

Written from J. Pons, O. Nieto, M. Prockup, E. Schmidt, A. Ehmann and X. Serra, "End-to-end learning for music audio
tagging at scale" (ISMIR 2018) and J. Pons and X. Serra, "musicnn: pre-trained convolutional neural networks for music
audio tagging" (ISMIR late-breaking 2019), and from the names and shapes of the parameters that M. Won, A. Ferraro,
D. Bogdanov and X. Serra published with "Evaluation of CNN-based automatic music tagging models" (SMC 2020).

Conventions: waveforms are mono at 16 kHz; frequency comes before time; the modules bear the published names.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from emoclim.encoders.nets.statistics import alike
from emoclim.encoders.nets.won2020 import TAGS, MusicNetwork, mel_spectrogram

N_MELS = 96
TIMBRE_BANDS = (67, 38)  # .7 and .4 of the mel bands
TIMBRE_FRAMES = 7
TIMBRE_CHANNELS = 204
PITCHES = 4  # that are filtered at a time on a CPU without gradients
RHYTHM_FRAMES = (129, 65, 33)
RHYTHM_CHANNELS = 51
MIDDLE_CHANNELS = 64
MIDDLE_FRAMES = 7
DENSE = 200


class Timbre(nn.Module):
    """Filters over part of the spectrum, maximum over pitch: ``(B, 1, F, T) -> (B, C, T)``."""

    def __init__(self, channels: int, bands: int, frames: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, (bands, frames), padding=(0, frames // 2))
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """See the class."""
        on_cpu = spectrogram.device.type == "cpu"
        if on_cpu and not self.training and not torch.is_grad_enabled():
            return self._maximum(spectrogram)
        # Without a gradient to the spectrogram the plain convolution is the faster one.
        filtered = self._by_pitch(spectrogram) if on_cpu and spectrogram.requires_grad else self.conv(spectrogram)
        return functional.relu(self.bn(filtered)).amax(dim=2)

    def _maximum(self, spectrogram: Tensor) -> Tensor:
        """The same for a few pitches at a time, in a third of the memory that all of them take."""
        bands = self.conv.kernel_size[0]
        highest = spectrogram.new_tensor(0.0)
        for first in range(0, spectrogram.shape[2] - bands + 1, PITCHES):
            filtered = self.conv(spectrogram[:, :, first : first + bands - 1 + PITCHES])
            highest = torch.maximum(highest, self.bn(filtered).amax(dim=2))
        return highest

    def _by_pitch(self, spectrogram: Tensor) -> Tensor:
        """The convolution as one over time at each pitch, whose gradient oneDNN computes in a sixth of the time."""
        bands = self.conv.kernel_size[0]
        cuts = spectrogram[:, 0].unfold(1, bands, 1).transpose(2, 3)  # (B, pitches, bands, T)
        padding = self.conv.padding[1]
        found = functional.conv1d(cuts.flatten(0, 1), self.conv.weight[:, 0], self.conv.bias, padding=int(padding))
        return found.view(*cuts.shape[:2], *found.shape[1:]).transpose(1, 2)  # (B, C, pitches, T)


class Temporal(nn.Module):
    """Filters over time: ``(B, C, T) -> (B, C', T)``."""

    def __init__(self, inputs: int, channels: int, frames: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, channels, frames, padding=frames // 2)
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, sequence: Tensor) -> Tensor:
        """See the class."""
        return functional.relu(self.bn(self.conv(sequence)))


class Rhythm(Temporal):
    """Filters over the energy envelope, the mean over all bands: ``(B, 1, F, T) -> (B, C, T)``."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__(1, channels, frames)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """See the class."""
        return super().forward(spectrogram.mean(dim=2))


class MusicnnLayers(MusicNetwork):
    """What each network of the kind does with its layers, whatever they are."""

    layers: nn.ModuleList
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    dense2: nn.Module

    def levels(self, spectrogram: Tensor) -> Tensor:
        """The outputs of all layers at each frame, of a normalised spectrogram: ``(B, ..., F, T) -> (B, 753, T)``."""
        front = torch.cat([layer(spectrogram) for layer in self.layers], dim=1)  # (B, 561, T)
        first = self.layer1(front)
        second = first + self.layer2(first)
        third = second + self.layer3(second)
        return torch.cat([front, first, second, third], dim=1)

    def tags(self, feature: Tensor) -> Tensor:
        """Probability of each tag: ``(B, 200) -> (B, 50)``."""
        return alike(torch.sigmoid, self.dense2(feature))


class Musicnn(MusicnnLayers):
    """Waveform to the 200 values before the tagging layer; :meth:`tags` goes on to the tags.

    Notes
    -----
    Decibels of 96 HTK mel bands (0 to 8 kHz) of the power spectrum, one frame per 16 ms; timbre and rhythm filters side
    by side; three convolutions over time, the last two residual; all of their outputs, pooled over time by maximum and
    by mean, into one dense layer. In the training recipe dropout of .5 lies between that layer and the tagging layer,
    which an encoder has no use for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spec = mel_spectrogram(N_MELS)
        self.spec_bn = nn.BatchNorm2d(1)
        self.layers = nn.ModuleList(
            [Timbre(TIMBRE_CHANNELS, bands, TIMBRE_FRAMES) for bands in TIMBRE_BANDS]
            + [Rhythm(RHYTHM_CHANNELS, frames) for frames in RHYTHM_FRAMES]
        )
        front = TIMBRE_CHANNELS * len(TIMBRE_BANDS) + RHYTHM_CHANNELS * len(RHYTHM_FRAMES)
        self.layer1 = Temporal(front, MIDDLE_CHANNELS, MIDDLE_FRAMES)
        self.layer2 = Temporal(MIDDLE_CHANNELS, MIDDLE_CHANNELS, MIDDLE_FRAMES)
        self.layer3 = Temporal(MIDDLE_CHANNELS, MIDDLE_CHANNELS, MIDDLE_FRAMES)
        self.dense1 = nn.Linear(2 * (front + 3 * MIDDLE_CHANNELS), DENSE)
        self.bn = nn.BatchNorm1d(DENSE)
        self.dense2 = nn.Linear(DENSE, TAGS)

    def forward(self, waveform: Tensor) -> Tensor:
        """Feature of a waveform."""
        spectrogram = self.spec_bn(self.decibels(waveform)[:, None])  # (B, 1, 96, T)
        levels = self.levels(spectrogram)
        pooled = torch.cat([levels.amax(dim=2), levels.mean(dim=2)], dim=1)
        return functional.relu(self.bn(self.dense1(pooled)))
