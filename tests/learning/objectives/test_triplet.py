"""Triplets over two taxonomies: what is drawn, what is compared, and that items find what matches their label."""

from dataclasses import replace
from typing import Any

import pytest
import reference
import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.config import TrainConfig
from emoclim.data import Features, FeatureSpec, Split, Taxonomy
from emoclim.errors import ConfigError, ManifestError
from emoclim.learning import LABELS, Batch, Objective, Space, check_pair, column_name, groups, make_objective
from emoclim.modality import Modality
from emoclim.stages import evaluate, train_heads

CPU = torch.device("cpu")
JOINED: tuple[Modality, Modality] = ("text", "speech")
CLASSES = ("anger", "joy", "shame", "angry", "glad", "shy", "calm")
TEXT, SPEECH = (0, 1, 2), (3, 4, 5, 6)
MAP = {0: {3}, 1: {4}, 2: {3, 5}}  # nothing maps to calm
CONFIG = TrainConfig(epochs=2, batches_per_epoch=4, val_batches=2, batch_size=14, hidden_dim=9, embedding_dim=5)
WAYS: list[dict[str, Any]] = [
    {"branches": 2, "negatives": "similar", "mask": "map"},
    {"branches": 2, "negatives": "inverse_density", "mask": "own"},
    {"branches": 3, "negatives": "similar", "mask": "own", "anchor": "speech"},
    {"branches": 3, "negatives": "inverse_density", "mask": "map"},
]


def taxonomy() -> Taxonomy:
    matches = torch.tensor([[b in MAP.get(a, set()) for b in range(7)] for a in range(7)])
    relevance = {("text", "speech"): matches, ("speech", "text"): matches.T}
    for modality in JOINED:
        relevance[modality, modality] = torch.eye(7) > 0
    return Taxonomy(CLASSES, {"text": TEXT, "speech": SPEECH}, relevance)


