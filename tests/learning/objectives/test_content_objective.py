"""Points of content: each way to them against plain loops, with a library and without one; what is refused."""

import math
from statistics import fmean
from typing import Any

import pytest
import torch
import wordy_noise

from emoclim.data import Features, FeatureSpec
from emoclim.encoders import background_texts, embed_texts
from emoclim.errors import ConfigError
from emoclim.learning import heads_without_labels, load_heads, make_objective, save_heads

WORDS, TEMPLATES = ("sea", "dog", "guitar"), ("{word}", "this {medium} is of {word}")
TEXT = FeatureSpec("noise", "text", 7, "none", {})
SPECS: dict[str, FeatureSpec] = {
    "itself": TEXT,
    "prompts": FeatureSpec("noise", "audio", 7, "none", {}),
    "probabilities": FeatureSpec("noise", "image", 7, "none", {"output": "words"}),
    "softmax": FeatureSpec("noise", "audio", 5, "none", {"output": "softmax"}),
    "sigmoid": FeatureSpec("noise", "image", 5, "none", {"output": "sigmoid"}),
}
Vector = list[float]


def library(spec: FeatureSpec, seed: int, n: int = 6) -> Features:
    """Items of two segments each."""
    segments = torch.randn(2 * n, spec.dim, generator=torch.Generator().manual_seed(seed))
    if spec.settings.get("output") == "words":
        segments = segments.softmax(dim=1)
    windows = segments, torch.arange(0, 2 * n + 1, 2), torch.arange(2 * n, dtype=torch.float64)
    return Features(spec, tuple(map(str, range(n))), segments.view(n, 2, -1).mean(dim=1), *windows)


def unit(vector: Vector) -> Vector:
    return [entry / math.hypot(*vector) for entry in vector]


def embedded(*texts: str) -> list[Vector]:
    return [unit(row) for row in embed_texts(wordy_noise.load(), texts).tolist()]


def dot(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def mean(points: list[Vector], weights: Vector) -> Vector:
    return [sum(w * point[axis] for w, point in zip(weights, points, strict=True)) for axis in range(7)]


def softmax(logits: Vector) -> Vector:
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / sum(powers) for power in powers]


def point(how: str, row: Vector, temperature: float) -> Vector:
    """Where one segment lies, at unit length."""
    if how == "itself":
        return unit(row)
    if how == "prompts":
        medium = "music"
        prompts = [embedded(*(one.format(word=word, medium=medium) for one in TEMPLATES)) for word in WORDS]
        logits = [fmean(dot(unit(row), prompt) for prompt in one) / temperature for one in prompts]
        return unit(mean(embedded(*WORDS), softmax(logits)))
    if how != "probabilities":
        last = wordy_noise.Hashes().last
        logits = [dot(row, one) + shift for one, shift in zip(last.weight.tolist(), last.bias.tolist(), strict=True)]
        row = softmax(logits) if how == "softmax" else [1 / (1 + math.exp(-logit)) for logit in logits]
    return unit(mean(embedded(*wordy_noise.VOCABULARY), row))


def points(how: str, features: Features, temperature: float) -> list[Vector]:
    """Where items lie: the means of their segments."""
    assert features.windows is not None
    each = [point(how, row, temperature) for row in features.windows[0].tolist()]
    return [mean(each[2 * item : 2 * item + 2], [0.5, 0.5]) for item in range(len(features))]


def background(how: str) -> list[Vector]:
    if how == "itself":
        return embedded(*background_texts())
    return embedded(*(WORDS if how == "prompts" else wordy_noise.VOCABULARY))


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("how", SPECS)
def test_points_are_those_of_plain_loops(how: str, alone: bool, tmp_path: Any) -> None:
    spec, temperatures = SPECS[how], (0.01, 0.7)
    given = [{"words": WORDS, "templates": TEMPLATES, "encoder": "noise", "temperature": one} for one in temperatures]
    objective = make_objective("content", (spec.modality,), given)
    train, test = (library(spec, seed) for seed in (1, 2))
    made = heads_without_labels(objective, {spec.modality: spec if alone else train})
    save_heads(made, tmp_path / "heads")
    vectors, metric = load_heads(tmp_path / "heads").vectors(test)
    assert metric == "ip"
    for k, temperature in enumerate(temperatures):
        known = background(how) if alone else points(how, train, temperature)
        centre = [fmean(axis) for axis in zip(*known, strict=True)]
        for item, one in enumerate(points(how, test, temperature)):
            expected = unit([a - b for a, b in zip(one, centre, strict=True)])
            torch.testing.assert_close(vectors[k, item], torch.tensor(expected), atol=2e-4, rtol=1e-3)


def test_what_is_all_of_its_library_lies_at_its_centre() -> None:
    same = library(SPECS["prompts"], 1).select(torch.zeros(3, dtype=torch.int64))
    objective = make_objective("content", ("audio",), [{"words": WORDS, "encoder": "noise"}])
    vectors, _ = heads_without_labels(objective, {"audio": same}).vectors(same)
    assert not vectors.any()


def test_features_without_words_are_refused() -> None:
    spec = FeatureSpec("colour", "image", 3, "none", {})
    with pytest.raises(ConfigError, match="objective content cannot read colour"):
        heads_without_labels(make_objective("content", ("image",), [{"encoder": "noise"}]), {"image": spec})
