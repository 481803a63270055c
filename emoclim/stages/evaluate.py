"""Rank the items of one modality for those of another, in every direction, and report how well that went.

Convention: the score of a pair is the cosine of its embeddings, summed in float64 and rounded to float32. What the
embeddings' own precision cannot tell apart is thereby tied, and equal items tie wherever they stand in the gallery.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.data.manifest import Modality
from emoclim.errors import ConfigError, ManifestError, RunError
from emoclim.features import Split
from emoclim.heads import Average, Heads
from emoclim.metrics.retrieval import Ranking, class_means, macro_mean, random_order, rank
from emoclim.reports.retrieval import ClassReport, Direction, DirectionReport, RetrievalReport, directions

PAIRS_PER_BLOCK = 1 << 18  # of query and candidate, ranked at once; about 45 MB


def evaluate(
    test: Split,
    heads: Heads,
    *,
    ks: Sequence[int] = (1, 5),
    relevance: Tensor | None = None,
    average: Average = "embeddings",
    pairs: Sequence[Direction] | None = None,
    device: torch.device,
) -> RetrievalReport:
    """Evaluate one pair of heads by retrieval, in every direction between and within the modalities of a split.

    Parameters
    ----------
    test
        The items, each of which is a query and a candidate; never a candidate of its own.
    heads
        One head per modality.
    ks
        The k of each precision at k.
    relevance
        ``(C, C)`` bool: whether candidates of class ``[.., c]`` are relevant to queries of class ``[q, ..]``; by
        default those of the same class.
    average
        What stands for an item of several segments: the mean of their ``"embeddings"``, not normalised again, as in
        the paper; or the embedding of its mean ``"features"``.
    pairs
        (query, candidate) modalities; None takes every direction between and within those of the split.
    device
        Where embeddings and rankings are computed.

    Raises
    ------
    ConfigError
        `heads` holds several heads, a k is below 1, or `relevance` has another shape.
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
    n_classes = len(test.classes)
    if heads.n_heads != 1:
        raise ConfigError(f"evaluation takes one head, but there are {heads.n_heads}; select one of them first")
    if wrong := [k for k in ks if k < 1]:
        raise ConfigError(f"precision at {wrong[0]} is not defined; give values of k from 1 on")
    if relevance is not None and relevance.shape != (n_classes, n_classes):
        raise ConfigError(
            f"relevance is {tuple(relevance.shape)}; give one row and one column for each of the {n_classes} classes"
        )
    related = torch.eye(n_classes, dtype=torch.bool) if relevance is None else relevance.bool().cpu()
    unit = {modality: _embed(test, heads, modality, average, device) for modality in test.features}
    reports = [_direction(test, unit, pair, related, ks) for pair in pairs or directions(test.features)]
    provenance = {
        "features": {modality: features.spec.to_dict() for modality, features in test.features.items()},
        "relevance": "same class" if relevance is None else related.int().tolist(),
    }
    return RetrievalReport(test.classes, average, {report.name: report for report in reports}, provenance)


def _embed(test: Split, heads: Heads, modality: Modality, average: Average, device: torch.device) -> Tensor:
    """Unit embeddings ``(N, E)`` float64 of one modality, on a device that can sort them."""
    features, labels = test.features[modality], test.labels[modality]
    if not len(features):
        raise ManifestError(f"the split has no {modality} to evaluate; choose another split or give it some items")
    if labels.shape != (len(features),) or not 0 <= int(labels.min()) <= int(labels.max()) < len(test.classes):
        raise ManifestError(
            f"the {modality} labels of the split do not fit; give each of the {len(features)} items a number "
            f"from 0 to {len(test.classes) - 1}"
        )
    embeddings = heads.embed(features.to(device), average=average)[0]
    if not embeddings.isfinite().all():
        raise RunError(f"the {modality} head gives embeddings that are not finite; train it again")
    if device.type == "mps":  # has no float64
        embeddings = embeddings.cpu()
    return normalize(embeddings.double(), dim=1)


def _direction(
    test: Split, unit: Mapping[Modality, Tensor], pair: Direction, relevance: Tensor, ks: Sequence[int]
) -> DirectionReport:
    query, candidate = pair
    same = query == candidate
    classes, gallery = test.labels[query].cpu(), test.labels[candidate].cpu()
    n_relevant = relevance.long() @ gallery.bincount(minlength=len(test.classes))  # (C,)
    if same:
        n_relevant = n_relevant - relevance.diagonal().long()
    n_candidates = len(gallery) - same

    rankings = _rankings(unit[query], unit[candidate], relevance[classes], gallery, drop_self=same)
    blocks = [_metrics(ranking, ks) for ranking in rankings]
    per_query = {name: torch.cat([block[name] for block in blocks]) for name in blocks[0]}
    n_queries = classes.bincount(minlength=len(test.classes))  # (C,)
    present = n_queries.nonzero()[:, 0]
    found = {name: class_means(values, classes) for name, values in per_query.items()}  # (present,) each
    chance = _metrics(random_order(n_relevant[present], n_candidates), ks)
    return DirectionReport(
        query,
        candidate,
        n_queries=len(classes),
        n_candidates=n_candidates,
        n_without_relevant=int((n_relevant[classes] == 0).sum()),
        metrics={name: macro_mean(values, classes) for name, values in per_query.items()},
        random={name: macro_mean(values, present) for name, values in chance.items()},
        per_class={
            name: ClassReport(
                n_queries=int(n_queries[label]),
                n_relevant=int(n_relevant[label]),
                metrics=_where(found, present == label),
                random=_where(chance, present == label),
            )
            for label, name in enumerate(test.classes)
        },
        per_query=per_query,
    )


def _rankings(
    queries: Tensor, candidates: Tensor, wanted: Tensor, gallery: Tensor, *, drop_self: bool
) -> Iterator[Ranking]:
    """Rankings of blocks of queries; `wanted` ``(Q, C)``: relevant classes, `gallery` ``(M,)``: classes there are."""
    n_candidates = len(candidates)
    columns = torch.arange(n_candidates, device=candidates.device)
    for rows in torch.split(torch.arange(len(queries)), max(1, PAIRS_PER_BLOCK // n_candidates)):
        scores = (queries[rows.to(queries.device)] @ candidates.T).float()
        hits = wanted[rows][:, gallery].to(scores.device)
        if drop_self:
            others = columns != rows.to(columns.device)[:, None]
            scores = scores[others].view(len(rows), n_candidates - 1)
            hits = hits[others].view(len(rows), n_candidates - 1)
        yield rank(scores, hits)


def _metrics(ranking: Ranking, ks: Sequence[int]) -> dict[str, Tensor]:
    """All metrics by name, ``(Q,)`` each, on the CPU."""
    values = {f"P@{k}": ranking.precision_at(k) for k in ks}
    values |= {"MRR": ranking.reciprocal_rank(), "mAP": ranking.average_precision()}
    return {name: value.cpu() for name, value in values.items()}


def _where(values: Mapping[str, Tensor], chosen: Tensor) -> dict[str, float]:
    """The one chosen entry of each tensor, or nothing where none is chosen."""
    return {name: value for name, column in values.items() for value in column[chosen].tolist()}
