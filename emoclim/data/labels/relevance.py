"""Relate the labels of modalities: what of one modality is relevant to what of another, or of its own.

Convention: in a map a label has a class, or a list of some. Two labels are relevant to each other if they have a class
in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from emoclim.data.labels.published_maps import nearest_labels, read_tables
from emoclim.data.labels.taxonomy import LabelMap, match_labels
from emoclim.errors import ManifestError
from emoclim.modality import Modality

if TYPE_CHECKING:
    from torch import Tensor

Relevance = Mapping[tuple[Modality, Modality], "Tensor"]  # by (query, candidate)
MATCHING = "matching labels"  # name of what labels say by themselves


@dataclass(frozen=True, slots=True)
class Taxonomy:
    """The classes of modalities that keep labels of their own, and what of them is relevant to what.

    Examples
    --------
    >>> joined = Taxonomy.shared(("calm", "glad"), ("text", "audio"))
    >>> joined.own["text"], joined.relevance["text", "audio"].tolist()
    ((0, 1), [[True, False], [False, True]])
    """

    classes: tuple[str, ...]  # of all modalities: each label is one
    own: Mapping[Modality, tuple[int, ...]]  # which of them are labels of a modality
    relevance: Relevance  # (C, C) bool: whether candidates of class [.., c] are relevant to queries of class [q, ..]
    name: str = MATCHING  # of the label map that says so

    @classmethod
    def of(cls, label_map: LabelMap, relevance: Relevance, name: str = MATCHING) -> Self:
        """Join what :func:`read_relevance` or :func:`relate_labels` gave."""
        own = {
            modality: tuple(sorted({label_map.classes.index(name) for name in table.values() if name is not None}))
            for modality, table in label_map.maps.items()
        }
        return cls(label_map.classes, own, relevance, name)

    @classmethod
    def shared(cls, classes: Sequence[str], modalities: Iterable[Modality]) -> Self:
        """Make the one in which all modalities have all classes, and relevant are equal ones."""
        import torch

        names, same = list(modalities), torch.eye(len(classes), dtype=torch.bool)
        own = {modality: tuple(range(len(classes))) for modality in names}
        relevance = {(query, candidate): same for query in names for candidate in names}
        return cls(tuple(classes), own, relevance)


def read_relevance(path: Path, labels: Mapping[Modality, Iterable[str]]) -> tuple[LabelMap, Relevance]:
    """Read what is relevant to what, of the labels that occur by modality.

    Each label is a class of its own, but those that the map leaves out; one with an empty list is relevant to itself
    only. The tables are ``(C, C)`` bool: whether candidates of class ``[.., c]`` are relevant to
    queries of class ``[q, ..]``.
    """
    tables = read_tables(path, labels)
    found: dict[Modality, dict[str, set[str]]] = {}
    for modality, names in labels.items():
        given = {name: tables[modality][name] for name in sorted(set(names))}
        found[modality] = {
            name: {one} - {""} if isinstance(one, str) else (set(one) - {""} or {f"[{modality}] {name}"})
            for name, one in given.items()
        }
    return _related(found, f"by label map {path}")


def plain_relevance(relevance: Relevance) -> list[Any]:
    """List the tables with their two modalities, as plain values, for JSON."""
    return [[*pair, table.int().tolist()] for pair, table in relevance.items()]


def read_plain_relevance(given: list[Any]) -> Relevance:
    """Read what :func:`plain_relevance` listed."""
    import torch

    return {(query, candidate): torch.tensor(table, dtype=torch.bool) for query, candidate, table in given}


def relate_labels(labels: Mapping[Modality, Iterable[str]]) -> tuple[LabelMap, Relevance]:
    """Relate labels as :func:`match_labels` maps them to classes, each label remaining a class of its own."""
    return _related(
        {
            modality: {name: {given} if given else set() for name, given in table.items()}
            for modality, table in match_labels(labels).maps.items()
        },
        "by themselves",
    )


def relate_nearest(
    labels: Mapping[Modality, Iterable[str]], places: Mapping[str, Sequence[float]]
) -> tuple[LabelMap, Relevance]:
    """Relate each label of a query to the nearest of the candidates' labels, by their places; each is a class."""
    import torch

    own = {modality: sorted(set(names)) for modality, names in labels.items()}
    classes = tuple(dict.fromkeys(name for names in own.values() for name in names))
    relevance = {}
    for query, candidate in product(own, repeat=2):
        nearest = nearest_labels(own[query], own[candidate], places)
        rows = [[nearest.get(asked) == ranked for ranked in classes] for asked in classes]
        relevance[query, candidate] = torch.tensor(rows, dtype=torch.bool)
    return LabelMap(classes, {modality: {name: name for name in names} for modality, names in own.items()}), relevance


def _related(found: Mapping[Modality, Mapping[str, Set[str]]], how: str) -> tuple[LabelMap, Relevance]:
    """Make classes of the labels, by modality, that are given any classes to be compared by."""
    import torch

    maps = {modality: {name: name if given else None for name, given in own.items()} for modality, own in found.items()}
    classes = tuple(dict.fromkeys(name for own in maps.values() for name in own.values() if name))
    relevance = {}
    for query, candidate in product(found, repeat=2):
        asked, ranked = ([found[one].get(name, set()) for name in classes] for one in (query, candidate))
        rows = [[not own.isdisjoint(other) for other in ranked] for own in asked]
        if not any(map(any, rows)):
            raise ManifestError(
                f"{how}, no {candidate} label is relevant to any {query} label; give both a class in common"
            )
        relevance[query, candidate] = torch.tensor(rows, dtype=torch.bool)
    return LabelMap(classes, maps), relevance
