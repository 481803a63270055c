"""A small convolutional network: 2 s of mono audio at 16 kHz to the means of its last channels.

The pattern of an encoder with parameters: with your own network and :func:`published` file, it goes into
``emoclim/encoders/``.
"""

from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torchaudio.transforms import MelSpectrogram

from emoclim.data import RESAMPLER, FeatureSpec
from emoclim.encoders import AudioEncoder, Published, fit, identity, read_tensors
from emoclim.modality import Modality

MODALITY: Modality = "audio"
SAMPLE_RATE = 16_000  # Hz
LENGTH = 32_000  # samples
N_MELS = 40
POWER_FLOOR = 1e-10


class SmallCnn(nn.Module):
    """Waveforms ``(B, samples)`` to ``(B, width)``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mel = MelSpectrogram(SAMPLE_RATE, n_mels=N_MELS)
        self.body = nn.Sequential(nn.Conv1d(N_MELS, width, 5), nn.BatchNorm1d(width), nn.ReLU())

    def forward(self, waveforms: Tensor) -> Tensor:
        """See the class."""
        with torch.autocast(waveforms.device.type, enabled=False):  # powers span more than half precision holds
            log_mel = self.mel(waveforms).clamp(min=POWER_FLOOR).log10()  # (B, N_MELS, T)
        levels: Tensor = self.body(log_mel)
        return levels.mean(dim=2)


def published() -> Published:
    """Where the parameters are; an address in the place of a real one."""
    return Published(
        file="small_cnn.safetensors",
        url="https://example.org/small_cnn.safetensors",
        hash=f"sha256:{'0' * 64}",
        licence="CC-BY-4.0",
        trained_on=("recordings of my own",),
    )


def untrained(*, width: int = 64) -> SmallCnn:
    """Make the network, before its parameters are read."""
    return SmallCnn(width)


def load(*, checkpoint: Path, width: int = 64, overlap: float = 0.5) -> AudioEncoder:
    """Make the encoder; the network is built on first use.

    Parameters
    ----------
    checkpoint
        File of parameters.
    width
        Channels of the network that the checkpoint is of, D.
    overlap
        Fraction of a segment shared with the next.

    Raises
    ------
    EncoderError
        The overlap is out of range.
    CheckpointError
        There is no such file.
    """
    spec = FeatureSpec(
        name="small_cnn",
        modality=MODALITY,
        dim=width,
        checkpoint=identity(checkpoint),
        settings={
            "sample_rate": SAMPLE_RATE,
            "resampler": f"soxr {RESAMPLER}",
            "length": LENGTH,
            "overlap": float(overlap),
            "pad": "repeat",
            "precision": "fp32",
        },
    )
    return AudioEncoder(spec, SAMPLE_RATE, LENGTH, overlap, partial(_build, width, checkpoint))


def _build(width: int, checkpoint: Path) -> SmallCnn:
    """Network with the parameters of a file."""
    net = untrained(width=width)
    fit(net, read_tensors(checkpoint), checkpoint)
    return net
