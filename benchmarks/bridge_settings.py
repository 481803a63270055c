"""Which settings of the words matter: every choice of them on the same items. Used by ``bridge.py``; no script itself.

What is `centred`, `lifted` or `salient` is no setting of the objective, but tried beside it: embeddings of classes and
tags less their mean; of probabilities only what is above the mean of the library; probabilities standardised over it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
import torch
from bridge_corpus import JOINED, Corpus, Interval, interval
from torch import Tensor
from torch.nn.functional import linear, normalize

from emoclim.data.labels.word_lists import WORD_LISTS as LISTS
from emoclim.encoders.text_towers import embed_texts, text_tower, vocabulary_of, word_encoder
from emoclim.learning.banks.direction_bank import FUNCTIONS
from emoclim.learning.objectives.loading import make_objective
from emoclim.modality import MODALITIES, Modality

TEMPLATES = {
    "a feeling of": ("a feeling of {word}",),
    "the word": ("{word}",),
    "that evokes": ("{medium} that evokes {word}",),
    "three": ("{word}", "{medium} that evokes {word}", "a feeling of {word}"),
    "five": (
        *("{word}", "{medium} that evokes {word}", "a feeling of {word}"),
        *("{medium} full of {word}", "this {medium} makes me feel {word}"),
    ),
}
SCALES = (
    *(("library", temperature) for temperature in (0.5, 1.0, 2.0)),
    *(("none", temperature) for temperature in (0.02, 0.05, 0.1)),
)
VOCABULARY = ("as it is", "centred", "lifted", "salient")
FACTORS = ("words", "templates", "standardised over, temperature", "classes and tags")


def compare_settings(corpus: Corpus, encoder: str, n_halves: int) -> dict[str, Any]:
    """What was chosen on one half, told on the other; each choice of each factor, the others by default."""
    spaces = {name: Space.of(corpus, name, encoder) for name in JOINED}
    lists = {"affect": LISTS["affect"], "paper": LISTS["paper"], "music's labels": corpus.words}
    names = list(product(lists, TEMPLATES, SCALES, VOCABULARY))
    table = Table(corpus)
    for words, templates, scale, vocabulary in names:
        given = (lists[words], TEMPLATES[templates], scale, vocabulary)
        table.add({name: space.roots(*given) for name, space in spaces.items()})
    hits = {ways: torch.stack(found) for ways, found in table.hits.items()}  # (settings, queries)
    halves = list(table.halves(n_halves))
    by_half = [[table.means(part) for part in both] for both in halves]  # (settings, directions) each
    picked = [int(one.mean(dim=1).argmax()) for one, _ in by_half]
    other = torch.stack([told[pick] for (_, told), pick in zip(by_half, picked, strict=True)])
    default = torch.stack([told[0] for _, told in by_half])
    chance = 1 / len(corpus.classes)
    told = {
        f"{what}, {way}": {"P@5": spread(found[:, column]), "chance": chance}
        for what, found in (("chosen on one half, told on the other", other), ("defaults, the same halves", default))
        for column, way in enumerate(("pictures to music", "music to pictures"))
    }
    return {
        "told": told,
        "chosen": {what: picked.count(n) for n, what in enumerate(map(plain, names)) if n in picked},
        "each factor": list(each_factor(names, hits, table)),
        "mean of all": {way: table.interval(way, found.mean(dim=0)) for way, found in hits.items()},
        "best of all in hindsight": in_hindsight(names, hits, table),
    }


def spread(values: Tensor) -> Interval:
    """Mean over the halves, and the range of 95 % of them, which is no interval of the mean."""
    low, high = np.percentile(values.numpy(), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def plain(choice: tuple[Any, ...]) -> str:
    """A choice in words."""
    words, templates, (standardise, temperature), vocabulary = choice
    return f"{words}; {templates}; {standardise}, {temperature:g}; {vocabulary}"


def each_factor(names: list[Any], hits: Mapping[str, Tensor], table: "Table") -> Iterator[dict[str, Any]]:
    """Each choice of each factor where the others are by default, and the difference to the defaults."""
    for place, factor in enumerate(FACTORS):
        for number, choice in enumerate(names):
            if any(choice[other] != names[0][other] for other in range(len(FACTORS)) if other != place):
                continue
            level = choice[place] if isinstance(choice[place], str) else f"{choice[place][0]}, {choice[place][1]:g}"
            yield {
                "factor": factor,
                "choice": level,
                **{way: table.interval(way, of[number]) for way, of in hits.items()},
                **{f"{way} - default": table.interval(way, of[number] - of[0]) for way, of in hits.items()},
            }


def in_hindsight(names: list[Any], hits: Mapping[str, Tensor], table: "Table") -> dict[str, Any]:
    """The best of all choices on the very items that it is told of: an upper end that nobody knows beforehand."""
    means = torch.stack([table.macro(way, found) for way, found in hits.items()]).mean(dim=0)
    best = int(means.argmax())
    return {"choice": plain(names[best]), **{way: table.interval(way, found[best]) for way, found in hits.items()}}


@dataclass(frozen=True)
class Space:
    """Where items of a modality lie among words."""

    medium: str
    probabilities: Tensor  # (R, W) of the words of a vocabulary, or texts' embeddings
    vectors: Tensor | None  # (T, W) of those words
    owners: Tensor  # (R,) rows of the items of segments
    encoder: Any
    known: dict[str, Tensor]

    @classmethod
    def of(cls, corpus: Corpus, name: Modality, encoder: str) -> "Space":
        """Read a vocabulary by the objective's own bank."""
        features = corpus.features[name]
        settings = {"words": "calm,glad", "standardise": "none", "encoder": encoder}
        bank = make_objective("words", (name,), [settings]).bank_of(features.spec)
        rows, owners = features.values, torch.arange(len(features))
        if features.windows is not None:
            rows, offsets = features.windows[:2]
            owners = owners.repeat_interleave(offsets.diff())
        if bank.read_weight is not None:
            rows = FUNCTIONS[bank.function](linear(rows, bank.read_weight[0], bank.read_bias[0]))
        tower = word_encoder(encoder) if vocabulary_of(features.spec) else text_tower(features.spec)
        return cls(MODALITIES[name].name, rows, None if bank.table is None else bank.table[0], owners, tower, {})

    @cached_property
    def points(self) -> dict[str, Tensor]:
        """Unit vectors of rows, by what is done to the vocabulary; texts have none."""
        rows, vectors = self.probabilities, self.vectors
        if vectors is None:
            return dict.fromkeys(VOCABULARY, normalize(rows, dim=1))
        mean, std = rows.mean(dim=0), rows.std(dim=0, correction=0)
        found = {
            "as it is": rows @ vectors.T,
            "centred": rows @ (vectors - vectors.mean(dim=1, keepdim=True)).T,
            "lifted": (rows - mean).clamp(min=0) @ vectors.T,
            "salient": (rows - mean) / std.clamp(min=1e-12) @ vectors.T,
        }
        return {what: normalize(points, dim=1) for what, points in found.items()}

    def roots(self, words: Any, templates: Any, scale: tuple[str, float], vocabulary: str) -> Tensor:
        """Roots of the profiles of items, (N, W)."""
        prompts = [[one.format(word=word, medium=self.medium) for one in templates] for word in words]
        if new := [prompt for each in prompts for prompt in each if prompt not in self.known]:
            self.known.update(zip(new, normalize(embed_texts(self.encoder, new), dim=1), strict=True))
        directions = torch.stack([torch.stack([self.known[one] for one in each]).mean(dim=0) for each in prompts])
        cosines = (self.points[vocabulary] @ directions.T).double()
        sizes = self.owners.bincount()[:, None]
        found = cosines.new_zeros(len(sizes), len(prompts)).index_add_(0, self.owners, cosines) / sizes
        if scale[0] == "library":
            found = (found - found.mean(dim=0)) / found.std(dim=0, correction=0)
        return (found / scale[1]).softmax(dim=1).sqrt()


