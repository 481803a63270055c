"""Search: the order of candidates, the passage that fits best, and the emotions that are read from embeddings."""

from typing import Any

import pytest
import torch

from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.errors import CacheMismatch
from emoclim.learning.banks.base import HeadBank, IdentityBank
from emoclim.learning.branches import Banks, Branch
from emoclim.learning.heads import Heads
from emoclim.learning.objectives.base import Objective
from emoclim.stages import Gallery, embed, embed_query, search
from emoclim.stages.emotion_reading import EmotionReader, read_emotions, rows_of

SPECS = {name: FeatureSpec("any", name, 6, "none", {}) for name in ("image", "audio")}


def heads() -> Heads:
    generator = torch.Generator().manual_seed(3)
    banks = {name: HeadBank(1, 6, 16, 8, dropout=0.5, generator=generator).eval() for name in SPECS}
    return Heads(Banks(banks), SPECS)


def library(n_items: int, n_segments: int) -> Features:
    generator = torch.Generator().manual_seed(4)
    segments = torch.randn(n_items * n_segments, 6, generator=generator)
    ids = tuple(f"c{n}" for n in range(n_items))
    values = segments.view(n_items, n_segments, 6).mean(1)
    offsets = torch.arange(n_items + 1) * n_segments
    return Features(
        SPECS["audio"], ids, values, segments, offsets, torch.arange(n_items * n_segments) % n_segments * 2.0
    )


QUERY = Features(SPECS["image"], ("q",), torch.randn(1, 6, generator=torch.Generator().manual_seed(5)))


def test_hits_are_the_nearest_candidates_and_their_nearest_passages() -> None:
    candidates, pair = library(12, 3), heads()
    with torch.no_grad():
        query = pair.banks["image"](QUERY.values)[0, 0]
        assert candidates.segments is not None
        each = pair.banks["audio"](candidates.segments)[0].view(12, 3, -1)
    scores = torch.nn.functional.cosine_similarity(each.mean(1), query, dim=-1)
    (hits,) = search(QUERY, candidates, pair, top=5)
    expected = scores.argsort(descending=True)[:5].tolist()
    assert [hit.id for hit in hits] == [f"c{n}" for n in expected]
    for hit, n in zip(hits, expected, strict=True):
        assert hit.score == pytest.approx(float(scores[n]), abs=1e-6)
        assert hit.start == 2.0 * int((each[n] @ query).argmax())


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_each_hit_knows_which_passage_of_the_query_is_nearest(metric: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Objective, "vectors", lambda _self, modality, outputs: (outputs[modality], metric))
    branches = {name: Branch(name, unit=False) for name in SPECS}
    pair = Heads(Banks({name: IdentityBank(1, 6) for name in SPECS}, branches), SPECS)
    asked = library(2, 5).select(torch.tensor([1]))
    others = Features(SPECS["image"], tuple("abcd"), torch.randn(4, 6, generator=torch.Generator().manual_seed(8)))
    (hits,) = search(asked, others, pair)
    assert asked.segments is not None
    for hit in hits:
        other = others.values["abcd".index(hit.id)]
        near = asked.segments @ other if metric == "ip" else -(asked.segments - other).square().sum(1)
        assert hit.query_start == 2.0 * int(near.argmax())
    assert len({hit.query_start for hit in hits}) > 1
    (alone,) = search(others.select(torch.tensor([0])), library(3, 2), pair)
    assert [hit.query_start for hit in alone] == [None] * 3


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_a_candidate_asks_for_what_it_asks_for_as_a_query(metric: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Objective, "vectors", lambda _self, modality, outputs: (outputs[modality], metric))
    pair = Heads(Banks({name: IdentityBank(1, 6) for name in SPECS}), SPECS)
    candidates = library(9, 3)
    gallery = Gallery(embed(candidates, pair))
    for row in range(9):
        own = embed_query(candidates.select(torch.tensor([row])), pair, "audio")
        like = gallery.like(row)
        assert torch.allclose(like.wanted, own.wanted, atol=1e-6)
        hits, expected = gallery.search(like, top=9), gallery.search(own, top=9)
        assert [(hit.row, hit.query_start) for hit in hits] == [(hit.row, hit.query_start) for hit in expected]
        assert hits[0].query_start is not None


