"""Reasons: they add up to scores, whatever has names; without its first reason a hit scores that much less."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from emoclim.data import Features, FeatureSpec, Split, Taxonomy
from emoclim.encoders import encoder_names, feature_names, find_encoder, load_encoder
from emoclim.learning import Banks, Branch, Heads, IdentityBank, Objective, make_objective
from emoclim.stages import Gallery, MixedGallery, Reason, embed, embed_query

OUTPUTS = [("efficientnet_lite0", "classes"), ("musicnn_msd", "tags"), ("musicnn_mtt", "tags")]
NAMED = [*((name, "") for name in encoder_names() if hasattr(find_encoder(name), "names")), *OUTPUTS]
WORDS = ("calm", "glad", "tense")


def table(spec: FeatureSpec, n: int, seed: int) -> Features:
    """Items of two segments each."""
    values = torch.randn(2 * n, spec.dim, generator=torch.Generator().manual_seed(seed)) + 0.3
    offsets, starts = torch.arange(0, 2 * n + 1, 2), torch.arange(2 * n, dtype=torch.float32) % 2
    ids = tuple(f"{seed}-{row}" for row in range(n))
    return Features(spec, ids, values.view(n, 2, -1).mean(1), values, offsets, starts)


def as_they_are(specs: dict[Any, FeatureSpec], objective: Objective | None = None) -> Heads:
    """Heads that leave features as they are, for an objective to compare."""
    branches = {name: Branch(name, unit=objective is None) for name in specs}
    return Heads(
        Banks({name: IdentityBank(1, one.dim) for name, one in specs.items()}, branches),
        specs,
        objective or Objective(),
    )


def objective_of(name: str) -> Objective:
    settings = {"words": {"words": ",".join(WORDS)}}.get(name, {})
    objective = make_objective(name, ("audio", "text"), [settings])
    if name == "va_regression":
        objective.recall({one: [[0, 0], [1, 1]] for one in objective.modalities})
    objective.taxonomy = Taxonomy(WORDS, {"audio": (0, 1, 2), "text": (0, 1, 2)}, {})
    return objective


def without(gallery: Gallery, name: str) -> Gallery:
    """Leave one dimension out of all products, lengths as they were."""
    entries, column = gallery.embedded.vectors.clone(), gallery.embedded.names.index(name)
    own = entries[:, column].clone()
    entries[:, column] = 0
    if gallery.embedded.metric == "l2":  # half of the squared length, at the scale of the rest
        scale = -2 * entries[:, -2] / (entries[:, :-2].square().sum(1) + own.square())
        entries[:, -2] += scale * own.square() / 2
    return Gallery(replace(gallery.embedded, vectors=entries))


def check(candidates: Features, asked: Features, heads: Heads) -> list[tuple[Reason, ...]]:
    gallery, query = Gallery(embed(candidates, heads)), embed_query(asked, heads, "audio")
    hits = gallery.search(query, top=6)
    found = gallery.explain(query, hits)
    assert len(found) == 6
    for hit, reasons in zip(hits, found, strict=True):
        assert sum(one.contribution for one in reasons) == pytest.approx(hit.score, abs=1e-6)
        assert [one.name for one in reasons[:1]] == [max(reasons, key=lambda one: one.contribution).name]
    first = found[0][0]
    fewer = without(gallery, first.name).search(query, top=99)
    left = next(hit.score for hit in fewer if hit.id == hits[0].id)
    assert hits[0].score - left == pytest.approx(first.contribution, abs=1e-6)
    return found


def test_encoders_without_parameters_have_names() -> None:
    assert {"timbre", "colour", "colour_video"} <= {name for name, _ in NAMED}


@pytest.mark.parametrize(("name", "output"), NAMED)
def test_named_features_give_the_reasons_of_their_cosine(name: str, output: str) -> None:
    found = find_encoder(name)
    width = len(found.vocabulary() if output else found.names())
    specs: dict[Any, FeatureSpec] = {
        modality: FeatureSpec(name, modality, width, "none", {"output": output} if output else {})
        for modality in ("audio", "image")
    }
    heads, query = as_they_are(specs), table(specs["image"], 1, 1)
    assert list(heads.dimension_names) == list(feature_names(specs["audio"]))
    for reasons in check(table(specs["audio"], 9, 2), query, heads):
        assert len(reasons) == width
        assert all(one.contribution == pytest.approx(one.query * one.candidate) for one in reasons)


@pytest.mark.parametrize("name", ["words", "classification", "va_regression"])
def test_objectives_name_what_they_compare(name: str) -> None:
    dim = 2 if name == "va_regression" else 3
    specs: dict[Any, FeatureSpec] = {one: FeatureSpec("noise", one, dim, "none", {}) for one in ("audio", "text")}
    found = check(table(specs["audio"], 9, 2), table(specs["text"], 1, 1), as_they_are(specs, objective_of(name)))
    assert {one.name for one in found[0]} == (set(WORDS) if dim == 3 else {"valence", "arousal"})
    if name == "classification":
        assert sum(one.contribution > 0 for one in found[0]) == 1  # the label that the query is read as


def test_predicted_features_keep_their_names() -> None:
    """What least squares predict of a text is compared with timbre, standardised."""
    sound, words = load_encoder("timbre").spec, FeatureSpec("noise", "text", 5, "none", {})
    audio, text = table(sound, 9, 2), table(words, 9, 1)
    pairs: dict[Any, Any] = {"audio": torch.arange(9), "text": torch.arange(9)}
    split = Split({"audio": audio, "text": text}, {}, (), pairs=pairs)
    objective = make_objective("least_squares", ("audio", "text"), [{}])
    objective.prepare(split, torch.device("cpu"))
    fitted = objective.fit(split)
    assert fitted is not None
    heads = Heads(Banks(fitted, objective.branches(split)), {"audio": sound, "text": words}, objective)
    found = check(audio, text.select(torch.tensor([3])), heads)
    assert {one.name for one in found[0]} == set(feature_names(sound))


def test_the_parts_of_a_distance_are_those_of_a_plain_loop() -> None:
    specs: dict[Any, FeatureSpec] = {one: FeatureSpec("noise", one, 2, "none", {}) for one in ("audio", "text")}
    candidates, query = table(specs["audio"], 5, 2), table(specs["text"], 1, 1)
    heads = as_they_are(specs, objective_of("va_regression"))
    gallery, asked = Gallery(embed(candidates, heads)), embed_query(query, heads, "audio")
    hits = gallery.search(asked)
    q, rows = query.values[0].double(), candidates.values.double()
    length = float((1 + q.square().sum()).sqrt())
    longest = float((rows.square().sum(1) + rows.square().sum(1).square() / 4).max().sqrt())
    for hit, reasons in zip(hits, gallery.explain(asked, hits), strict=True):
        c = rows[candidates.ids.index(hit.id)]
        plain = {name: float(q[j] * c[j] - c[j] ** 2 / 2) for j, name in enumerate(("valence", "arousal"))}
        for one in reasons:
            assert one.contribution == pytest.approx(plain[one.name] / length / longest, abs=1e-7)


def test_learnt_dimensions_have_no_reasons() -> None:
    specs: dict[Any, FeatureSpec] = {one: FeatureSpec("noise", one, 4, "none", {}) for one in ("audio", "text")}
    gallery = Gallery(embed(table(specs["audio"], 5, 2), as_they_are(specs)))
    query = embed_query(table(specs["text"], 1, 1), as_they_are(specs), "audio")
    hits = gallery.search(query)
    assert gallery.explain(query, hits) == [()] * 5
    mixed: dict[Any, FeatureSpec] = {"audio": load_encoder("timbre").spec, "image": load_encoder("colour").spec}
    assert not as_they_are(mixed).dimension_names


@pytest.mark.parametrize("exclude", [(), ("2-0", "2-3")])
def test_reasons_of_a_mixed_score_are_weighted_and_less_their_means(exclude: Sequence[str]) -> None:
    specs: dict[Any, FeatureSpec] = {one: FeatureSpec("noise", one, 3, "none", {}) for one in ("audio", "text")}
    query, candidates = table(specs["text"], 1, 1), table(specs["audio"], 9, 2)
    heads = {"emotion": as_they_are(specs, objective_of("words")), "content": as_they_are(specs)}
    parts = {name: Gallery(embed(candidates, one)) for name, one in heads.items()}
    queries = {name: embed_query(query, one, "audio") for name, one in heads.items()}
    mixed = MixedGallery(parts, {"emotion": 3, "content": 1})
    included = mixed.lead.without(exclude)
    hits = mixed.search(queries, top=6, included=included)
    for hit, reasons in zip(hits, mixed.explain(queries, hits, included), strict=True):
        assert {one.name for one in reasons} == {*WORDS, "content as a whole"}
        assert sum(one.contribution for one in reasons) == pytest.approx(hit.score, abs=1e-5)
        content = next(one.contribution for one in reasons if one.name == "content as a whole")
        assert content == pytest.approx(hit.parts["content"] / 4, abs=1e-5)
    same = candidates.select(torch.tensor([0, 0, 0]))
    twins = Features(same.spec, tuple("abc"), same.values)
    alike = MixedGallery({"emotion": Gallery(embed(twins, heads["emotion"]))}, {"emotion": 1})
    hits = alike.search(queries)
    assert all(one.contribution == 0 for each in alike.explain(queries, hits) for one in each)
