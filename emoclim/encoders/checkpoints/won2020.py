"""What the music taggers of one published collection share: 16 kHz, plain repetition of what is short, one file each.

The collection is minzwon/sota-music-tagging-models (M. Won et al., "Evaluation of CNN-based automatic music tagging
models", SMC 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.data import RESAMPLER, FeatureSpec
from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.checkpoints.published import Published, identity

if TYPE_CHECKING:
    from torch import nn

SAMPLE_RATE = 16_000  # Hz

COMMIT = "36aa13b7205ff156cf4dcab60fd69957da453151"
FILTERS = "spec.mel_scale.fb"


def published_msd(name: str, folder: str, blob: str) -> Published:
    """The training of an encoder on the Million Song Dataset: its folder in the collection, and git's hash of it."""
    return Published(
        file=f"{name}_msd.pth",
        url=f"https://github.com/minzwon/sota-music-tagging-models/raw/{COMMIT}/models/msd/{folder}/best_model.pth",
        hash=f"git-blob:{blob}",
        licence="MIT",
        trained_on=("Million Song Dataset with Last.fm tags",),
    )


def load_tagger(
    name: str, make: Callable[[], nn.Module], dim: int, length: int, *, checkpoint: Path, overlap: float
) -> AudioEncoder:
    """Make the encoder; the network is built on first use."""
    spec = FeatureSpec(
        name=name,
        modality="audio",
        dim=dim,
        checkpoint=identity(checkpoint),
        settings={
            "sample_rate": SAMPLE_RATE,
            "resampler": f"soxr {RESAMPLER}",
            "length": length,
            "overlap": float(overlap),
            "pad": "repeat",
            "precision": "fp32",
        },
    )
    return AudioEncoder(spec, SAMPLE_RATE, length, overlap, partial(_build, make, checkpoint))


def _build(make: Callable[[], nn.Module], checkpoint: Path) -> nn.Module:
    """Network with the parameters of a published file."""
    from emoclim.encoders.checkpoints.tensors import fit, read_tensors

    net = make()
    tensors = read_tensors(checkpoint)
    if FILTERS in tensors and not tensors[FILTERS].numel():  # early torchaudio made the mel filters on first use only
        tensors[FILTERS] = net.state_dict()[FILTERS]
    fit(net, tensors, checkpoint)
    return net
