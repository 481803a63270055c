"""Search: the order of candidates and the passage that fits best."""

import pytest
import torch

from emoclim.data.features import Features, FeatureSpec
from emoclim.errors import CacheMismatch
from emoclim.learning.banks import HeadBank
from emoclim.learning.branches import Banks
from emoclim.learning.heads import Heads
from emoclim.stages.searching import search

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
    hits = search(QUERY, candidates, pair, top=5)
    expected = scores.argsort(descending=True)[:5].tolist()
    assert [hit.id for hit in hits] == [f"c{n}" for n in expected]
    for hit, n in zip(hits, expected, strict=True):
        assert hit.score == pytest.approx(float(scores[n]), abs=1e-6)
        assert hit.start == 2.0 * int((each[n] @ query).argmax())


def test_without_segments_there_is_no_passage() -> None:
    whole = library(4, 1)
    hits = search(QUERY, Features(whole.spec, whole.ids, whole.values), heads(), top=10)
    assert len(hits) == 4
    assert all(hit.start is None for hit in hits)


def test_equal_candidates_keep_their_order() -> None:
    values = torch.ones(5, 6)
    hits = search(QUERY, Features(SPECS["audio"], tuple("abcde"), values), heads(), top=3)
    assert [hit.id for hit in hits] == ["a", "b", "c"]


def test_other_features_are_refused() -> None:
    spec = FeatureSpec("other", "audio", 6, "none", {})
    with pytest.raises(CacheMismatch, match="name: any here, other there"):
        search(QUERY, Features(spec, ("a",), torch.ones(1, 6)), heads())
