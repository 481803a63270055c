"""What every objective keeps, ours and five toys: heads never mix, it trains, evaluates, and comes back from a file."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from toy_objectives import NAMES, OURS, install

from emoclim.config import TrainConfig
from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.errors import ConfigError
from emoclim.learning import load_objective, make_objective, objective_names
from emoclim.learning.heads import as_candidates, as_queries
from emoclim.learning.heads_file import load_heads, save_heads
from emoclim.stages import Training, evaluate, search, train_heads

CPU = torch.device("cpu")
CLASSES = ("calm", "glad", "sad")
SPECS = {"text": FeatureSpec("noise", "text", 7, "none", {}), "speech": FeatureSpec("noise", "speech", 7, "none", {})}
OWN = {"content": {"encoder": "noise", "templates": "{word}"}}  # as these features are
CONFIG = TrainConfig(epochs=2, batches_per_epoch=6, val_batches=2, batch_size=10, hidden_dim=21, embedding_dim=5)


def split(seed: int, n: int = 30) -> Split:
    """Two modalities that lean the same way per class; numbers and pairs follow from class and item."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % len(CLASSES)
    centres = torch.eye(len(CLASSES), 7) * 3
    rows = {name: centres[labels] + torch.randn(n, 7, generator=generator) for name in SPECS}
    features: Any = {name: Features(spec, tuple(map(str, range(n))), rows[name]) for name, spec in SPECS.items()}
    vectors = torch.tensor([[0.1, 0.2], [0.9, 0.8], [0.2, 0.1]], dtype=torch.float64)
    numbers = {name: vectors[labels].float() for name in SPECS}
    return Split(
        features,
        {name: labels.clone() for name in SPECS},
        CLASSES,
        label_vectors=vectors,
        numbers=numbers,
        pairs={name: torch.arange(n) for name in SPECS},
    )


def train(name: str, chosen: list[int], config: TrainConfig = CONFIG) -> Training:
    """Train heads that differ in all settings that may differ."""
    own = load_objective(name).Settings
    numbers = {setting: own.model_fields[setting].default for setting in own.floats()}
    settings = [
        {setting: value * (1, 2, 5)[k] for setting, value in numbers.items()} | OWN.get(name, {}) for k in chosen
    ]
    objective = make_objective(name, tuple(SPECS), settings)
    table = torch.rand(3, len(objective.terms), generator=torch.Generator().manual_seed(7)) + 0.1
    return train_heads(split(0), split(1, 21), objective, table[chosen], config, device=CPU)


def tensors(training: Training) -> dict[str, Tensor]:
    history = training.history
    return dict(training.heads.banks.state_dict()) | {
        "train_loss": history.train_loss.T,
        "val_loss": history.val_loss.T,
        "val_terms": history.val_terms.transpose(0, 1),
        "best_epoch": training.best_epoch,
    }


@pytest.mark.parametrize("name", [*OURS, *NAMES])
def test_head_k_of_three_is_its_solo_run_to_the_bit(name: str) -> None:
    """At widths, a batch and numbers of classes that fill no cache line."""
    together = tensors(train(name, [0, 1, 2]))
    assert together["val_loss"].isfinite().all()
    for k in range(3):
        for what, tensor in tensors(train(name, [k])).items():
            assert torch.equal(tensor[0], together[what][k]), what


@pytest.mark.parametrize("name", [*OURS, *NAMES])
def test_it_evaluates_and_searches_better_than_chance(name: str) -> None:
    config = CONFIG.updated(epochs=16, learning_rate=1e-2)
    heads, test = train(name, [0], config).heads, split(2)
    across = heads.objective.aligns([1.0] * len(heads.objective.terms))  # without that, it may be better or worse
    report = evaluate(test, heads, device=CPU).directions["text_speech" if across else "text_text"]
    assert report.metrics["MRR"] > report.random["MRR"]
    (hits,) = search(test.features["text"].select(torch.tensor([1])), test.features["speech"], heads, top=3)
    assert len(hits) == 3


@pytest.mark.parametrize("name", [*OURS, *NAMES])
def test_heads_come_back_from_their_file(name: str, tmp_path: Path) -> None:
    heads = train(name, [0, 1, 2]).heads
    save_heads(heads, tmp_path / "heads")
    found = load_heads(tmp_path / "heads")
    assert (found.objective.name, found.objective.settings) == (name, heads.objective.settings)
    for features in split(2).features.values():
        whole, metric = heads.vectors(features)
        assert torch.equal(found.vectors(features)[0], whole)
        assert found.vectors(features)[1] == metric
        assert torch.equal(found.select(2).vectors(features)[0][0], heads.select(2).vectors(features)[0][0])


def test_the_nearest_are_ranked_first_by_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    queries, candidates = torch.randn(5, 3, generator=generator), 4 * torch.randn(40, 3, generator=generator)
    cosines = torch.nn.functional.cosine_similarity(
        as_queries(queries, "l2")[:, None], as_candidates(candidates, "l2")[None], dim=2
    )
    assert torch.equal(cosines.argsort(dim=1, descending=True), torch.cdist(queries, candidates).argsort(dim=1))


def test_a_triplet_loss_is_one_file_of_another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (Path(__file__).parents[3] / "examples" / "hardest_triplet.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 60
    (tmp_path / "emotion_triplets.py").write_text(source, encoding="utf-8")
    install(tmp_path, "triplets", {"hardest_triplet": "emotion_triplets"})
    monkeypatch.syspath_prepend(tmp_path)
    assert "hardest_triplet" in objective_names()
    config = CONFIG.updated(epochs=8, learning_rate=1e-2)
    together, alone = (tensors(train("hardest_triplet", chosen, config)) for chosen in ([0, 1, 2], [1]))
    assert all(torch.equal(tensor[0], together[name][1]) for name, tensor in alone.items())
    assert (together["val_loss"][:, -1] < together["val_loss"][:, 0]).all()


def test_an_objective_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="no objective is called 'emoclip'"):
        load_objective("emoclip")
    (tmp_path / "empty_objective.py").write_text("")
    install(tmp_path, "empty", {"empty": "empty_objective"})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="objective 'empty' is no file with one subclass"):
        load_objective("empty")


def test_what_is_no_number_is_the_same_for_all_heads_of_a_bank() -> None:
    objective = make_objective("emo_clim", tuple(SPECS), [{"no_positive": "skip"}, {"no_positive": "count"}])
    with pytest.raises(ConfigError, match="one value of each of: no_positive"):
        train_heads(split(0), split(1), objective, [(1, 1, 1, 1)] * 2, CONFIG, device=CPU)


def test_the_guide_quotes_the_example() -> None:
    root = Path(__file__).parents[3]
    guide = (root / "docs" / "adding_an_objective.md").read_text(encoding="utf-8")
    source = (root / "examples" / "hardest_triplet.py").read_text(encoding="utf-8")
    quotes = re.findall(r"^```python\n(.*?)^```", guide, re.MULTILINE | re.DOTALL)
    assert len(quotes) == 2
    assert all(quote in source for quote in quotes)
    for target in re.findall(r"\]\(([^)#]+)\)", guide):
        assert (root / "docs" / target).exists()
