"""How long tests of chance go on: spoilt files, kills and many users run ten times as long in `make soak`."""

import os

import pytest
from hypothesis import settings

LONGER = 10 if os.environ.get("EMOCLIM_SOAK") else 1

soak = pytest.mark.soak


def rounds(number: int) -> int:
    """Rounds of a test of chance: this many, and ten times as many in `make soak`."""
    return number * LONGER


def examples(number: int) -> settings:
    """Settings of Hypothesis by which it tries this many examples, and ten times as many in `make soak`."""
    return settings(max_examples=rounds(number), deadline=None)