def split(seed: int, n: int = 60) -> Split:
    """Items round a centre of their label, which each modality has elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.Generator().manual_seed(100)
    features: dict[Modality, Features] = {}
    labels: dict[Modality, Tensor] = {}
    for modality, own, dim in zip(JOINED, (TEXT, SPEECH), (7, 6), strict=True):
        labels[modality] = torch.tensor(own)[torch.arange(n) % len(own)]
        rows = 3 * torch.randn(7, dim, generator=places)[labels[modality]] + torch.randn(n, dim, generator=generator)
        features[modality] = Features(FeatureSpec("noise", modality, dim, "none", {}), tuple(map(str, range(n))), rows)
    vectors = torch.randn(7, 5, generator=places)
    return Split(features, labels, CLASSES, label_vectors=vectors, taxonomy=taxonomy())


def made(*margins: float, **settings: Any) -> Objective:
    objective = make_objective("triplet", JOINED, [{"margin": margin, **settings} for margin in margins or (0.2,)])
    objective.taxonomy = taxonomy()
    objective.prepare(split(0), CPU, torch.float64)
    return objective


def drawn(objective: Objective, n: int, given: Split | None = None, views: int = 1) -> Batch:
    draws = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    (batch,) = objective.draw(given or split(0), (1, n), *draws, name="train", views=views)
    return batch


def units(batch: Batch, n_heads: int) -> dict[str, Tensor]:
    """Outputs whose cosines are high, so that either way draws any row."""
    draw = torch.Generator().manual_seed(3)
    rows = {name: torch.randn(n_heads, len(batch.labels[name]), 4, generator=draw) + 1 for name in batch.rows}
    return {name: normalize(one.double(), dim=-1) for name, one in rows.items()}


def test_two_branches_draw_pairs_of_labels_that_match() -> None:
    batch = drawn(made(), 30_000)
    assert all(torch.equal(pairs, torch.arange(30_000)) for pairs in batch.pairs.values())
    text, speech = batch.labels["text"], batch.labels["speech"]
    assert all(int(b) in MAP[int(a)] for a, b in torch.stack([text, speech], dim=1).unique(dim=0))
    shares = torch.stack([text, speech]).flatten().bincount(minlength=7) / 30_000
    torch.testing.assert_close(shares, torch.tensor([2, 2, 2, 3, 2, 1, 0]) / 6, rtol=0, atol=0.015)
    assert LABELS not in batch.rows
    items = batch.rows["text"][text == 1].unique(dim=0, return_counts=True)[1]
    torch.testing.assert_close(items / items.sum(), torch.full((20,), 1 / 20), rtol=0, atol=0.01)


def test_three_branches_draw_items_by_label_too() -> None:
    batch = drawn(made(branches=3), 30_001)
    for modality, own in (("text", TEXT), ("speech", SPEECH)):
        alone = batch.pairs[modality] < 0
        assert alone.sum() == 15_000
        shares = batch.labels[modality][alone].bincount(minlength=7) / 15_000
        expected = torch.tensor([number in own for number in range(7)]) / len(own)
        torch.testing.assert_close(shares, expected, rtol=0, atol=0.02)
    assert torch.equal(batch.pairs["text"][15_000:], batch.pairs["speech"][15_000:])
    assert not torch.isin(batch.pairs["text"][:15_000], batch.pairs["speech"]).any()
    assert batch.rows[LABELS].shape == (7, 5)


def test_the_other_modality_may_have_the_anchors() -> None:
    objective = made(branches=3, anchor="speech")
    assert objective.terms == ("labels>speech", "labels>text", "speech>text")
    batch = drawn(objective, 20_000)
    speech = batch.labels["speech"][batch.pairs["speech"] >= 0]
    shares = speech.bincount(minlength=7) / 10_000
    torch.testing.assert_close(shares, torch.tensor([0, 0, 0, 1, 1, 1, 0]) / 3, rtol=0, atol=0.02)


def test_views_of_an_item_are_paired_with_those_of_its_match() -> None:
    batch = drawn(made(branches=3), 8, views=2)
    assert len(batch.pairs["text"]) == 16
    for modality in JOINED:
        assert torch.equal(batch.rows[modality][::2], batch.rows[modality][1::2])
        assert (batch.pairs[modality] < 0).sum() == 8
    assert torch.equal(batch.pairs["text"][8:], batch.pairs["speech"][8:])


@pytest.mark.parametrize("settings", WAYS)
def test_losses_equal_the_plain_loops(settings: dict[str, Any]) -> None:
    margins = (0.1, 0.5)
    objective = made(*margins, **settings)
    batch = drawn(objective, 20)
    outputs = units(batch, 2)
    found = dict(zip(objective.terms, objective.losses(outputs, batch, None), strict=True))
    for term, losses in found.items():
        anchor, contrast = term.split(">")
        triplets = []  # row of the anchor, row of its positive
        for i, pair in enumerate(batch.pairs[contrast].tolist()):
            if anchor == LABELS and pair < 0:
                triplets.append((int(batch.labels[contrast][i]), i))
            if anchor != LABELS and pair >= 0:
                triplets.append((batch.pairs[anchor].tolist().index(pair), i))
        labels = [(int(batch.labels[anchor][a]), int(batch.labels[contrast][p])) for a, p in triplets]
        negative = [[differ(one, other, settings, anchor) for other in labels] for one in labels]
        anchors, contrasts = map(list, zip(*triplets, strict=True))
        for k, margin in enumerate(margins):
            rows = outputs[anchor][k][anchors], outputs[contrast][k][contrasts]
            expected = reference.triplet(*rows, torch.tensor(negative), margin)
            assert losses[k].item() == pytest.approx(expected, abs=1e-6)


def differ(one: tuple[int, int], other: tuple[int, int], settings: dict[str, Any], anchor: str) -> bool:
    """Whether the item of another triplet is a negative, by the classes of its anchor and of itself."""
    if anchor == LABELS or settings["mask"] == "own":
        return one[0] != other[0]
    text, speech = (one[0], other[1]) if anchor == "text" else (other[1], one[0])
    return speech not in MAP[text]


def test_a_song_that_the_label_maps_to_is_a_negative_only_by_own_labels() -> None:
    """Texts of anger and shame, each with angry speech: nothing but the label of the other's text tells them apart."""
    rows = {name: torch.eye(2, 4, dtype=torch.float64)[None] for name in JOINED}
    labels = {"text": torch.tensor([0, 2]), "speech": torch.tensor([3, 3])}
    batch = Batch(rows, labels, pairs={name: torch.arange(2) for name in JOINED})
    (by_map,), (by_own,) = (made(1.5, mask=mask).losses(rows, batch, None) for mask in ("map", "own"))
    assert by_map.tolist() == [0]
    assert by_own.tolist() == [0.5]


