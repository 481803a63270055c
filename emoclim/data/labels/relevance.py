"""What a label map makes relevant: of the labels of one modality, to those of another.

Conventions: the map is a TOML file with a table for each modality, in which a label has a class or a list of some. Two
labels are relevant to each other if they have a class in common.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from emoclim.errors import ManifestError
from emoclim.modality import Modality


def read_relevance(path: Path, query: Modality, candidate: Modality, labels: Sequence[str]) -> Tensor:
    """Read what a label map makes relevant."""
    tables = _read(path)
    asked, ranked = (_classes(path, tables, modality) for modality in (query, candidate))
    if unknown := [label for label in labels if label not in asked and label not in ranked]:
        raise ManifestError(
            f"label map {path} gives no class for {unknown[0]!r}, neither as {query} nor as {candidate}"
        )
    rows = [[bool(asked.get(one, set()) & ranked.get(other, set())) for other in labels] for one in labels]
    return torch.tensor(rows, dtype=torch.bool).reshape(len(labels), len(labels))


def _read(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ManifestError(f"label map {path} cannot be read ({error}); give a TOML file") from error


def _classes(path: Path, tables: Mapping[str, object], modality: Modality) -> dict[str, set[str]]:
    """By label of a modality, the classes that it has."""
    table = tables.get(modality)
    if not isinstance(table, dict):
        raise ManifestError(f"label map {path} has no table [{modality}]; write one line per label below that")
    classes = {label: given if isinstance(given, list) else [given] for label, given in table.items()}
    if wrong := [label for label, given in classes.items() if not all(isinstance(name, str) for name in given)]:
        raise ManifestError(
            f"label map {path} gives no class for {modality} label {wrong[0]}; name one, or a list of some"
        )
    return {label: set(given) - {""} for label, given in classes.items()}
