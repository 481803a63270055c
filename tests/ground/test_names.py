"""What may be named where: modalities and objectives only in the places that are theirs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import emoclim
from emoclim.modality import MODALITIES

ROOT = Path(emoclim.__file__).parent
OF_EMO_CLIM = {"learning/objectives/emo_clim.py", "recipes/emo_clim.py"}
DEFAULTS = {"pipeline/training/config.py", "recipes/base.py"}  # what is trained for, and reproduced, unless told


def names(path: Path) -> Iterator[str]:
    """Every name of a module and every string; longer ones, such as docstrings, may hold what they like."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.alias(name=name) | ast.Constant(value=str(name)):
                yield name


@pytest.mark.parametrize("room", ["cache", "learning", "metrics", "stages"])
def test_a_room_that_takes_any_modality_names_none(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    quoting = [
        path.name
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in MODALITIES
    ]
    assert quoting == []


def test_an_objective_is_named_in_its_file_and_recipe_only() -> None:
    naming = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.rglob("*.py")
        if any(re.fullmatch(r"(\w*_)?emo_clim(_\w*)?", name, re.IGNORECASE) for name in names(path))
    }
    assert naming - DEFAULTS <= OF_EMO_CLIM