class Table:
    """P@5 of all choices of settings, by direction; of all items, and of halves of the groups."""

    def __init__(self, corpus: Corpus) -> None:
        self._rows = corpus.labelled(*JOINED)
        self._labels = {name: corpus.labels[name][rows] for name, rows in self._rows.items()}
        self._groups = {name: corpus.groups[name][rows] for name, rows in self._rows.items()}
        self._scores: list[Tensor] = []
        self.hits: dict[str, list[Tensor]] = {"image_audio": [], "audio_image": []}

    def add(self, roots: Mapping[Modality, Tensor]) -> None:
        """Rank by one choice of settings."""
        image, audio = (roots[name][self._rows[name]] for name in JOINED)
        self._scores.append(scores := image @ audio.T)
        for way, found in zip(self.hits.values(), self._both(scores, *self._labels.values()), strict=True):
            way.append(found)

    def halves(self, count: int) -> Iterator[tuple[dict[Modality, Tensor], dict[Modality, Tensor]]]:
        """Random halves of the groups of each class, as which items are in them."""
        draw = np.random.default_rng(0)
        for _ in range(count):
            first = {}
            for name in JOINED:
                labels, groups = self._labels[name], self._groups[name]
                kept = []
                for label in labels.unique().tolist():
                    own = draw.permutation(groups[labels == label].unique().numpy())
                    kept += own[: (len(own) + int(draw.integers(2))) // 2].tolist()
                first[name] = torch.isin(groups, torch.tensor(kept))
            yield first, {name: ~part for name, part in first.items()}

    def means(self, part: Mapping[Modality, Tensor]) -> Tensor:
        """P@5 of some items, which are queries and candidates, ``(settings, 2)``."""
        labels = [self._labels[name][part[name]] for name in JOINED]
        found = []
        for scores in self._scores:
            both = self._both(scores[part["image"]][:, part["audio"]], *labels)
            found.append(torch.stack([macro(one, own) for one, own in zip(both, labels, strict=True)]))
        return torch.stack(found)

    def macro(self, way: str, found: Tensor) -> Tensor:
        """Macro means of several choices."""
        return macro(found.T, self._labels[way.partition("_")[0]])  # type: ignore[index]

    def interval(self, way: str, values: Tensor) -> Interval:
        """Of what queries scored."""
        query: Any = way.partition("_")[0]
        return interval(values, self._labels[query], self._groups[query])

    @staticmethod
    def _both(scores: Tensor, image: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        there = (audio[scores.topk(5, dim=1).indices] == image[:, None]).double().mean(dim=1)
        back = (image[scores.T.topk(5, dim=1).indices] == audio[:, None]).double().mean(dim=1)
        return there, back


def macro(values: Tensor, labels: Tensor) -> Tensor:
    """Mean over classes of the means over their queries, which come first."""
    return torch.stack([values[labels == label].mean(dim=0) for label in labels.unique().tolist()]).mean(dim=0)
