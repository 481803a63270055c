"""Train tagging heads on embeddings or on features, and report how well they find the tags of items never seen.

Convention: one head for each seed and share of the training items, each trained for itself.

Randomness: one generator per purpose, made from the seed by :func:`emoclim.seeding.generator_for`: ``tagging share``
(which items a smaller training set keeps), ``tagging shuffle`` (the control), ``tagging bootstrap``, and those of
:mod:`emoclim.stages.tag_heads`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch

from emoclim.data import Features
from emoclim.encoders import choose_device
from emoclim.errors import CacheError, ConfigError, ManifestError
from emoclim.learning import Heads, TagConfig, TagProtocol, mean_over_segments
from emoclim.metrics import draw_counts
from emoclim.progress import Track, silent
from emoclim.reports import TaggingReport, Trained, make_report
from emoclim.seeding import generator_for
from emoclim.stages.tag_heads import TagSplit, tag_probabilities, train_tag_head


def tag(
    train: TagSplit,
    val: TagSplit,
    test: TagSplit,
    tags: Sequence[str],
    *,
    seeds: Sequence[int] = (42,),
    fractions: Sequence[float] = (1.0,),
    protocol: TagProtocol = TagProtocol(),
    shuffle: bool = False,
    groups: Mapping[str, Sequence[str]] | None = None,
    n_resamples: int = 1000,
    config: TagConfig = TagConfig(),
    device: torch.device | str,
    track: Track = silent,
    keep: Callable[[float, int, Callable[[], Trained]], Trained] | None = None,
) -> TaggingReport:
    """Train a tagging head for each seed and share of the training items, and evaluate them.

    Parameters
    ----------
    train, val, test
        Inputs of one spec; training draws a segment of each item in each epoch, or takes its value.
    tags
        T names.
    seeds
        One head for each; means and deviations are over them.
    fractions
        Shares of the training items, above 0 and up to 1. Of one seed, a smaller set is part of a larger one. The last
        one in ascending order is reported tag by tag.
    protocol
        What stands for an item, and which epoch is kept.
    shuffle
        Train on tags that were dealt out anew among the items: a control, which should find nothing.
    groups
        Names of groups, each with its tags.
    n_resamples
        Bootstrap resamples of the test items, for the 95 % intervals.
    config
        Everything else.
    device
        Where to train.
    track
        Shows progress by head.
    keep
        Is given each share and seed with what trains its head; returns what that gave, now or before a kill.

    Raises
    ------
    ConfigError
        There is no seed, or a share of items is not possible.
    ManifestError
        A split is too small, or its tags do not fit.
    CacheError
        Inputs are not finite, or differ in their specs.

    Notes
    -----
    S. Stewart et al., as in :class:`TagConfig`; shares of the training items as in K. Avramidis et al., "On the role of
    visual context in enriching music representations", ICASSP 2023, section 5.4.
    """
    device = choose_device(device)
    if wrong := [fraction for fraction in fractions if not 0 < fraction <= 1]:
        raise ConfigError(
            f"nothing can be learnt from a share of {wrong[0]:g} of the items; give shares above 0, up to 1"
        )
    if not fractions or not seeds:
        raise ConfigError("there is nothing to train; give at least one share of the items, and at least one seed")
    for name, split in (("train", train), ("val", val), ("test", test)):
        _check(split, train.inputs, name, len(tags))
    if protocol.windows == "apart":
        test = replace(test, inputs=without_overlap(test.inputs))
    parts = tuple(replace(split, inputs=split.inputs.to(device)) for split in (train, val, test))
    plan = [(fraction, seed) for fraction in sorted(set(fractions)) for seed in seeds]
    trained = []
    for fraction, seed in track(plan, description="Training tagging heads", total=len(plan)):
        shown, held = (_shuffled(parts[0], parts[1], seed) if shuffle else parts)[:2]
        make = partial(_trained, shown, held, parts[2], fraction, seed, protocol, config)
        trained.append(keep(fraction, seed, make) if keep else make())
    provenance = {
        "input": train.inputs.spec.to_dict(),
        **protocol.model_dump(include=set(TagProtocol.model_fields)),
        "shuffled_tags": shuffle,
        "config": config.model_dump(),
        "resamples": n_resamples,
        "resampled": "items" if test.groups is None else "groups",
    }
    drawing = generator_for("tagging bootstrap", seeds[0])
    counts = draw_counts(len(test.relevant), n_resamples, drawing, groups=test.groups)
    return make_report(
        tags, trained, tuple(test.inputs.ids), test.relevant, train.relevant, counts, groups or {}, provenance
    )


def embedded(features: Features, heads: Heads) -> Features:
    """Embed features for a tagging head: each segment, and their mean for each item.

    Parameters
    ----------
    features
        N items of D values, on any device.
    heads
        One head for their modality.

    Returns
    -------
    Features
        The same items, of E values.

    Raises
    ------
    ConfigError
        `heads` holds several.
    CacheMismatch
        The features are not those that the heads were trained on.
    """
    if heads.n_heads != 1:
        raise ConfigError(f"tagging takes one head, but there are {heads.n_heads}; select one of them first")
    values = heads.vectors(features)[0][0]
    spec = replace(features.spec, name=f"{features.spec.name} embeddings", dim=values.shape[1])
    if (windows := features.windows) is None:
        return Features(spec, features.ids, values, seconds=features.seconds)
    segments, offsets, starts = windows
    rows = heads.vectors(Features(features.spec, [""] * len(segments), segments), average="features")[0][0]
    return Features(spec, features.ids, values, rows, offsets, starts, features.seconds)


def without_overlap(features: Features) -> Features:
    """Keep of each item's windows the first, and each next one that begins where the one before it has ended.

    An item's value is the mean of the windows that are kept; one that had none keeps its own.
    """
    overlap = features.spec.settings.get("overlap")
    windows = None if overlap == 0 else features.windows
    if windows is None:
        return features
    if not isinstance(overlap, float):
        raise CacheError(f"the features of {features.spec.name} do not say how far windows overlap; take all of them")
    segments, offsets, starts = windows
    counts = offsets.diff()
    places = torch.arange(len(segments)) - offsets[:-1].repeat_interleave(counts)
    kept = (places % math.ceil(1 / (1 - overlap) - 1e-9) == 0).nonzero()[:, 0]
    owners = torch.arange(len(counts)).repeat_interleave(counts)[kept]
    ends = owners.bincount(minlength=len(counts)).cumsum(0)
    rows = kept.to(segments.device)
    parts = segments[rows], torch.cat([ends.new_zeros(1), ends]), starts[kept], features.seconds
    few = Features(features.spec, features.ids, features.values, *parts)
    means = mean_over_segments(few, len(rows), lambda all_: {"": all_}, lambda bare: {"": features.take(bare)})
    return replace(few, values=means[""])


def _check(split: TagSplit, like: Features, name: str, n_tags: int) -> None:
    n_items = len(split.inputs)
    if n_items < 2 or split.relevant.shape != (n_items, n_tags):
        raise ManifestError(
            f"the {name} split has {n_items} items and tags {tuple(split.relevant.shape)}; give two items or more, "
            f"each with a row of {n_tags}"
        )
    like.spec.require(split.inputs.spec, "the train split")
    if split.inputs.count_not_finite():
        raise CacheError(f"the {name} split has features that are not finite; extract or train again")


def _shuffled(train: TagSplit, val: TagSplit, seed: int) -> tuple[TagSplit, TagSplit]:
    """Deal the tags out anew among the items."""
    dealer = generator_for("tagging shuffle", seed)
    dealt = [split.relevant[torch.randperm(len(split.relevant), generator=dealer)] for split in (train, val)]
    return replace(train, relevant=dealt[0]), replace(val, relevant=dealt[1])


def _trained(
    train: TagSplit,
    val: TagSplit,
    test: TagSplit,
    fraction: float,
    seed: int,
    protocol: TagProtocol,
    config: TagConfig,
) -> Trained:
    """Train one head on a share of the items, and apply it to the test items."""
    n_items = len(train.relevant)
    kept = max(2, math.ceil(fraction * n_items - 1e-9))  # two for batch normalisation; .07 of 100 is 7, not 8
    rows = torch.randperm(n_items, generator=generator_for("tagging share", seed))[:kept]
    head, epoch = train_tag_head(train, rows, val, seed=seed, protocol=protocol, config=config)
    unseen = int((~train.relevant[rows].any(dim=0)).sum())
    return Trained(fraction, seed, kept, unseen, epoch, tag_probabilities(head, test.inputs, protocol.aggregate).cpu())
