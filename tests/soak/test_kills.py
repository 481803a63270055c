"""Commands and trainings that are killed at any moment."""

from collections.abc import Callable, Iterator

import killing
import killing_trainings
import processes
import pytest
from soaking import rounds, soak

Ask = Callable[[str, int], list[str]]


@pytest.fixture(scope="module")
def kill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with processes.answering(killing.serve, tmp_path_factory.mktemp("kills")) as ask:
        yield ask


@pytest.fixture(scope="module")
def kill_training(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with processes.answering(killing_trainings.serve, tmp_path_factory.mktemp("kills")) as ask:
        yield ask


@soak
@pytest.mark.parametrize("job", killing.JOBS)
def test_what_a_killed_command_leaves_is_whole(kill: Ask, job: str) -> None:
    assert kill(job, rounds(5)) == []


@soak
@pytest.mark.parametrize("training", killing_trainings.TRAININGS)
def test_a_killed_training_ends_with_the_same_bytes(kill_training: Ask, training: str) -> None:
    assert kill_training(training, rounds(1)) == []
