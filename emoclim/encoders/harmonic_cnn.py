"""Harmonic CNN, a tagger of music: 5 s of mono audio at 16 kHz to its 256 last channels' maxima."""

from functools import partial
from pathlib import Path

from emoclim.data import audio
from emoclim.data.manifest import Modality
from emoclim.encoders import checkpoints
from emoclim.encoders.base import AudioEncoder
from emoclim.errors import EncoderError
from emoclim.features import FeatureSpec
from emoclim.nets.harmonic_cnn import FEATURE, HarmonicCnn
from emoclim.nets.musicnn import SAMPLE_RATE

MODALITY: Modality = "audio"
LENGTH = 80_000  # samples
COMMIT = "36aa13b7205ff156cf4dcab60fd69957da453151"


def published() -> checkpoints.Published:
    """The training of Won et al. (SMC 2020) on the Million Song Dataset."""
    return checkpoints.Published(
        file="harmonic_cnn_msd.pth",
        url=f"https://github.com/minzwon/sota-music-tagging-models/raw/{COMMIT}/models/msd/hcnn/best_model.pth",
        hash="git-blob:8b6c53c41ce3fd5c61cd0aa2f5444435972f8e53",
        licence="MIT",
        trained_on=("Million Song Dataset with Last.fm tags",),
    )


def load(*, checkpoint: Path, overlap: float = 0.75) -> AudioEncoder:
    """Make the encoder; the network is built on first use.

    Parameters
    ----------
    checkpoint
        File of parameters.
    overlap
        Fraction of a segment shared with the next, in [0, 1).

    Raises
    ------
    EncoderError
        The overlap is out of range.
    CheckpointError
        There is no such file.
    """
    if not 0.0 <= overlap < 1.0:
        raise EncoderError(f"harmonic_cnn takes an overlap from 0 up to but not including 1, not {overlap}")
    spec = FeatureSpec(
        name="harmonic_cnn",
        modality=MODALITY,
        dim=FEATURE,
        checkpoint=checkpoints.identity(checkpoint),
        settings={
            "sample_rate": SAMPLE_RATE,
            "resampler": f"soxr {audio.RESAMPLER}",
            "length": LENGTH,
            "overlap": float(overlap),
            "pad": "repeat",
            "precision": "fp32",
        },
    )
    return AudioEncoder(spec, SAMPLE_RATE, LENGTH, overlap, partial(build_net, checkpoint))


def build_net(checkpoint: Path) -> HarmonicCnn:
    """Network with the parameters of a published file; the tags of :meth:`~HarmonicCnn.tags` are its data set's.

    Raises
    ------
    CheckpointError
        The file cannot be read or does not fit.
    """
    net = HarmonicCnn()
    checkpoints.fit(net, checkpoints.read_tensors(checkpoint), checkpoint)
    return net
