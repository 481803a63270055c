"""Search by several likenesses at once, such as emotion and content. Used by the command."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from emoclim.data import Features
from emoclim.errors import RunError
from emoclim.stages.reasons import Reason, rank_reasons, score_terms
from emoclim.stages.searching import Gallery, Hit, Ranking, rank


class MixedGallery:
    """Galleries of the same items, ranked by the weighted mean of their scores.

    Each score is standardised over the candidates that are ranked for a query, so that a weight means the same whatever
    the scale of a score: 1 is a standard deviation above their mean. Passages are those of the first gallery.

    Parameters
    ----------
    galleries
        By name; their candidates may be features of different encoders and are matched by id.
    weights
        By the same names, finite and not negative, one of them above 0.

    Attributes
    ----------
    lacking
        Ids of candidates that a gallery lacks and another has, by its name; these are not ranked.
    ranked
        Ids of all others.

    Raises
    ------
    RunError
        No candidate is in all galleries.
    """

    def __init__(self, galleries: Mapping[str, Gallery], weights: Mapping[str, float]) -> None:
        self.galleries = dict(galleries)
        total = sum(weights[name] for name in galleries)
        self.weights = {name: weights[name] / total for name in galleries}
        known = {name: dict.fromkeys(one.candidates.ids) for name, one in galleries.items()}
        every = [id_ for ids in known.values() for id_ in ids]
        self.lacking = {name: tuple(dict.fromkeys(id_ for id_ in every if id_ not in known[name])) for name in known}
        self.lead = next(iter(self.galleries.values()))
        shared = frozenset(self.lead.candidates.ids).intersection(*known.values())
        if not shared:
            raise RunError(f"no item of the library has features for each of {' and '.join(known)}; extract it again")
        self.ranked = shared
        rows = {name: {id_: row for row, id_ in enumerate(one.candidates.ids)} for name, one in galleries.items()}
        self._rows = {
            name: torch.tensor([of.get(id_, 0) for id_ in self.lead.candidates.ids]) for name, of in rows.items()
        }  # (N,) of the first gallery's candidates, each; what is lost has any

    def search(
        self, queries: Mapping[str, Features], *, top: int = 5, exclude: Sequence[Collection[str]] = ()
    ) -> list[list[Hit]]:
        """Return the best hits of each of Q queries, given by the features that each gallery takes.

        One for which a gallery of some weight asks nothing has none.
        """
        wanted = {name: one.wanted(queries[name]) for name, one in self.galleries.items()}
        own = queries[next(iter(self.galleries))]
        excluded = exclude or [()] * len(own)
        lost = frozenset(self.lead.candidates.ids) - self.ranked
        found = []
        for row, out in enumerate(excluded):
            asked = {name: vectors[row] for name, vectors in wanted.items()}
            if all(asked[name].any() for name, weight in self.weights.items() if weight):
                found.append(self._hits(own.select(torch.tensor([row])), asked, lost.union(out), top))
            else:
                found.append([])
        return found

    def explain(
        self, queries: Mapping[str, Features], hits: Sequence[Hit], exclude: Collection[str] = ()
    ) -> list[tuple[Reason, ...]]:
        """Tell what the score of each hit of one query is made of, each term less its mean over what is ranked.

        A gallery whose dimensions have no names is one reason, called by its own.
        """
        included = self.lead.included((frozenset(self.lead.candidates.ids) - self.ranked).union(exclude))
        rows, reasons = self.lead.rows(hits), [list[Reason]() for _ in hits]
        for name, one in self.galleries.items():
            wanted, entries = one.wanted(queries[name])[0].double(), one.entries[self._rows[name]]
            scores, terms = one.scores(wanted)[self._rows[name]], score_terms(entries, wanted, one.metric)
            if not one.names:
                terms = entries = terms.sum(dim=1, keepdim=True)
                wanted = wanted.new_ones(1)
            spread = scores.double()[included].std(correction=0)
            terms = self.weights[name] * (terms[rows] - terms[included].mean(dim=0)) / spread
            terms = terms if standardised(scores, included).any() else torch.zeros_like(terms)
            names = one.names or (f"{name} as a whole",)
            for found, own, entry in zip(reasons, terms, entries[rows], strict=True):
                found += rank_reasons(names, own, entry, wanted)
        return [tuple(sorted(found, key=lambda one: -one.contribution)) for found in reasons]

    def select(self, hits: Sequence[Hit]) -> Features:
        """Select what the first gallery has of some hits."""
        return self.lead.select(hits)

    def _hits(self, query: Features, asked: Mapping[str, Tensor], excluded: Collection[str], top: int) -> list[Hit]:
        included = self.lead.included(excluded)
        parts = {
            name: standardised(one.scores(asked[name])[self._rows[name]], included)
            for name, one in self.galleries.items()
        }
        mixed = sum((self.weights[name] * part for name, part in parts.items()), torch.zeros(len(included)))
        ranking: Ranking = rank(mixed.float(), included, top)
        hits = self.lead.describe(query, next(iter(asked.values())), ranking)
        return [
            replace(hit, parts={name: float(part[row]) for name, part in parts.items()})
            for hit, row in zip(hits, ranking.rows.tolist(), strict=True)
        ]


def standardised(scores: Tensor, included: Tensor) -> Tensor:
    """Standardise scores over those that are included: mean 0 and standard deviation 1 there, or 0 if all are equal."""
    scores = scores.double()
    own = scores[included]
    if not len(own) or bool((own == own[0]).all()):
        return torch.zeros_like(scores)
    return (scores - own.mean()) / own.std(correction=0)
