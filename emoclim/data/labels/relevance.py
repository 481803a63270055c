"""Read what a label map makes relevant: of the labels of one modality, to those of another or its own.

Convention: in a map a label has a class, or a list of some. Two labels are relevant to each other if they have a class
in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.data.labels.published_maps import read_tables
from emoclim.data.labels.taxonomy import LabelMap
from emoclim.errors import ManifestError
from emoclim.modality import Modality

if TYPE_CHECKING:
    from torch import Tensor

Relevance = Mapping[tuple[Modality, Modality], "Tensor"]  # by (query, candidate)


def read_relevance(path: Path, labels: Mapping[Modality, Iterable[str]]) -> tuple[LabelMap, Relevance]:
    """Read what is relevant to what, of the labels that occur by modality.

    Each label is a class of its own, but for those that the map leaves out. The tables are ``(C, C)`` bool: whether
    candidates of class ``[.., c]`` are relevant to queries of class ``[q, ..]``.
    """
    import torch

    tables = read_tables(path, labels)
    found: dict[Modality, dict[str, set[str]]] = {}
    for modality, names in labels.items():
        table = tables[modality]
        listed = {name: [given] if isinstance(given := table[name], str) else given for name in sorted(set(names))}
        found[modality] = {name: set(given) - {""} for name, given in listed.items()}
    maps = {modality: {name: name if given else None for name, given in own.items()} for modality, own in found.items()}
    classes = tuple(dict.fromkeys(name for own in maps.values() for name in own.values() if name))
    relevance = {}
    for query, candidate in product(found, repeat=2):
        asked, ranked = ([found[one].get(name, set()) for name in classes] for one in (query, candidate))
        rows = [[not own.isdisjoint(other) for other in ranked] for own in asked]
        if not any(map(any, rows)):
            raise ManifestError(
                f"by label map {path}, no {candidate} label is relevant to a {query} label; give both a class in common"
            )
        relevance[query, candidate] = torch.tensor(rows, dtype=torch.bool)
    return LabelMap(classes, maps), relevance