def test_without_segments_there_is_no_passage() -> None:
    whole = library(4, 1)
    (hits,) = search(QUERY, Features(whole.spec, whole.ids, whole.values), heads(), top=10)
    assert len(hits) == 4
    assert all(hit.start is None for hit in hits)


def test_equal_candidates_keep_their_order() -> None:
    values = torch.ones(5, 6)
    (hits,) = search(QUERY, Features(SPECS["audio"], tuple("abcde"), values), heads(), top=3)
    assert [hit.id for hit in hits] == ["a", "b", "c"]


def test_other_features_are_refused() -> None:
    spec = FeatureSpec("other", "audio", 6, "none", {})
    with pytest.raises(CacheMismatch, match="name: any here, other there"):
        search(QUERY, Features(spec, ("a",), torch.ones(1, 6)), heads())


def test_each_query_has_its_own_hits() -> None:
    candidates, pair = library(12, 3), heads()
    queries = Features(SPECS["image"], ("q", "r"), torch.randn(2, 6, generator=torch.Generator().manual_seed(6)))
    apart = [search(queries.select(torch.tensor([n])), candidates, pair, top=3)[0] for n in range(2)]
    assert search(queries, candidates, pair, top=3) == apart
    assert apart[0] != apart[1]


def test_what_is_excluded_is_not_ranked_for_that_query() -> None:
    candidates, pair = library(4, 1), heads()
    own = candidates.select(torch.tensor([2, 1]))
    assert [hits[0].id for hits in search(own, candidates, pair)] == ["c2", "c1"]  # itself
    first, second = search(own, candidates, pair, exclude=[["c2", "elsewhere"], []])
    assert "c2" not in {hit.id for hit in first}
    assert [len(first), len(second)] == [3, 4]
    assert [hit.percentile for hit in first] == pytest.approx([200 / 3, 100 / 3, 0])
    assert search(own, candidates, pair, exclude=[list(candidates.ids)] * 2) == [[], []]


def test_the_percentile_counts_the_items_that_score_lower() -> None:
    values = torch.eye(6)[[0, 1, 1, 2, 3]]
    (hits,) = search(QUERY, Features(SPECS["audio"], tuple("abcde"), values), heads(), top=10)
    scores = [hit.score for hit in hits]
    assert [hit.percentile for hit in hits] == [100 * sum(other < one for other in scores) / 5 for one in scores]
    assert len({hit.percentile for hit in hits}) == 4


def clouds(n_items: int, spread: float, seed: int) -> Split:
    """Two modalities of three classes, around the first three axes."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n_items) % 3
    features = {
        name: Features(
            spec,
            tuple(str(n) for n in range(n_items)),
            torch.eye(6)[labels] + spread * torch.randn(n_items, 6, generator=generator),
        )
        for name, spec in SPECS.items()
    }
    return Split(features, dict.fromkeys(SPECS, labels), ("joy", "fear", "calm"))


@pytest.mark.parametrize("metric", ["ip", "l2"])
def test_emotions_are_read_by_the_centroids_and_are_calibrated(metric: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Objective, "vectors", lambda _self, modality, outputs: (outputs[modality], metric))
    same = Heads(Banks({name: IdentityBank(1, 6) for name in SPECS}), SPECS)
    reader = EmotionReader.fit(clouds(300, 0.5, seed=1), clouds(600, 0.5, seed=2), same)
    test = clouds(3000, 0.5, seed=3)
    for modality, features in test.features.items():
        read = torch.tensor([list(one.values()) for one in reader.read(features)])
        kept = embed(features, same)  # as an index keeps it
        again = read_emotions(reader, rows_of(kept.vectors, metric), metric, modality)
        assert torch.tensor([list(one.values()) for one in again]).allclose(read, atol=1e-5)
        assert read.sum(dim=1).tolist() == pytest.approx([1] * 3000)
        best, right = read.max(dim=1).values, read.argmax(dim=1) == test.labels[modality]
        assert right.double().mean() > 0.6
        assert float(best.mean()) == pytest.approx(float(right.double().mean()), abs=0.04)
    (near,) = reader.read(Features(SPECS["image"], ("a",), torch.eye(6)[[1]]))
    assert max(near, key=near.__getitem__) == "fear"
