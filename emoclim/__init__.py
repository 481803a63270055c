"""Emotion-aligned retrieval between images and music (Emo-CLIM) on a feature cache.

Everything a user imports is here; a name is loaded when it is first used, so that ``import emoclim`` is instant.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from emoclim.augmentations import Augmentations as Augmentations
    from emoclim.augmentations import Augmenter as Augmenter
    from emoclim.cache import open_cache as open_cache
    from emoclim.cache.base import EncodedItem as EncodedItem
    from emoclim.cache.base import FeatureCache as FeatureCache
    from emoclim.config import TrainConfig as TrainConfig
    from emoclim.data.audio import segment_starts as segment_starts
    from emoclim.data.manifest import Item as Item
    from emoclim.data.manifest import Manifest as Manifest
    from emoclim.data.manifest import read_manifest as read_manifest
    from emoclim.data.splits import with_splits as with_splits
    from emoclim.data.taxonomy import LabelMap as LabelMap
    from emoclim.data.taxonomy import match_labels as match_labels
    from emoclim.encoders.base import Encoder as Encoder
    from emoclim.encoders.loading import load_encoder as load_encoder
    from emoclim.errors import EmoclimError as EmoclimError
    from emoclim.features import Features as Features
    from emoclim.features import FeatureSpec as FeatureSpec
    from emoclim.features import Split as Split
    from emoclim.heads import HeadBank as HeadBank
    from emoclim.heads import Heads as Heads
    from emoclim.losses import EMO_CLIM as EMO_CLIM
    from emoclim.losses import objective as objective
    from emoclim.losses import supcon as supcon
    from emoclim.metrics.retrieval import average_precision as average_precision
    from emoclim.metrics.retrieval import macro_mean as macro_mean
    from emoclim.metrics.retrieval import precision_at_k as precision_at_k
    from emoclim.metrics.retrieval import r_precision as r_precision
    from emoclim.metrics.retrieval import reciprocal_rank as reciprocal_rank
    from emoclim.metrics.tagging import tag_metrics as tag_metrics
    from emoclim.metrics.uncertainty import bootstrap_means as bootstrap_means
    from emoclim.metrics.uncertainty import sign_flip_test as sign_flip_test
    from emoclim.stages.evaluate import evaluate as evaluate
    from emoclim.stages.extract import extract as extract
    from emoclim.stages.search import search as search
    from emoclim.stages.tag import tag as tag
    from emoclim.stages.train_end_to_end import JointTraining as JointTraining
    from emoclim.stages.train_end_to_end import Recordings as Recordings
    from emoclim.stages.train_end_to_end import train_end_to_end as train_end_to_end
    from emoclim.stages.train_heads import train_heads as train_heads
    from emoclim.tuning import EncoderTuning as EncoderTuning

_HOMES = {
    "emoclim.augmentations": ("Augmentations", "Augmenter"),
    "emoclim.cache": ("open_cache",),
    "emoclim.cache.base": ("EncodedItem", "FeatureCache"),
    "emoclim.config": ("TrainConfig",),
    "emoclim.data.audio": ("segment_starts",),
    "emoclim.data.manifest": ("Item", "Manifest", "read_manifest"),
    "emoclim.data.splits": ("with_splits",),
    "emoclim.data.taxonomy": ("LabelMap", "match_labels"),
    "emoclim.encoders.base": ("Encoder",),
    "emoclim.encoders.loading": ("load_encoder",),
    "emoclim.errors": ("EmoclimError",),
    "emoclim.features": ("FeatureSpec", "Features", "Split"),
    "emoclim.heads": ("HeadBank", "Heads"),
    "emoclim.losses": ("EMO_CLIM", "objective", "supcon"),
    "emoclim.metrics.retrieval": (
        "average_precision",
        "macro_mean",
        "precision_at_k",
        "r_precision",
        "reciprocal_rank",
    ),
    "emoclim.metrics.tagging": ("tag_metrics",),
    "emoclim.metrics.uncertainty": ("bootstrap_means", "sign_flip_test"),
    "emoclim.stages.evaluate": ("evaluate",),
    "emoclim.stages.extract": ("extract",),
    "emoclim.stages.search": ("search",),
    "emoclim.stages.tag": ("tag",),
    "emoclim.stages.train_end_to_end": ("JointTraining", "Recordings", "train_end_to_end"),
    "emoclim.stages.train_heads": ("train_heads",),
    "emoclim.tuning": ("EncoderTuning",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__version__ = "0.1.0"
__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'emoclim' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
