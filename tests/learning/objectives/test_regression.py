"""Any columns of numbers: what is learnt, losses by hand, predictions in their own scale, and heads that are none."""

from typing import Any

import pytest
import torch
from objective_cases import CPU

from emoclim.config import TrainConfig
from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.data.manifest import Item
from emoclim.errors import ConfigError
from emoclim.learning import make_objective
from emoclim.learning.objectives.base import Objective
from emoclim.learning.sampling import Batch
from emoclim.pipeline.splits import numbers_in
from emoclim.stages import train_heads

RATINGS = torch.tensor([[60.0, -20.0, 3.0], [120.0, -10.0, 3.0], [90.0, -18.0, 3.0]])
QUICK = TrainConfig(epochs=1, batches_per_epoch=1, val_batches=1, batch_size=3)
LEARNT = [[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0], [0.0, -0.6, 0.0]]  # the third column is all alike


def objective(**settings: Any) -> Objective:
    made = make_objective("regression", ("audio",), [{"columns": "Tempo, level ,mode", **settings}])
    made.prepare(Split({}, {}, (), numbers={"audio": RATINGS}), CPU, torch.float64)
    return made


def test_what_is_learnt_runs_from_minus_one_to_one_over_the_training_split() -> None:
    outputs = torch.tensor([LEARNT, [[0.0] * 3] * 3], dtype=torch.float64)
    (loss,) = objective().losses({"audio": outputs}, Batch({}, {}, {"audio": RATINGS}), None)
    expected = sum(value**2 for row in LEARNT for value in row) / 9
    torch.testing.assert_close(loss, torch.tensor([0.0, expected], dtype=torch.float64), rtol=1e-6, atol=1e-12)


def test_predictions_come_back_in_the_scale_of_the_manifest() -> None:
    found = objective().predictions("audio", {"audio": torch.tensor([LEARNT])})
    assert found is not None
    torch.testing.assert_close(found[0], RATINGS)
    assert objective().predictions("text", {}) is None


def test_columns_are_found_whatever_their_capitals_and_an_item_has_all_of_them_or_none() -> None:
    columns = objective().columns
    assert columns == ("tempo", "level", "mode")
    item = Item("a", text="a", numbers=(0.1, 0.2), measures={"tempo": 60, "mode": 1, "level": -3})
    assert numbers_in(columns)(item) == [60, -3, 1]
    assert numbers_in(("arousal", "tempo"))(item) == [0.2, 60]
    assert not numbers_in(("tempo", "loudness"))(item)


@pytest.mark.parametrize("columns", ["tempo,,mode", "tempo,Tempo", ""])
def test_columns_that_are_not_named_once_are_refused(columns: str) -> None:
    with pytest.raises(ConfigError, match="name each once"):
        objective(columns=columns).branches(Split({}, {}, ()))


def test_without_heads_features_are_what_is_learnt() -> None:
    spec = FeatureSpec("noise", "audio", 3, "none", {})
    split = Split({"audio": Features(spec, tuple("abc"), torch.tensor(LEARNT))}, {}, (), numbers={"audio": RATINGS})
    trained = train_heads(split, split, objective(head="none"), [(1,)], QUICK, device=CPU)
    heads = trained.heads
    predicted = heads.objective.predictions("audio", heads.outputs(split.features["audio"]))
    assert predicted is not None
    torch.testing.assert_close(predicted[0], RATINGS)
    wide = Split({"audio": Features(spec, tuple("abc"), torch.ones(3, 3))}, {}, ())
    with pytest.raises(ConfigError, match="features of 2 values, one for each column, not 3"):
        objective(head="none", columns="a,b").branches(wide)
