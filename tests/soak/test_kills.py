"""Commands and trainings that are killed at any moment."""

from collections.abc import Callable

import killing
import killing_trainings
import pytest
from soaking import rounds, soak

Ask = Callable[..., list[str]]


@soak
@pytest.mark.parametrize("job", killing.JOBS)
def test_what_a_killed_command_leaves_is_whole(ask: Ask, job: str) -> None:
    assert ask("kill", job, rounds(5)) == []


@soak
@pytest.mark.parametrize("training", killing_trainings.TRAININGS)
def test_a_killed_training_ends_with_the_same_bytes(ask: Ask, training: str) -> None:
    assert ask("kill training", training, rounds(1)) == []
