"""Two modalities with labels of their own, of which one has the same name; generated features lean to their class."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import torch

from emoclim.config import TrainConfig
from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.data.labels.relevance import Taxonomy
from emoclim.learning import make_objective
from emoclim.stages import Training, train_heads

CLASSES = ("happy", "sad", "wild", "joy", "grief")
OWN = {"audio": (0, 1, 2), "text": (1, 3, 4)}
MEANT = torch.tensor([0, 1, 2, 0, 1])  # joy is happy, and grief is sad, like sadness itself
IS_OWN = {name: torch.isin(torch.arange(len(CLASSES)), torch.tensor(own)) for name, own in OWN.items()}
RELATED = {(a, b): (MEANT[:, None] == MEANT) & IS_OWN[a][:, None] & IS_OWN[b] for a, b in product(OWN, repeat=2)}
TAXONOMY = Taxonomy(CLASSES, OWN, RELATED, "moods")


def own_split(seed: int, n: int = 30, *, text: int = 7, audio: int = 13) -> Split:
    generator = torch.Generator().manual_seed(seed)
    dims, features, labels = {"audio": audio, "text": text}, {}, {}
    for name, dim in dims.items():
        centres = 3 * torch.randn(len(CLASSES), dim, generator=torch.Generator().manual_seed(99))
        labels[name] = torch.tensor(OWN[name]).repeat(n)[:n]
        rows = centres[labels[name]] + torch.randn(n, dim, generator=generator)
        features[name] = Features(FeatureSpec("noise", name, dim, "none", {}), tuple(map(str, range(n))), rows)
    return Split(features, labels, CLASSES, taxonomy=TAXONOMY)


def train_own(
    name: str, settings: Sequence[dict[str, Any]], config: TrainConfig, weights: Sequence[float] = (1, 1), **dims: int
) -> Training:
    objective = make_objective(name, tuple(OWN), settings)
    splits = own_split(0, **dims), own_split(1, 21, **dims)
    return train_heads(*splits, objective, [tuple(weights)] * len(settings), config, device="cpu")
