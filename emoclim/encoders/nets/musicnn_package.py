"""The network of the package `musicnn`: like :mod:`emoclim.encoders.nets.musicnn`, with its layers in another order.

Written from J. Pons and X. Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging" (ISMIR
late-breaking 2019), and from the names and shapes of the parameters in their package.

Conventions: waveforms are mono at 16 kHz; frequency comes before time; normalisation comes after the rectifier.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from emoclim.encoders.nets.musicnn import DENSE, MIDDLE_CHANNELS, MIDDLE_FRAMES, N_MELS, PITCHES, MusicnnLayers
from emoclim.encoders.nets.won2020 import TAGS, mel_spectrogram

FRONT = ((204, 38, 7), (204, 67, 7), (51, 1, 128), (51, 1, 64), (51, 1, 32))  # channels, bands, frames of filters
LARGEST = torch.finfo(torch.float16).max
NORMALISATION = partial(nn.BatchNorm1d, eps=1e-3)
# what the package calls the layers, in the order in which it makes those of a kind, and their parameters
CONVOLVED = ("layers.0", "layers.1", "layers.2", "layers.3", "layers.4", "layer1", "layer2", "layer3")
LAYERS = {
    "conv2d": tuple(f"{layer}.conv" for layer in CONVOLVED),
    "batch_normalization": ("spec_bn", *(f"{layer}.bn" for layer in CONVOLVED), "pooled_bn", "bn"),
    "dense": ("dense1", "dense2"),
}
ENTRIES = {
    "kernel": "weight",
    "gamma": "weight",
    "bias": "bias",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class Filters(nn.Module):
    """Filters over bands and time, their maximum over pitch: ``(B, F, T) -> (B, C, T)``."""

    def __init__(self, channels: int, bands: int, frames: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, (bands, frames))
        self.bn = nn.BatchNorm2d(channels, eps=1e-3)

    def forward(self, spectrogram: Tensor) -> Tensor:
        """See the class."""
        bands, frames = self.conv.kernel_size
        padded = functional.pad(spectrogram, ((frames - 1) // 2, frames // 2))
        if bands == padded.shape[1]:  # one pitch: a convolution over time alone is the faster one
            filtered = functional.conv1d(padded, self.conv.weight[:, 0], self.conv.bias)[:, :, None]
            return self._maximum(filtered)
        pitches = padded.shape[1] - bands + 1
        step = pitches if self.training else PITCHES  # in a fraction of the memory that all of them take
        cuts = [padded[:, None, first : first + step + bands - 1] for first in range(0, pitches, step)]
        highest = self._maximum(self.conv(cuts[0]))
        for cut in cuts[1:]:
            highest = torch.maximum(highest, self._maximum(self.conv(cut)))
        return highest

    def _maximum(self, filtered: Tensor) -> Tensor:
        highest: Tensor = self.bn(functional.relu(filtered)).amax(dim=2)
        return highest


class PackageMusicnn(MusicnnLayers):
    """Waveform to the 200 values before the tagging layer or, as output ``tags``, to the probability of each tag.

    Notes
    -----
    The logarithm of 96 Slaney mel bands (0 to 8 kHz) of the power spectrum, one frame per 16 ms, of frames that lie in
    the waveform whole; timbre and rhythm filters side by side; three convolutions over time, the last two residual; all
    of their outputs, pooled over time by maximum and by mean.
    """

    def __init__(self, output: str = "features") -> None:
        super().__init__()
        self.output = output
        self.spec = mel_spectrogram(N_MELS, norm="slaney", mel_scale="slaney", center=False)
        self.spec_bn = NORMALISATION(1)
        self.layers = nn.ModuleList([Filters(*sizes) for sizes in FRONT])
        front = sum(channels for channels, _, _ in FRONT)
        self.layer1 = Filters(MIDDLE_CHANNELS, front, MIDDLE_FRAMES)
        self.layer2 = Filters(MIDDLE_CHANNELS, MIDDLE_CHANNELS, MIDDLE_FRAMES)
        self.layer3 = Filters(MIDDLE_CHANNELS, MIDDLE_CHANNELS, MIDDLE_FRAMES)
        width = 2 * (front + 3 * MIDDLE_CHANNELS)
        self.pooled_bn = NORMALISATION(width)
        self.dense1 = nn.Linear(width, DENSE)
        self.bn = NORMALISATION(DENSE)
        self.dense2 = nn.Linear(DENSE, TAGS)

    def forward(self, waveform: Tensor) -> Tensor:
        """Output of a waveform ``(B, samples)``."""
        feature = self.features(self.log_mel(waveform))
        return feature if self.output == "features" else self.tags(feature)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Logarithm of the power in mel bands: ``(B, samples) -> (B, 96, T)``."""
        with torch.autocast(waveform.device.type, enabled=False):  # powers span more than half precision holds
            rounded = self.power(waveform).clamp(max=LARGEST).half().float()  # the package stores spectrograms so
            return torch.log10(1 + 1e4 * rounded)

    def features(self, log_mel: Tensor) -> Tensor:
        """The values before the tagging layer: ``(B, 96, T) -> (B, 200)``."""
        spectrogram = self.spec_bn(log_mel.flatten(1)[:, None]).view_as(log_mel)
        levels = self.levels(spectrogram)
        pooled = torch.stack([levels.amax(dim=2), levels.mean(dim=2)], dim=2).flatten(1)
        normalised: Tensor = self.bn(functional.relu(self.dense1(self.pooled_bn(pooled))))
        return normalised


def renamed(net: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Bring the tensors of the package's checkpoint to the names and axes of the network; leave those of others.

    Axes are in the other order: of kernels (time, frequency, in, out), of dense layers (in, out).
    """
    if "dense/kernel" not in tensors:
        return dict(tensors)
    found = {name: tensor for name, tensor in net.state_dict().items() if name.startswith("spec.")}
    for kind, layers in LAYERS.items():
        for number, layer in enumerate(layers):
            own = f"{kind}_{number}" if number else kind
            for entry, name in ENTRIES.items():
                if (tensor := tensors.get(f"{own}/{entry}")) is not None:
                    found[f"{layer}.{name}"] = tensor.permute(*reversed(range(tensor.ndim)))
    return found
