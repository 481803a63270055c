"""Head k of eight is its run alone to the bit, at any width, of features, hidden layers and embeddings alike."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from own_labels import CLASSES, own_split
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.data.features import Split
from emoclim.learning import load_objective, make_objective
from emoclim.modality import Modality
from emoclim.stages import train_heads

CONFIG = TrainConfig(epochs=2, batches_per_epoch=4, val_batches=2, batch_size=14, dropout=0.3)
BOTH: tuple[Modality, ...] = ("text", "audio")
CASES: list[tuple[str, tuple[Modality, ...], dict[str, Any]]] = [
    ("classification", BOTH, {}),
    ("multi_head", BOTH, {}),
    ("nt_xent", BOTH, {}),
    ("nt_xent", BOTH, {"negatives": "across"}),
    ("va_regression", ("audio",), {}),
    ("w2v_regression", ("text",), {}),
    *(
        ("triplet", BOTH, {"branches": branches, "negatives": negatives, "mask": mask, "anchor": anchor})
        for branches, (negatives, mask, anchor) in product(
            (2, 3), (("similar", "map", "text"), ("inverse_density", "own", "audio"))
        )
    ),
]


def split(seed: int, width: int, n: int) -> Split:
    generator = torch.Generator().manual_seed(width)
    vectors = torch.randn(len(CLASSES), width, generator=generator, dtype=torch.float64)
    made = own_split(seed, n, text=width, audio=width + 1)
    numbers: dict[Modality, Tensor] = {"audio": 5 + torch.randn(n, 2, generator=generator)}
    pairs: dict[Modality, Tensor] = dict.fromkeys(BOTH, torch.arange(n))
    return replace(made, label_vectors=vectors, numbers=numbers, pairs=pairs)


@pytest.mark.parametrize(("name", "modalities", "own"), CASES)
@pytest.mark.parametrize("width", [2, 7, 64, 300])
def test_head_k_of_eight_is_its_solo_run_to_the_bit(
    width: int, name: str, modalities: tuple[Modality, ...], own: dict[str, Any]
) -> None:
    config, kind = CONFIG.updated(hidden_dim=width, embedding_dim=width), load_objective(name).Settings
    floats = {setting: kind.model_fields[setting].default for setting in kind.floats()}

    def run(heads: list[int]) -> dict[str, Tensor]:
        settings = [own | {setting: value + 0.2 * k for setting, value in floats.items()} for k in heads]
        objective = make_objective(name, modalities, settings)
        weights = torch.tensor([[0.1 + 0.2 * k, 0.5, 0.9] for k in heads])[:, : len(objective.terms)]
        training = train_heads(split(0, width, 30), split(1, width, 21), objective, weights, config, device="cpu")
        history = {"train": training.history.train_loss.T, "val": training.history.val_terms.transpose(0, 1)}
        return history | dict(training.heads.banks.state_dict())

    together = run(list(range(8)))
    assert all(tensor.isfinite().all() for tensor in together.values())
    for k in (0, 3, 7):
        for what, tensor in run([k]).items():
            assert torch.equal(tensor[0], together[what][k]), what
