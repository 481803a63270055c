"""Single functions of `laion_clap`, from its source: importing the package asks the network for files."""

import ast
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional


def source_of(file: str, owner: str, names: Sequence[str]) -> dict[str, Callable[..., Any]]:
    """Some methods of a class, as functions."""
    found = importlib.util.find_spec("laion_clap")
    assert found is not None
    assert found.submodule_search_locations is not None
    tree = ast.parse(Path(found.submodule_search_locations[0], file).read_text(encoding="utf-8"))
    (cls,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == owner)
    methods = [node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name in names]
    functions: dict[str, Callable[..., Any]] = {"torch": torch, "F": functional}
    exec(compile(ast.Module(methods, []), file, "exec"), functions)
    return functions
