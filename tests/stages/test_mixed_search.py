"""Mixed search: against a plain loop; what is not ranked; equal items; queries that ask nothing."""

from statistics import fmean, pstdev
from typing import Any

import pytest
import torch

from emoclim.data import Features, FeatureSpec
from emoclim.errors import RunError
from emoclim.learning import Banks, Branch, Heads, IdentityBank
from emoclim.stages import Gallery, MixedGallery
from emoclim.stages.mixing import standardised

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
    specs = {each: rows(name, each, ("x",), 0).spec for each in ("image", "audio")}
    dim = ENCODERS[name]
    banks = Banks({each: IdentityBank(1, dim) for each in specs}, {each: Branch(each) for each in specs})
    return Gallery(whole.select(torch.tensor([IDS.index(id_) for id_ in ids])), Heads(banks, specs))


def queries(seed: int = 9) -> dict[str, Features]:
    return {name: rows(name, "image", ("q", "r"), seed) for name in ENCODERS}


def expected(galleries: dict[str, Gallery], weights: dict[str, float], query: int, without: str) -> dict[str, Any]:
    """By id of those that all have: the standardised scores and their weighted mean."""
    ids = [id_ for id_ in IDS if id_ not in without and all(id_ in one.candidates.ids for one in galleries.values())]
    parts: dict[str, dict[str, float]] = {}
    for name, one in galleries.items():
        hits = one.search(queries()[name], top=99)[query]
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
    for query, hits in enumerate(mixed.search(queries(), top=3, exclude=["b", "z"])):
        known = expected(galleries, weights, query, "bz"[query])
        order = sorted(known, key=lambda id_: -known[id_][0])
        assert [hit.id for hit in hits] == order[:3]
        passages = {
            hit.id: (hit.start, hit.query_start)
            for hit in galleries["emotion"].search(queries()["emotion"], top=99)[query]
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
    assert {hit.id for hit in mixed.search(queries())[0]} == {"c", "d"}
    with pytest.raises(RunError, match="emotion and content"):
        MixedGallery({"emotion": gallery("emotion", ("a",)), "content": gallery("content", ("b",))}, mixed.weights)


def test_a_weight_of_nought_leaves_the_other_order() -> None:
    galleries = {name: gallery(name, IDS) for name in ENCODERS}
    mixed = MixedGallery(galleries, {"emotion": 0, "content": 3}).search(queries(), top=8)
    alone = galleries["content"].search(queries()["content"], top=8)
    assert [[hit.id for hit in hits] for hits in mixed] == [[hit.id for hit in hits] for hits in alone]


def test_equal_scores_standardise_to_nought_and_others_only_over_those_ranked() -> None:
    included = torch.tensor([True, True, False])
    assert standardised(torch.tensor([0.1, 0.1, 0.7]), included).tolist() == [0, 0, 0]
    assert standardised(torch.tensor([1.0, 3.0, 9.0]), included).tolist() == [-1, 1, 7]
    assert standardised(torch.tensor([1.0]), torch.tensor([False])).tolist() == [0]


def test_a_query_that_asks_nothing_of_one_part_has_no_hits_unless_that_part_weighs_nothing() -> None:
    galleries = {name: gallery(name, IDS) for name in ENCODERS}
    asked = queries()
    spec = asked["content"].spec
    asked["content"] = Features(spec, ("q", "r"), torch.cat([torch.zeros(1, 3), torch.ones(1, 3)]))
    assert [len(hits) for hits in MixedGallery(galleries, {"emotion": 1, "content": 1}).search(asked)] == [0, 5]
    assert [len(hits) for hits in MixedGallery(galleries, {"emotion": 1, "content": 0}).search(asked)] == [5, 5]
