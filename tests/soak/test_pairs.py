"""Two commands at the same time in one workspace; all pairs in `make soak`, and a few of them otherwise."""

import random
from collections.abc import Callable, Iterator

import pairing
import processes
import pytest
from soaking import LONGER, rounds, soak

Ask = Callable[[str, str, int], list[str]]
CHOSEN = pairing.PAIRS if LONGER > 1 else random.Random(0).sample(pairing.PAIRS, 5)


@pytest.fixture(scope="module")
def give(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with processes.answering(pairing.serve, tmp_path_factory.mktemp("pairs")) as ask:
        yield ask


@soak
@pytest.mark.parametrize(("one", "other"), CHOSEN)
def test_two_commands_at_once_lose_nothing(give: Ask, one: str, other: str) -> None:
    assert give(one, other, rounds(1)) == []
