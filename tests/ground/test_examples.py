"""Examples of docstrings are run, and hold."""

import doctest
import importlib
from pathlib import Path

import pytest

import emoclim

ROOT = Path(emoclim.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_hold(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert found.attempted
    assert not found.failed


def test_every_objective_shows_an_example() -> None:
    objectives = {path.stem for path in (ROOT / "learning" / "objectives").glob("[a-z]*.py")} - {"base", "loading"}
    shown = {name.rpartition(".")[2] for name in WITH_EXAMPLES if name.startswith("emoclim.learning.objectives.")}
    assert objectives - {"contrastive", "regressing", "wording"} <= shown  # which others are made of
