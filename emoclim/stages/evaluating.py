"""Rank the items of one modality for those of another, in every direction, and report how well that went.

Convention: the score of a pair is the cosine of its embeddings, exact for embeddings rounded to a fine grid, so that
equal items tie wherever they stand in the gallery.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial, wraps
from inspect import signature
from typing import Any, Concatenate, ParamSpec

import torch
from torch import Tensor

from emoclim.config import MEASURES, Average, Measure
from emoclim.data import Split
from emoclim.encoders import choose_device
from emoclim.errors import ConfigError
from emoclim.learning import Heads
from emoclim.metrics import Answer, Question, class_means, macro_mean, measure_vectors
from emoclim.modality import Modality
from emoclim.reports import ClassReport, Direction, DirectionReport, QueryScores, RetrievalReport, directions
from emoclim.stages.head_vectors import HeadVectors, Outputs

P = ParamSpec("P")
HEADS_AT_ONCE, EMBEDDED_BYTES = 16, 1024  # embedded together, or fewer by what a head makes of an item, about
KEPT_SHARE = 8  # part of memory that what a head makes of all items may take, to be kept for all directions


def evaluate_each(
    test: Split,
    heads: Heads,
    *,
    ks: Sequence[int] = (1, 5, 10),
    measures: Sequence[Measure] = MEASURES,
    hits: Sequence[int] = (),
    relevance: Tensor | Mapping[Direction, Tensor] | None = None,
    groups: Mapping[Modality, Tensor] | None = None,
    exclude_groups: Mapping[Modality, Tensor] | None = None,
    average: Average = "embeddings",
    pairs: Sequence[Direction] | None = None,
    memory: int = 1 << 30,
    device: torch.device | str,
) -> Iterator[RetrievalReport]:
    """Evaluate heads by retrieval, in every direction between and within the modalities of a split.

    ``evaluate_each`` yields the report of each of K pairs of heads in turn, ``evaluate`` returns that of one.

    Parameters
    ----------
    test
        The items, each of which is a query and a candidate; never a candidate of its own.
    heads
        K heads per modality; of ``evaluate``, one.
    ks
        The k of each precision at k; 1 gives the confusion of classes too.
    measures
        What is computed besides; ``"mAP"`` and ``"R-precision"`` sort all candidates, which the others do without.
    hits
        The k of each hit at k, the top-k ratio: whether anything relevant is among the first k.
    relevance
        ``(C, C)`` bool: whether candidates of class ``[.., c]`` are relevant to queries of class ``[q, ..]``, or such a
        table for each (query, candidate) modalities; by default that of the split's taxonomy, or those of the same
        class.
    groups
        ``(N,)`` int64 by modality: an item ranks only those of its own group, such as a piece; by default it ranks all.
    exclude_groups
        ``(N,)`` int64 by modality, from 0 on: within their modality, items of one number, such as excerpts of one
        track, are no candidates of each other; by default each stands for itself.
    average
        What stands for an item of several segments: the mean of their ``"embeddings"``, not normalised again, as in
        the paper; or the embedding of its mean ``"features"``.
    pairs
        (query, candidate) modalities; None takes every direction between and within those of the split.
    memory
        Bytes that the scores of a block of queries, and what is found by them, may take; and embeddings of many heads.
    device
        Where embeddings and rankings are computed.

    Raises
    ------
    ConfigError
        ``evaluate`` is given several heads, a k is below 1, a measure is unknown, `relevance` or `groups` has another
        shape, or `memory` does not hold the scores of one query.
    ManifestError
        A modality has no items, or its labels do not fit its items or the classes.
    RunError
        An embedding is not finite.
    CacheMismatch
        The features are not those that the heads were trained on.

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", ICASSP 2024: P@1, P@5 and MRR,
    macro-averaged over the classes of the queries.
    """
    device, n_classes = choose_device(device), len(test.classes)
    if wrong := [k for k in (*ks, *hits) if k < 1]:
        raise ConfigError(f"precision at {wrong[0]} is not defined; give values of k from 1 on")
    if unknown := [name for name in measures if name not in MEASURES]:
        raise ConfigError(f"there is no measure {unknown[0]!r}; take some of {', '.join(MEASURES)}")
    asked_pairs = tuple(pairs or directions(test.features))
    if relevance is None and test.taxonomy is not None:
        relevance = test.taxonomy.relevance
    related = _relevance(relevance, asked_pairs, n_classes)
    provenance = {
        "features": {modality: features.spec.to_dict() for modality, features in test.features.items()},
        "relevance": _plain(relevance),
        "candidates": "all" if groups is None else "own group",
        "excluded": "itself" if exclude_groups is None else "own group",
    }
    n_items = 1 + sum(map(len, test.features.values()))
    kept = groups is not None or n_items * EMBEDDED_BYTES <= memory // KEPT_SHARE
    at_once = min(HEADS_AT_ONCE, memory // EMBEDDED_BYTES // n_items or 1) if kept else 1
    for first in range(0, heads.n_heads, at_once):
        part = heads.select(*range(first, min(first + at_once, heads.n_heads)))
        outputs = {name: Outputs(test, part, name, average, device, kept=kept) for name in test.features}
        for k in range(part.n_heads):
            reports = []
            for query, candidate in asked_pairs:
                compared = partial(part.objective.query_vectors, query, candidates=candidate)
                queries = HeadVectors(outputs[query], compared, k, ask=True)
                candidates = HeadVectors(outputs[candidate], partial(part.objective.vectors, candidate), k, ask=False)
                wanted = related[query, candidate]
                asked = Question(test.labels[query].cpu(), test.labels[candidate].cpu(), wanted, ks, measures, hits)
                among = None if groups is None else (_groups(test, groups, query), _groups(test, groups, candidate))
                own = _excluded(test, exclude_groups, query) if query == candidate else None
                answer = measure_vectors(queries, candidates, asked, memory=memory, exclude_groups=own, groups=among)
                reports.append(_report(test, query, candidate, asked, answer.cpu()))
            yield RetrievalReport(test.classes, average, {report.name: report for report in reports}, provenance)


def _of_one(
    each: Callable[Concatenate[Split, Heads, P], Iterator[RetrievalReport]],
) -> Callable[Concatenate[Split, Heads, P], RetrievalReport]:
    """Make the function that evaluates one pair of heads of the one that evaluates K, with all its options."""

    @wraps(each)
    def evaluate(test: Split, heads: Heads, /, *args: P.args, **options: P.kwargs) -> RetrievalReport:
        if heads.n_heads != 1:
            raise ConfigError(f"evaluation takes one head, but there are {heads.n_heads}; select one of them first")
        return next(each(test, heads, *args, **options))

    evaluate.__name__ = evaluate.__qualname__ = "evaluate"
    vars(evaluate)["__signature__"] = signature(each).replace(return_annotation=RetrievalReport)
    return evaluate


evaluate = _of_one(evaluate_each)


def _relevance(
    given: Tensor | Mapping[Direction, Tensor] | None, pairs: Sequence[Direction], n_classes: int
) -> dict[Direction, Tensor]:
    """Return what is relevant in each direction, on the CPU."""
    if given is None:
        given = torch.eye(n_classes, dtype=torch.bool)
    tables = {pair: given[pair] if isinstance(given, Mapping) else given for pair in pairs}
    if wrong := [table for table in tables.values() if table.shape != (n_classes, n_classes)]:
        raise ConfigError(
            f"relevance is {tuple(wrong[0].shape)}; give one row and one column for each of the {n_classes} classes"
        )
    return {pair: table.bool().cpu() for pair, table in tables.items()}


def _plain(relevance: Tensor | Mapping[Direction, Tensor] | None) -> Any:
    """Return plain values, by direction where there is a table for each."""
    if relevance is None:
        return "same class"
    if isinstance(relevance, Mapping):
        return {"_".join(pair): table.int().tolist() for pair, table in relevance.items()}
    return relevance.int().tolist()


def _groups(test: Split, groups: Mapping[Modality, Tensor], modality: Modality) -> Tensor:
    n_items = len(test.features[modality])
    if modality not in groups or groups[modality].shape != (n_items,):
        raise ConfigError(f"the {modality} groups do not fit; give each of the {n_items} items one number")
    return groups[modality]


def _excluded(test: Split, exclude_groups: Mapping[Modality, Tensor] | None, modality: Modality) -> Tensor:
    return (
        torch.arange(len(test.features[modality]))
        if exclude_groups is None
        else _groups(test, exclude_groups, modality)
    )


def _report(test: Split, query: Modality, candidate: Modality, asked: Question, answer: Answer) -> DirectionReport:
    found, chance = answer.values, answer.expected()
    classes = tuple(test.classes[label] for label in asked.queries.tolist())
    return DirectionReport(
        query,
        candidate,
        n_queries=len(asked.queries),
        n_candidates=int(answer.n_candidates.max()),
        n_without_relevant=int((answer.n_relevant == 0).sum()),
        n_finding_nothing=int(answer.silent.sum()),
        metrics={name: macro_mean(values, asked.queries) for name, values in found.items()},
        random={name: macro_mean(values, asked.queries) for name, values in chance.items()},
        per_class=_per_class(test.classes, asked, answer, chance),
        micro={name: float(values.mean()) for name, values in found.items()},
        random_micro={name: float(values.mean()) for name, values in chance.items()},
        confusion=_confusion(test.classes, answer.first),
        scores=QueryScores(tuple(test.features[query].ids), classes, answer.n_relevant, answer.n_candidates, found),
    )


def _per_class(
    classes: Sequence[str], asked: Question, answer: Answer, chance: Mapping[str, Tensor]
) -> dict[str, ClassReport]:
    n_queries = asked.queries.bincount(minlength=len(classes))  # (C,)
    n_relevant = (asked.relevance * asked.candidates.bincount(minlength=len(classes))).sum(dim=1).double()
    n_relevant[n_queries > 0] = class_means(answer.n_relevant, asked.queries)
    # A column for each class that has a query, in order; a class without one takes none.
    means = {name: iter(class_means(values, asked.queries).tolist()) for name, values in answer.values.items()}
    random = {name: iter(class_means(values, asked.queries).tolist()) for name, values in chance.items()}
    return {
        name: ClassReport(
            n_queries=asking,
            n_relevant=relevant,
            metrics={metric: next(values) for metric, values in means.items()} if asking else {},
            random={metric: next(values) for metric, values in random.items()} if asking else {},
        )
        for name, asking, relevant in zip(classes, n_queries.tolist(), n_relevant.tolist(), strict=True)
    }


def _confusion(classes: Sequence[str], first: Tensor) -> dict[str, dict[str, float]]:
    """Compute the shares of the classes of the first candidate, by class of the query that has a candidate."""
    shares = first / first.sum(dim=1, keepdim=True)
    return {
        name: dict(zip(classes, row, strict=True))
        for name, row, asked_for in zip(classes, shares.tolist(), first.any(dim=1).tolist(), strict=True)
        if asked_for
    }
