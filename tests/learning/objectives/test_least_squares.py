"""Least squares against numpy and scikit-learn, from one decomposition; which items teach; what is compared."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import LinearRegression, Ridge
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.encoders import feature_names
from emoclim.errors import ConfigError
from emoclim.learning import Candidate, checked_rule, make_objective
from emoclim.learning.objectives.least_squares import LeastSquares, fit_least_squares
from emoclim.modality import Modality
from emoclim.stages import Training, evaluate, train_heads

SPECS: dict[Modality, FeatureSpec] = {
    "audio": FeatureSpec("midlevel", "audio", 8, "none", {}),
    "text": FeatureSpec("words", "text", 30, "none", {}),
}
Array = NDArray[np.float64]


def rows(n: int, width: int, seed: int = 0) -> Tensor:
    return 3 + torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def split(seed: int = 1, n: int = 41, pairs: list[int] | None = None) -> Split:
    """Targets that are a linear map of the texts, and noise."""
    texts = rows(n, 30, seed)
    sounds = texts[:, :8] * torch.arange(1, 9) + 0.1 * rows(n, 8, seed + 1)
    features = {
        name: Features(SPECS[name], tuple(map(str, range(n))), values.float())
        for name, values in (("audio", sounds), ("text", texts))
    }
    none = torch.full((n,), -1)
    numbers: dict[Modality, Tensor] = {"audio": torch.arange(n), "text": torch.tensor(pairs or list(range(n)))}
    return Split(features, {"audio": none, "text": none}, (), pairs=numbers)  # type: ignore[arg-type]


def train(settings: list[dict[str, Any]], own: Split | None = None) -> Training:
    objective = make_objective("least_squares", ("audio", "text"), settings)
    weights = [(1.0,)] * len(settings)
    return train_heads(own or split(), split(5), objective, weights, TrainConfig(), device="cpu")


def predictions(source: Array, target: Array, queries: Array, ridge: float, components: int) -> Array:
    """As the libraries make them."""
    if components:
        pca = PCA(components, svd_solver="full").fit(source)
        source, queries = pca.transform(source), pca.transform(queries)
    found: Array = (Ridge(ridge, solver="svd") if ridge else LinearRegression()).fit(source, target).predict(queries)
    return found


@pytest.mark.parametrize("shape", [(41, 300), (200, 30), (60, 60)])
def test_maps_equal_those_of_the_libraries(shape: tuple[int, int]) -> None:
    source, target, queries = rows(*shape), rows(shape[0], 8, 1), rows(9, shape[1], 2)
    settings = [(0.0, 0), (0.5, 0), (100.0, 0), (0.0, 5), (0.0, 1), (2.0, 20)]
    weight, bias = fit_least_squares(source, target, *map(list, zip(*settings, strict=True)))  # type: ignore[arg-type]
    for k, (ridge, components) in enumerate(settings):
        expected = predictions(source.numpy(), target.numpy(), queries.numpy(), ridge, components)
        np.testing.assert_allclose((queries @ weight[k].T + bias[k]).numpy(), expected, rtol=0, atol=1e-8)


def test_without_a_penalty_it_has_the_least_norm_of_all_best_fits() -> None:
    source, target = rows(41, 300), rows(41, 8, 1)
    weight, bias = fit_least_squares(source, target, [0.0], [0])
    centred = (source - source.mean(dim=0)).numpy(), (target - target.mean(dim=0)).numpy()
    expected = np.linalg.lstsq(*centred, rcond=None)[0]
    np.testing.assert_allclose(weight[0].T.numpy(), expected, rtol=0, atol=1e-8)
    np.testing.assert_allclose((source @ weight[0].T + bias[0]).numpy(), target.numpy(), rtol=0, atol=1e-8)


def test_collinear_features_are_fitted_by_the_rank_they_have() -> None:
    source, target = rows(50, 10), rows(50, 3, 1)
    doubled = torch.cat([source, source], dim=1)
    (once, own), (twice, other) = (fit_least_squares(one, target, [0.0], [0]) for one in (source, doubled))
    torch.testing.assert_close(doubled @ twice[0].T + other[0], source @ once[0].T + own[0], rtol=0, atol=1e-8)
    with pytest.raises(ConfigError, match="span 10 dimensions"):
        fit_least_squares(doubled, target, [0.0], [11])


def test_head_k_of_several_is_its_solo_run_to_the_bit() -> None:
    settings = [{"ridge": ridge, "components": kept} for ridge in (0.0, 0.3, 7.0) for kept in (0, 3)]
    together = train(settings).heads
    for k, own in enumerate(settings):
        alone = train([own]).heads
        for name, tensor in alone.banks.state_dict().items():
            assert torch.equal(tensor[0], together.banks.state_dict()[name][k]), name
        for features in split(2).features.values():
            assert torch.equal(alone.vectors(features)[0][0], together.vectors(features)[0][k])


def test_items_are_compared_by_standardised_targets() -> None:
    own, others = split(), split(2)
    training = train([{"ridge": 4.0}], own)
    source, target = (own.features[name].values.double().numpy() for name in ("text", "audio"))
    centre, spread = target.mean(axis=0), target.std(axis=0)
    queries = others.features["text"].values.double().numpy()
    h = predictions(source, (target - centre) / spread, queries, 4.0, 0)
    m = (others.features["audio"].values.double().numpy() - centre) / spread
    cosines = (h @ m.T) / np.linalg.norm(h, axis=1)[:, None] / np.linalg.norm(m, axis=1)
    asked, found = (training.heads.vectors(others.features[name])[0][0] for name in ("text", "audio"))
    np.testing.assert_allclose((asked @ found.T).numpy(), cosines, rtol=0, atol=1e-5)
    kept = split(5).features
    h, m = (
        outputs[0].double() for outputs in (training.heads.outputs(kept["text"])["text"], kept["audio"].values[None])
    )
    error = float((h - (m - torch.tensor(centre)) / torch.tensor(spread)).square().mean())
    assert float(training.best_loss[0]) == pytest.approx(error, rel=1e-5)
    plain = train([{"ridge": 4.0, "standardise": "none"}], own).heads.vectors(others.features["audio"])[0][0]
    torch.testing.assert_close(plain, torch.nn.functional.normalize(others.features["audio"].values, dim=1))


def test_partners_are_found_by_what_is_predicted() -> None:
    report = evaluate(split(3).by_pairs(), train([{"ridge": 1.0}]).heads, device="cpu")
    for name in ("text_audio", "audio_text"):
        assert report.directions[name].metrics["MRR"] > 0.5 > report.directions[name].random["MRR"]


def test_several_texts_of_one_recording_teach_and_one_without_a_recording_does_not() -> None:
    numbers = [0, 0, *range(2, 40), 99]
    own = split(pairs=numbers)
    found = train([{"ridge": 1.0}], own).heads.banks.state_dict()
    source, target = own.features["text"].values.double()[:40], own.features["audio"].values.double()
    taught = target[[0, *range(2, 40)]]
    centre, spread = taught.mean(dim=0), taught.std(dim=0, correction=0)
    weight, bias = fit_least_squares(source, (target[numbers[:40]] - centre) / spread, [1.0], [0])
    for name, expected in (("weight", weight), ("bias", bias)):
        torch.testing.assert_close(found[f"text.{name}"], expected.float(), rtol=1e-5, atol=1e-6)


def test_either_modality_may_be_the_target() -> None:
    objective = make_objective("least_squares", ("audio", "text"), [{"target": "text"}])
    assert isinstance(objective, LeastSquares)
    assert (objective.source, objective.target) == ("audio", "text")
    banks = train([{"target": "text", "ridge": 1.0}]).heads.banks
    assert (banks.bank("audio").embedding_dim, banks.bank("text").embedding_dim) == (30, 30)
    with pytest.raises(ConfigError, match="this run joins audio and text"):
        train([{"target": "image"}])


def test_what_is_compared_has_the_names_of_the_target() -> None:
    spec = FeatureSpec("timbre", "audio", 151, "none", {})
    objective = make_objective("least_squares", ("audio", "text"), [{}])
    names = objective.dimension_names(SPECS | {"audio": spec})
    assert tuple(names) == tuple(feature_names(spec))
    assert len(names) == 151


def test_penalties_and_components_are_chosen_by_loss_but_not_what_changes_it() -> None:
    kind = LeastSquares.Settings
    alike = [Candidate((1.0,), TrainConfig(), kind(ridge=ridge, components=3)) for ridge in (0.0, 1.0)]
    assert checked_rule("loss", alike) == "loss"
    assert len({one.bank for one in alike}) == 1
    with pytest.raises(ConfigError, match="cannot be compared"):
        checked_rule("loss", [*alike, Candidate((1.0,), TrainConfig(), kind(standardise="none"))])
