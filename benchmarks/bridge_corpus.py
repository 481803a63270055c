"""Libraries with classes and groups, folds of them, shares of their labels. Used by ``bridge.py``; no script itself."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from sklearn.model_selection import StratifiedGroupKFold
from torch import Tensor

from emoclim.data.features import Features, Split
from emoclim.data.labels.taxonomy import match_labels
from emoclim.learning.heads import Heads, heads_without_labels
from emoclim.learning.objectives.loading import make_objective
from emoclim.modality import Modality
from emoclim.pipeline.library import labelled_library, labels_of, read_features
from emoclim.pipeline.workspace import Workspace
from emoclim.stages.evaluating import evaluate

JOINED: tuple[Modality, Modality] = ("image", "audio")
TEXT: Modality = "text"
MEANT = {"joy": "happy", "fear": "scary", "anger": "angry", "sadness": "sad"}  # labels of texts, in those of music
CPU = torch.device("cpu")
Rows = Mapping[Modality, Tensor]
Scores = Mapping[str, Tensor]  # of each query, by direction
Interval = tuple[float, float, float]  # value, and the ends
RESAMPLES = 2000


@dataclass(frozen=True)
class Corpus:
    """Libraries, with the class of each item, -1 for none, and its group."""

    features: Mapping[Modality, Features]
    labels: Rows
    groups: Rows
    classes: tuple[str, ...]
    words: tuple[str, ...]  # what music calls the classes

    @classmethod
    def read(cls, workspace: Workspace, names: Mapping[Modality, str | None]) -> Self:
        """Read caches by name, or the newest that have labels; texts only where they are named."""
        libraries = {modality: labelled_library(workspace, modality, name) for modality, name in names.items()}
        label_map = match_labels(labels_of({modality: libraries[modality] for modality in JOINED}))
        features, labels, groups = {}, {}, {}
        for modality, library in libraries.items():
            items = {item.id: item for item in library.manifest.items}
            features[modality] = read_features(library, list(items.values()), workspace.content_keys())
            own = [items[id_] for id_ in features[modality].ids]
            called = [MEANT.get(item.label or "") if modality == TEXT else item.label for item in own]
            asked: Modality = "audio" if modality == TEXT else modality
            found = [label_map.class_of(asked, name) for name in called]
            labels[modality] = torch.tensor([-1 if one is None else one for one in found])
            numbers = {name: number for number, name in enumerate(dict.fromkeys(one.group or one.id for one in own))}
            groups[modality] = torch.tensor([numbers[one.group or one.id] for one in own])
        words = label_map.names()["audio"]
        return cls(features, labels, groups, label_map.classes, tuple(words[name] for name in label_map.classes))

    def labelled(self, *modalities: Modality) -> dict[Modality, Tensor]:
        """Rows of the items that have a class."""
        return {name: (self.labels[name] >= 0).nonzero()[:, 0] for name in modalities}

    def split(self, rows: Rows) -> Split:
        """Some of the items."""
        features = {name: self.features[name].select(kept) for name, kept in rows.items()}
        return Split(features, {name: self.labels[name][kept] for name, kept in rows.items()}, self.classes)

    def words_heads(self, modalities: Sequence[Modality], **settings: Any) -> Heads:
        """Heads of the words, standardised over all items."""
        features = {name: self.features[name] for name in modalities}
        return heads_without_labels(make_objective("words", tuple(modalities), [settings]), features)

    def scores(self, rows: Rows, heads: Heads) -> tuple[Scores, dict[str, float]]:
        """P@5 of each query, and the mean that a random order has, by direction."""
        own = {name: self.groups[name][kept] for name, kept in rows.items()}
        report = evaluate(self.split(rows), heads, ks=(5,), measures=(), exclude_groups=own, device=CPU)
        found = {name: direction.scores.metrics["P@5"] for name, direction in report.directions.items()}
        return found, {name: direction.random["P@5"] for name, direction in report.directions.items()}

    def interval(self, rows: Rows, direction: str, values: Tensor) -> Interval:
        """Macro mean of what queries of a direction scored."""
        query = next(name for name in rows if direction.startswith(f"{name}_"))
        return interval(values, self.labels[query][rows[query]], self.groups[query][rows[query]])


def cut(corpus: Corpus, count: int) -> Iterator[dict[Modality, Tensor]]:
    """Rows of each fold: whole groups, with about the same share of each class."""
    rows = corpus.labelled(*JOINED)
    parts: dict[Modality, list[Tensor]] = {}
    for name, kept in rows.items():
        cutter = StratifiedGroupKFold(count, shuffle=True, random_state=0)
        labels, groups = corpus.labels[name][kept].numpy(), corpus.groups[name][kept].numpy()
        parts[name] = [kept[torch.from_numpy(own)] for _, own in cutter.split(labels, labels, groups)]
    for number in range(count):
        yield {name: own[number] for name, own in parts.items()}


def shares(
    corpus: Corpus, folds: Sequence[Rows], test: int, given: int | None, seed: int
) -> tuple[dict[Modality, Tensor], dict[Modality, Tensor]]:
    """Rows to train on and for validation, of the folds that are not tested; `given` of each class, or all of them."""
    val = (test + 1) % len(folds)
    rest = [number for number in range(len(folds)) if number not in (test, val)]
    if given is None:
        return {name: torch.cat([folds[number][name] for number in rest]) for name in JOINED}, dict(folds[val])
    draw, train, held = np.random.default_rng((seed, test)), {}, {}
    for name in JOINED:
        pool = torch.cat([folds[number][name] for number in (val, *rest)])
        own = [draw_items(corpus, name, pool, label, given, draw) for label in range(len(corpus.classes))]
        train[name], held[name] = (
            torch.tensor([row for part in parts for row in part]) for parts in zip(*own, strict=True)
        )
    return train, held


def draw_items(
    corpus: Corpus, name: Modality, pool: Tensor, label: int, given: int, draw: np.random.Generator
) -> tuple[list[int], list[int]]:
    """Draw items of a class for training and validation, of as many groups as there are, none of which is in both."""
    by_group = defaultdict(list)
    for row in draw.permutation(pool[corpus.labels[name][pool] == label].numpy()).tolist():
        by_group[int(corpus.groups[name][row])].append(row)
    groups = list(by_group.values())
    n_val = min(max(1, given // 4), len(groups) - 1)
    parts = []
    for own, count in ((groups[n_val:], given - n_val), (groups[:n_val], n_val)):
        turns = sorted((turn, place, row) for place, rows in enumerate(own) for turn, row in enumerate(rows))
        parts.append([row for _, _, row in turns[:count]])
    return parts[0], parts[1]


def interval(values: Tensor, labels: Tensor, groups: Tensor) -> Interval:
    """Macro mean over classes, and 95 % of those of resamples of whole groups within each class."""
    draw, means, drawn = np.random.default_rng(0), [], []
    for label in labels.unique().tolist():
        _, own = groups[labels == label].unique(return_inverse=True)
        sums = np.bincount(own.numpy(), weights=values[labels == label].double().numpy())
        counts = np.bincount(own.numpy())
        picked = draw.integers(0, len(sums), (RESAMPLES, len(sums)))
        means.append(sums.sum() / counts.sum())
        drawn.append(sums[picked].sum(axis=1) / counts[picked].sum(axis=1))
    low, high = np.percentile(np.mean(drawn, axis=0), [2.5, 97.5])
    return float(np.mean(means)), float(low), float(high)
