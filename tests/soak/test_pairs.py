"""Two commands at the same time in one workspace; all pairs in `make soak`, and a few of them otherwise."""

import random
from collections.abc import Callable

import pairing
import pytest
from soaking import LONGER, rounds, soak

CHOSEN = pairing.PAIRS if LONGER > 1 else random.Random(0).sample(pairing.PAIRS, 5)


@soak
@pytest.mark.parametrize(("one", "other"), CHOSEN)
def test_two_commands_at_once_lose_nothing(ask: Callable[..., list[str]], one: str, other: str) -> None:
    assert ask("pair", one, other, rounds(1)) == []
