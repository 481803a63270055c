"""Generated music with tags, and configurations in which a head learns them in no time."""

import torch
from torch import Tensor

from emoclim.data.features import Features, FeatureSpec
from emoclim.learning.settings import TagConfig
from emoclim.stages.tag_heads import TagSplit

CPU = torch.device("cpu")
DIM, TAGS, SEGMENTS = 12, ("loud", "soft", "piano"), 3
QUICK = TagConfig(learning_rate=0.02, epochs=8, patience=3, batch_size=16)
SPEC = FeatureSpec("given", "audio", DIM, "none", {})


def features(values: Tensor, seed: int = 0, noise: float = 0.3) -> Features:
    """Features ``(N, D)`` with three segments round each, but none of the last item."""
    n_items = len(values)
    counts = torch.full((n_items,), SEGMENTS)
    counts[-1] = 0
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    segments = values.repeat_interleave(counts, dim=0)
    segments = segments + noise * torch.randn(segments.shape, generator=torch.Generator().manual_seed(seed))
    ids = tuple(f"piece {number}" for number in range(n_items))
    return Features(SPEC, ids, values, segments, offsets, torch.zeros(len(segments)))


def split(n_items: int, seed: int) -> TagSplit:
    """Items whose tags follow from the signs of their first values."""
    values = torch.randn(n_items, DIM, generator=torch.Generator().manual_seed(seed))
    return TagSplit(features(values, seed), values[:, : len(TAGS)] > 0.4)
