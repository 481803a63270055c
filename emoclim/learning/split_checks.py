"""Check that splits can be drawn from and fit together, before anything is trained on them. Used by stages."""

import logging
from collections.abc import Collection, Sequence

import torch

from emoclim.data import Features, Split
from emoclim.errors import CacheError, ManifestError, name_some
from emoclim.learning.sampling import measured, needed
from emoclim.modality import Modality

log = logging.getLogger(__name__)


def check_pair(
    train: Split, val: Split, modalities: Sequence[Modality], needs: Collection[str] = ("labels",), pairs: int = 1
) -> None:
    """Make sure that both splits can be drawn from, hold what an objective needs (so many `pairs`) and fit together."""
    if train.classes != val.classes:
        raise ManifestError(
            f"the classes of the train split ({', '.join(train.classes)}) are not those of the val split "
            f"({', '.join(val.classes)}); map both in the same way"
        )
    for name, split in (("train", train), ("val", val)):
        by_label = "label_vectors" in needs or ("targets" in needs and not measured(split).issuperset(modalities))
        if by_label and (split.label_vectors is None or len(split.label_vectors) != len(split.classes)):
            raise ManifestError(f"the classes of the {name} split need one vector each; give a table of them")
        for modality in modalities:
            if modality not in split.features:
                raise ManifestError(f"the {name} split has no {modality} items; add some")
            own = needed(split, modality, needs)
            if "labels" in own:
                _check_labels(split, modality, name)
            for table, what in ((split.numbers, "numbers"), (split.pairs, "pairs")):
                if what in own and (table is None or len(table.get(modality, ())) != len(split.features[modality])):
                    raise ManifestError(f"the {modality} items of the {name} split need {what}; give each its own")
            _check_finite(split.features[modality], f"{modality} features of the {name} split")
        if "pairs" in needs:
            _check_whole(split, modalities, name, pairs)
    for modality in modalities:
        spec = train.features[modality].spec
        spec.require(val.features[modality].spec, f"the {modality} part of the train split")


def _check_whole(split: Split, modalities: Sequence[Modality], name: str, fewest: int) -> None:
    """Tell which items have no partner, and which share theirs; refuse a split of too few pairs."""
    assert split.pairs is not None
    own = {
        modality: torch.unique(split.pairs[modality], return_inverse=True, return_counts=True)
        for modality in modalities
    }
    in_all = [
        torch.stack([torch.isin(one, other) for other, *_ in own.values()]).all(dim=0) for one, *_ in own.values()
    ]
    if (found := int(in_all[0].sum())) < fewest:
        raise ManifestError(_too_few(modalities, name, found, fewest))
    for whole, (modality, (_, places, counts)) in zip(in_all, own.items(), strict=True):
        ids = split.features[modality].ids
        for what, told in (
            ("belong to nothing in the other modality and are left out", ~whole),
            ("share their pair with others of their modality: one of them is drawn at a time", whole & (counts > 1)),
        ):
            if rows := told[places].nonzero()[:, 0].tolist():
                text = "%d of %d %s items of the %s split %s: %s"
                log.warning(text, len(rows), len(ids), modality, name, what, name_some([ids[row] for row in rows]))


def _too_few(modalities: Sequence[Modality], name: str, found: int, fewest: int) -> str:
    """Say that a split has too few pairs, and what to do."""
    items = f"{' and '.join(modalities)} items of the {name} split"
    if found or len(modalities) == 1:
        what = "pairs of " * (len(modalities) > 1)
        return (
            f"there are {found} {what}{items}, and it takes {fewest} to tell one from another; add some to that split"
        )
    return (
        f"no {items} belong together; give both of a pair the same name in a column 'pair' (or the same id), and the "
        "same split"
    )


def _check_labels(split: Split, modality: Modality, name: str) -> None:
    labels, n_items, own = split.labels[modality], len(split.features[modality]), split.own_classes(modality)
    if labels.shape != (n_items,) or not set(torch.unique(labels).tolist()) <= set(own):
        raise ManifestError(
            f"the {modality} labels of the {name} split do not fit; give each of the {n_items} items the number of a "
            f"class, from {min(own)} to {max(own)}"
        )


def _check_finite(features: Features, what: str) -> None:
    if bad := features.count_not_finite():
        total = len(features) + features.n_segments
        raise CacheError(f"{bad} of the {total} rows of {what} hold NaN or infinity; extract them again")
