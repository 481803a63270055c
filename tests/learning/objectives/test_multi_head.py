"""Multi-head: losses, what is shared, and queries that the head of the candidates reads."""

import pytest
import reference
import torch
from own_labels import CLASSES, OWN, own_split, train_own

from emoclim.config import TrainConfig
from emoclim.learning import Batch, make_objective
from emoclim.learning.objectives.multi_head import SHARED
from emoclim.stages import evaluate, search

BRIEF = TrainConfig(epochs=2, batches_per_epoch=3, val_batches=2, batch_size=9, dropout=0.3)


def test_each_modality_has_the_loss_of_its_own_labels() -> None:
    objective, split = make_objective("multi_head", tuple(OWN), [{}, {"gamma_first": 0.5}]), own_split(0, 9)
    objective.taxonomy = split.taxonomy
    objective.prepare(split, torch.device("cpu"))
    generator = torch.Generator().manual_seed(3)
    widths = {"audio": 3, "text": 3, "text as audio": 3, "audio as text": 3}
    outputs = {name: torch.randn(2, 9, width, generator=generator) for name, width in widths.items()}
    found = objective.losses(outputs, Batch({}, split.labels), None)
    for place, (modality, gammas) in enumerate({"audio": (2.0, 0.5), "text": (0.0, 0.0)}.items()):
        targets = [OWN[modality].index(label) for label in split.labels[modality].tolist()]
        for k, gamma in enumerate(gammas):
            expected = reference.focal(outputs[modality][k], targets, gamma)
            assert float(found[place][k]) == pytest.approx(expected, rel=1e-6)


def test_a_query_is_read_by_the_head_of_the_candidates_through_what_is_shared() -> None:
    config = BRIEF.updated(epochs=12, batches_per_epoch=10, learning_rate=1e-2, dropout=0, hidden_dim=32)
    heads, test = train_own("multi_head", [{}], config).heads, own_split(2, 60)
    assert set(SHARED) < set(heads.banks)
    assert not {"text as audio", "audio as text"} & set(heads.banks)  # they have no layer of their own
    report = evaluate(test, heads, device="cpu").directions
    assert {name for name, one in report.items() if one.n_finding_nothing} == set()
    assert min(report[name].metrics["P@1"] for name in ("text_text", "audio_audio")) > 0.9
    texts, music = test.features["text"].select(torch.arange(6)), test.features["audio"]
    read = heads.outputs(texts)["text as audio"][0].argmax(dim=1).tolist()
    found = search(texts, music, heads, top=3)
    for place, hits in zip(read, found, strict=True):
        assert CLASSES[OWN["audio"][place]] == CLASSES[int(test.labels["audio"][int(hits[0].id)])]
        assert hits[0].score == max(hit.score for hit in hits)
    assert not heads.objective.aligns([1.0, 1.0])  # what a head reads of the other modality is luck
