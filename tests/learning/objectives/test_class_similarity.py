"""Classes attract each other by their distance."""

from math import exp

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from objective_cases import emo_clim, prepared

from emoclim.data.features import Split
from emoclim.errors import ConfigError, ManifestError
from emoclim.learning.split_checks import check_pair


def similarity(where: list[tuple[float, float]], *widths: float) -> torch.Tensor:
    vectors = torch.tensor(where, dtype=torch.float64)
    split = Split({}, {}, tuple(map(str, range(len(where)))), vectors)
    objective = emo_clim([0.07] * len(widths), "class_similarity")
    objective = objective.of([one.updated(width=width) for one, width in zip(objective.settings, widths, strict=True)])
    return prepared(objective, split=split).similarity


def test_similarity_by_hand_with_a_width_for_each_head() -> None:
    found = similarity([(1.0, 0.75), (0.25, 0.25)], 0.5, 0.1)
    for k, width in enumerate((0.5, 0.1)):
        expected = exp(-(0.75**2 + 0.5**2) / (2 * width**2))
        torch.testing.assert_close(found[k], torch.tensor([[1, expected], [expected, 1]]))


places = st.tuples(st.floats(0, 1), st.floats(0, 1))


@given(st.lists(places, min_size=1, max_size=8), st.floats(1e-300, 1e300))
def test_similarity_is_symmetric_and_one_on_the_diagonal(where: list[tuple[float, float]], width: float) -> None:
    (found,) = similarity(where, width)
    assert found.dtype == torch.float32
    assert torch.equal(found, found.T)
    assert (found.diagonal() == 1).all()
    assert ((found >= 0) & (found <= 1)).all()


def test_the_smallest_width_leaves_classes_unrelated() -> None:
    assert torch.equal(similarity([(0.1, 0.2), (0.2, 0.3), (0.9, 0.9)], 1e-300)[0], torch.eye(3))


@pytest.mark.parametrize("width", [0.0, -0.1, float("nan"), float("inf")])
def test_a_width_must_be_above_zero(width: float) -> None:
    with pytest.raises(ConfigError, match="width = "):
        emo_clim(name="class_similarity", width=width)


def test_classes_without_vectors_are_told() -> None:
    split = Split({}, {}, ("calm", "glad"))
    with pytest.raises(ManifestError, match="classes of the train split need one vector each"):
        check_pair(split, split, (), emo_clim(name="class_similarity").needs)
