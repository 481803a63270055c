"""The examples in docstrings of what users import: objectives, learning, metrics, stages and settings."""

import doctest
import importlib
import pkgutil

import pytest

PACKAGES = ("emoclim.learning", "emoclim.learning.objectives", "emoclim.metrics", "emoclim.stages")
MODULES = ["emoclim.config", "emoclim.files", "emoclim.data.plugins"] + [
    module.name
    for package in PACKAGES
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}.")
    if not module.ispkg
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_as_they_say(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_objectives_and_stages_have_examples() -> None:
    for name in MODULES:
        if name.startswith("emoclim.learning.objectives.") and not name.endswith(".base"):
            finder = doctest.DocTestFinder(exclude_empty=True)
            assert any(found.examples for found in finder.find(importlib.import_module(name))), name
