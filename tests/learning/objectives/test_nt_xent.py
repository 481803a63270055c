"""NT-Xent against plain loops; pairs of items and of views; which items have a partner."""

from dataclasses import replace
from math import log
from typing import Any

import pytest
import reference
import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.config import TrainConfig
from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.errors import ManifestError
from emoclim.learning import Batch, Objective, make_objective, nt_xent
from emoclim.learning.sampling import in_passes
from emoclim.modality import Modality
from emoclim.stages import evaluate, train_heads

BOTH: tuple[Modality, ...] = ("image", "audio")


def units(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return normalize(torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=-1)


def made(modalities: tuple[Modality, ...] = BOTH, n_heads: int = 1, **settings: Any) -> Objective:
    objective = make_objective(
        "nt_xent", modalities, [{"temperature": 0.1 * (k + 1), **settings} for k in range(n_heads)]
    )
    objective.prepare(Split({}, {}, ()), torch.device("cpu"), torch.float64)
    return objective


PAIRS = {
    "whole": (torch.arange(8), torch.arange(8)),
    "in another order": (torch.arange(8), torch.arange(8).flip(0)),
    "some without a partner": (torch.arange(8), torch.tensor([3, 9, 1, 0, 5])),
    "one drawn twice": (torch.tensor([0, 1, 2, 1, 4, 5, 6, 7]), torch.tensor([0, 1, 2, 1, 4, 5, 6, 7])),
}


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
@pytest.mark.parametrize("numbers", PAIRS)
def test_loss_and_gradient_equal_the_plain_loops(numbers: str, temperature: float, within: bool) -> None:
    pairs = PAIRS[numbers]
    rows = [units(3, len(one), 6, seed=seed).requires_grad_() for seed, one in enumerate(pairs)]
    found = nt_xent(rows[0], rows[1], pairs, temperature, within=within)
    gradients = torch.autograd.grad(found.sum(), rows)
    for k in range(3):
        own = [one[k].detach().requires_grad_() for one in rows]
        expected = reference.nt_xent(own[0], own[1], pairs, temperature, within=within)
        torch.testing.assert_close(found[k], expected, rtol=0, atol=1e-6)
        for one, other in zip(torch.autograd.grad(expected, own), gradients, strict=True):
            torch.testing.assert_close(other[k], one, rtol=0, atol=1e-6)


@pytest.mark.parametrize("within", [True, False])
def test_rows_that_are_all_alike_are_at_chance(within: bool) -> None:
    rows, numbers = torch.ones(1, 8, 4) / 2, torch.arange(8)
    found = nt_xent(rows, rows, (numbers, numbers), 0.1, within=within)
    assert found.item() == pytest.approx(log(15 if within else 8), abs=1e-5)


def test_items_of_the_same_modality_are_negatives_unless_across() -> None:
    """All music is unlike all images, which are unlike each other, or all alike."""
    axes = torch.eye(8, dtype=torch.float64)
    music, apart, alike = axes[[7] * 4][None], axes[:4][None], axes[[0] * 4][None]
    batch = Batch({}, {}, pairs=dict.fromkeys(BOTH, torch.arange(4)))
    for negatives, differs in (("all", True), ("across", False)):
        objective = made(negatives=negatives)
        one, other = (objective.losses({"image": rows, "audio": music}, batch, None)[0] for rows in (apart, alike))
        assert bool((one - other).abs() > 0.1) == differs


@pytest.mark.parametrize("negatives", ["all", "across"])
def test_two_views_of_an_item_are_a_pair_wherever_they_stand(negatives: str) -> None:
    """Also where one of them could not be read."""
    rows, numbers = units(2, 9, 5), torch.tensor([4, 4, 2, 2, 7, 0, 0, 3, 3])
    objective = made(("audio",), 2, negatives=negatives)
    (found,) = objective.losses({"audio": rows}, Batch({}, {}, pairs={"audio": numbers}), None)
    first, second = torch.tensor([0, 2, 4, 5, 7]), torch.tensor([1, 3, 6, 8])
    for k, temperature in enumerate((0.1, 0.2)):
        expected = reference.nt_xent(
            rows[k, first], rows[k, second], (numbers[first], numbers[second]), temperature, within=negatives == "all"
        )
        assert found[k].item() == pytest.approx(expected.item(), abs=1e-6)


def recordings(n: int, seed: int, segments: int = 3) -> Features:
    """Recordings whose segments lie around a centre of their own."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(n, 8, generator=generator)
    rows = centres.repeat_interleave(segments, 0) + 0.3 * torch.randn(n * segments, 8, generator=generator)
    offsets = torch.arange(0, n * segments + 1, segments)
    return Features(FeatureSpec("a", "audio", 8, "none", {}), tuple(map(str, range(n))), centres, rows, offsets)


def alone(seed: int, n: int = 20) -> Split:
    return Split({"audio": recordings(n, seed)}, {}, (), pairs={"audio": torch.arange(n)})


def test_one_modality_is_trained_on_two_segments_of_an_item() -> None:
    """As head k of three, and as it would be alone, to the bit."""
    config = TrainConfig(epochs=12, batches_per_epoch=10, val_batches=3, batch_size=10, learning_rate=1e-2, dropout=0.0)

    def run(heads: list[int]) -> tuple[Tensor, Tensor]:
        settings = [{"temperature": 0.1 * (k + 1)} for k in heads]
        objective = make_objective("nt_xent", ("audio",), settings)
        training = train_heads(alone(0), alone(1), objective, [[1.0]] * len(heads), config, device="cpu")
        return training.history.train_loss.T, training.heads.vectors(recordings(20, 2))[0]

    (losses, vectors), (_, single) = run([0, 1, 2]), run([1])
    assert (losses[:, -1] < losses[:, 0] / 2).all()
    assert torch.equal(vectors[1], single[0])


def test_one_vector_an_item_has_no_two_views() -> None:
    split = alone(0)
    bare = replace(split, features={"audio": replace(split.features["audio"], segments=None, offsets=None)})
    objective = make_objective("nt_xent", ("audio",), [{}])
    with pytest.raises(ManifestError, match="one vector an item"):
        train_heads(bare, bare, objective, [[1.0]], TrainConfig(), device="cpu")


@pytest.mark.parametrize(("n", "size"), [(10, 4), (10, 10), (3, 8)])
def test_batches_are_passes_over_all_pairs(n: int, size: int) -> None:
    drawn = in_passes(n, (7, size), torch.Generator().manual_seed(0))
    assert drawn.shape == (7, size)
    for batch in drawn:
        counts = batch.bincount(minlength=n)
        assert int(counts.max()) == -(-size // n)
    per_pass = n // size
    for first in range(0, 7 - per_pass, max(1, per_pass)):
        assert len(drawn[first : first + per_pass].unique()) == per_pass * size


def test_how_well_partners_are_found_can_be_evaluated() -> None:
    """Items of a pair lie in one direction, of which the modalities have rotated copies; three have no partner."""
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(3)))[0]

    def split(seed: int, n: int = 40) -> Split:
        image = torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))
        rows = {"image": image, "audio": (image @ turn).flip(0)}
        pairs = {"image": 100 + torch.arange(n), "audio": 100 + torch.arange(n).flip(0)}
        pairs["audio"][:3] = 7
        return Split(
            {
                name: Features(FeatureSpec("a", name, 8, "none", {}), tuple(map(str, range(n))), rows[name])
                for name in BOTH
            },
            {name: torch.full((n,), -1) for name in BOTH},
            (),
            pairs=pairs,
        )

    config = TrainConfig(epochs=15, batches_per_epoch=20, val_batches=2, batch_size=20, learning_rate=1e-2, dropout=0.0)
    training = train_heads(
        split(0, 200), split(1), make_objective("nt_xent", BOTH, [{}]), [[1.0]], config, device="cpu"
    )
    test = split(2).by_pairs()
    assert {name: len(features) for name, features in test.features.items()} == {"image": 37, "audio": 37}
    found = evaluate(test, training.heads, device="cpu").directions
    for name in ("image_audio", "audio_image"):
        assert found[name].metrics["MRR"] > 2 * found[name].random["MRR"]
        assert found[name].random["P@1"] == pytest.approx(1 / 37)
    with pytest.raises(ManifestError, match="which items belong together"):
        replace(split(2), pairs=None).by_pairs()
