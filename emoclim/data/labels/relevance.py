"""Read what a label map makes relevant: of the labels of one modality, to those of another.

Convention: in a map a label has a class, or a list of some. Two labels are relevant to each other if they have a class
in common.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.data.labels.published_maps import read_tables
from emoclim.errors import ManifestError
from emoclim.modality import Modality

if TYPE_CHECKING:
    from torch import Tensor


def read_relevance(path: Path, query: Modality, candidate: Modality, labels: Sequence[str]) -> Tensor:
    """Read what is relevant to what: ``(C, C)`` bool, from a label of queries to one of candidates."""
    import torch

    tables = read_tables(path)
    if lacking := [modality for modality in (query, candidate) if modality not in tables]:
        raise ManifestError(f"label map {path} has no table [{lacking[0]}]; write one line per label below that")
    asked, ranked = (
        {label: {given} if isinstance(given, str) else set(given) for label, given in tables[modality].items()}
        for modality in (query, candidate)
    )
    if unknown := [label for label in labels if label not in asked and label not in ranked]:
        raise ManifestError(
            f"label map {path} gives no class for {unknown[0]!r}, neither as {query} nor as {candidate}; add it"
        )
    rows = [[bool((asked.get(q, set()) & ranked.get(c, set())) - {""}) for c in labels] for q in labels]
    return torch.tensor(rows, dtype=torch.bool).reshape(len(labels), len(labels))
