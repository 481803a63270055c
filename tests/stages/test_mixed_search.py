"""Mixed search: against a plain loop; what is not ranked; equal items; queries that ask nothing."""

from statistics import fmean, pstdev
from typing import Any

import pytest
import torch

from emoclim.data import Features, FeatureSpec
from emoclim.errors import RunError
from emoclim.learning import Banks, Branch, Heads, IdentityBank
from emoclim.stages import EmbeddedQuery, Gallery, MixedGallery, embed, embed_query
from emoclim.stages.searching.mixing import moments

ENCODERS = {"emotion": 4, "content": 3}  # width of each
IDS = tuple("abcdefgh")


def rows(name: str, modality: Any, ids: tuple[str, ...], seed: int) -> Features:
    dim = ENCODERS[name]
    values = torch.randn(2 * len(ids), dim, generator=torch.Generator().manual_seed(seed))
    windows = values, torch.arange(0, 2 * len(ids) + 1, 2), torch.arange(2 * len(ids), dtype=torch.float64) % 2
    return Features(FeatureSpec(name, modality, dim, "none", {}), ids, values.view(-1, 2, dim).mean(1), *windows)


def gallery(name: str, ids: tuple[str, ...]) -> Gallery:
    """Candidates that keep their values whichever others lie beside them."""
    whole = rows(name, "audio", IDS, seed=ENCODERS[name])
    return Gallery(embed(whole.select(torch.tensor([IDS.index(id_) for id_ in ids])), heads(name)))


def heads(name: str) -> Heads:
    specs = {each: rows(name, each, ("x",), 0).spec for each in ("image", "audio")}
    banks = {each: IdentityBank(1, ENCODERS[name]) for each in specs}
    return Heads(Banks(banks, {each: Branch(each) for each in specs}), specs)


def queries(row: int, seed: int = 9) -> dict[str, EmbeddedQuery]:
    asked = {name: rows(name, "image", ("q", "r"), seed).select(torch.tensor([row])) for name in ENCODERS}
    return {name: embed_query(one, heads(name), "audio") for name, one in asked.items()}


def expected(galleries: dict[str, Gallery], weights: dict[str, float], query: int, without: str) -> dict[str, Any]:
    """By id of those that all have: the standardised scores and their weighted mean."""
    ids = [id_ for id_ in IDS if id_ not in without and all(id_ in one.embedded.ids for one in galleries.values())]
    parts: dict[str, dict[str, float]] = {}
    for name, one in galleries.items():
        hits = one.search(queries(query)[name], top=99)
        scores = {hit.id: hit.score for hit in hits if hit.id in ids}
        mean, spread = fmean(scores.values()), pstdev(scores.values())
        parts[name] = {id_: (score - mean) / spread for id_, score in scores.items()}
    total = sum(weights.values())
    means = {id_: sum(weights[name] * parts[name][id_] for name in parts) / total for id_ in ids}
    return {id_: (means[id_], {name: part[id_] for name, part in parts.items()}) for id_ in ids}


@pytest.mark.parametrize("weights", [{"emotion": 0.7, "content": 0.3}, {"emotion": 2, "content": 5}])
@pytest.mark.parametrize("orders", [(IDS, IDS), ("abcdefg", "hgfdcba"), ("gbh", "bagh")])
def test_scores_are_the_weighted_means_of_plain_loops(weights: dict[str, float], orders: tuple[Any, Any]) -> None:
    galleries = {name: gallery(name, tuple(ids)) for name, ids in zip(ENCODERS, orders, strict=True)}
    mixed = MixedGallery(galleries, weights)
    for query, out in enumerate("bz"):
        hits = mixed.search(queries(query), top=3, included=mixed.lead.without(out))
        known = expected(galleries, weights, query, out)
        order = sorted(known, key=lambda id_: -known[id_][0])
        assert [hit.id for hit in hits] == order[:3]
        passages = {
            hit.id: (hit.start, hit.query_start)
            for hit in galleries["emotion"].search(queries(query)["emotion"], top=99)
        }
        for place, hit in enumerate(hits):
            score, parts = known[hit.id]
            assert hit.score == pytest.approx(score, abs=1e-5)
            assert hit.parts == pytest.approx(parts, abs=1e-5)
            assert hit.percentile == pytest.approx(100 * (len(order) - 1 - place) / len(order))
            assert (hit.start, hit.query_start) == passages[hit.id]


def test_what_one_lacks_is_told_by_name() -> None:
    galleries = {"emotion": gallery("emotion", tuple("abcd")), "content": gallery("content", tuple("dch"))}
    mixed = MixedGallery(galleries, {"emotion": 1, "content": 1})
    assert mixed.lacking == {"emotion": ("h",), "content": ("a", "b")}
    assert {hit.id for hit in mixed.search(queries(0))} == {"c", "d"}
    with pytest.raises(RunError, match="emotion and content"):
        MixedGallery({"emotion": gallery("emotion", ("a",)), "content": gallery("content", ("b",))}, mixed.weights)


def test_a_weight_of_nought_leaves_the_other_order() -> None:
    galleries = {name: gallery(name, IDS) for name in ENCODERS}
    mixed = MixedGallery(galleries, {"emotion": 0, "content": 3}).search(queries(0), top=8)
    alone = galleries["content"].search(queries(0)["content"], top=8)
    assert [hit.id for hit in mixed] == [hit.id for hit in alone]


def test_equal_scores_have_no_spread() -> None:
    assert moments(torch.tensor([0.1, 0.1])) == moments(torch.tensor([])) == (0, 0)
    assert moments(torch.tensor([1.0, 3.0])) == (2, 1)
    mixed = MixedGallery({name: gallery(name, IDS) for name in ENCODERS}, {"emotion": 1, "content": 1})
    (alone,) = mixed.search(queries(0), included=torch.tensor([5]))
    assert (alone.id, alone.score, alone.parts) == ("f", 0, {"emotion": 0, "content": 0})


def test_a_query_that_asks_nothing_of_one_part_has_no_hits_unless_that_part_weighs_nothing() -> None:
    galleries = {name: gallery(name, IDS) for name in ENCODERS}
    for wanted, expected in (torch.zeros(3), [0, 5]), (torch.ones(3), [5, 5]):
        asked = {**queries(0), "content": EmbeddedQuery(wanted)}
        found = [MixedGallery(galleries, {"emotion": 1, "content": weight}).search(asked) for weight in (1, 0)]
        assert [len(hits) for hits in found] == expected