def test_an_item_whose_match_could_not_be_read_is_left_out() -> None:
    objective = made(branches=3)
    batch = drawn(objective, 20)
    outputs = units(batch, 1)
    kept = torch.cat([torch.arange(10), torch.arange(12, 20)])
    lost = batch.with_rows("speech", batch.rows["speech"][kept], lambda tensor: tensor[kept])
    whole = lost.with_rows("text", lost.rows["text"][kept], lambda tensor: tensor[kept])
    short = {**outputs, "speech": outputs["speech"][:, kept]}
    assert torch.equal(
        objective.losses(short, lost, None)[2],
        objective.losses({**short, "text": outputs["text"][:, kept]}, whole, None)[2],
    )


@pytest.mark.parametrize("settings", WAYS)
def test_it_finds_what_the_map_says_better_than_chance(settings: dict[str, Any]) -> None:
    objective = make_objective("triplet", JOINED, [settings])
    config = CONFIG.updated(
        epochs=8, batches_per_epoch=15, batch_size=32, learning_rate=3e-3, dropout=0.1, hidden_dim=32
    )
    training = train_heads(split(0), split(1), objective, [objective.default_weights], config, device=CPU)
    found = evaluate(split(2), training.heads, device=CPU).directions[column_name(objective.terms[-1])]
    assert found.metrics["MRR"] > found.random["MRR"] + 0.2
    assert (training.history.train_loss[-1] < training.history.train_loss[0]).all()


def test_without_a_taxonomy_of_their_own_equal_classes_match() -> None:
    labels = {modality: torch.arange(60) % 3 for modality in JOINED}
    shared = replace(split(0), labels=labels, classes=("calm", "glad", "sad"), taxonomy=None)
    objective = make_objective("triplet", JOINED, [{}])
    train_heads(shared, shared, objective, [(1.0,)], CONFIG, device=CPU)
    batch = drawn(objective, 50, shared)
    assert torch.equal(batch.labels["text"], batch.labels["speech"])


def test_terms_weights_and_needs_follow_from_the_branches() -> None:
    two, three = made(), made(branches=3)
    assert (two.terms, two.default_weights) == (("text>speech",), (1.0,))
    assert dict(zip(three.terms, three.default_weights, strict=True)) == {
        "labels>text": 0.3,
        "labels>speech": 0.3,
        "text>speech": 0.4,
    }
    assert two.needs == {"labels", "taxonomy"}
    assert three.needs == two.needs | {"label_vectors"}
    assert two.aligns((1.0,))
    assert [three.aligns(weights) for weights in ((0, 0, 1), (1, 1, 0), (1, 0, 0), (0, 1, 0))] == [
        True,
        True,
        False,
        False,
    ]
    bare = replace(split(0), label_vectors=None)
    with pytest.raises(ManifestError, match="need one vector each"):
        check_pair(bare, bare, JOINED, three.needs)


def test_a_sweep_of_margins_weights_and_seeds_is_a_bank_for_each_seed() -> None:
    rows = [(0.3, 0.3, 0.4), (0.0, 0.0, 1.0)]
    found = Space(rows, {"margin": [0.1, 0.2, 0.4], "seed": [1, 2]}, CONFIG, made(branches=3)).candidates()
    assert [len(group) for group in groups(found, 100)] == [6, 6]
    with pytest.raises(ConfigError, match="branches changes them"):
        Space(rows, {"branches": [2, 3]}, CONFIG, made(branches=3)).candidates()


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(ConfigError, match="anchor = 'image' is not possible"):
        made(anchor="image")
    given, alike = taxonomy(), torch.zeros(7, 7) > 0
    alike[:3, 3] = True
    objective = make_objective("triplet", JOINED, [{}])
    objective.taxonomy = replace(given, relevance={**given.relevance, JOINED: alike})
    with pytest.raises(ManifestError, match="no text label has speech items that match another but not it"):
        objective.prepare(split(0), CPU)
    few = split(0)
    few.labels["speech"][few.labels["speech"] == 6] = 5
    assert drawn(made(), 8, few)
    with pytest.raises(ManifestError, match="speech items of the train split lack class 'calm'"):
        drawn(made(branches=3), 8, few)
