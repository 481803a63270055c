"""Draw class-balanced batches, and check that a split can be drawn from. Generators live on the CPU."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from emoclim.data import Features, Split
from emoclim.errors import CacheError, ManifestError
from emoclim.modality import Modality


@dataclass(frozen=True, slots=True)
class Batch:
    """What a training step sees."""

    rows: Mapping[Modality, Tensor]  # `(B, D)` features by modality
    # `(B,)` int64 classes by modality; rows of different modalities do not belong together
    labels: Mapping[Modality, Tensor]


def class_balanced(
    labels: Tensor, classes: Sequence[str], shape: tuple[int, ...], generator: torch.Generator, *, what: str
) -> Tensor:
    """Draw a class uniformly, then an item of that class uniformly, independently and with replacement.

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", extended version, section 4.3.
    """
    counts = labels.bincount(minlength=len(classes))  # (C,)
    if empty := [name for name, count in zip(classes, counts.tolist(), strict=True) if not count]:
        raise ManifestError(
            f"the {what} lack class {', '.join(map(repr, empty))}; add items of it, or leave it out of the label map"
        )
    by_class = labels.argsort(stable=True)
    first = counts.cumsum(0) - counts
    drawn = torch.randint(len(classes), shape, generator=generator)
    position = torch.rand(shape, generator=generator, dtype=torch.float64)  # float32 would miss rows of large classes
    return by_class[first[drawn] + (position * counts[drawn]).long()]


def batches(
    split: Split, shape: tuple[int, int], items: torch.Generator, segments: torch.Generator, *, name: str
) -> Iterator[Batch]:
    """Yield class-balanced batches, each modality drawn for itself."""
    drawn = {
        modality: class_balanced(labels, split.classes, shape, items, what=f"{modality} items of the {name} split")
        for modality, labels in split.labels.items()
    }
    for number in range(shape[0]):
        chosen = {modality: rows[number] for modality, rows in drawn.items()}
        rows = {modality: split.features[modality].draw(picked, segments) for modality, picked in chosen.items()}
        labels = {modality: split.labels[modality][picked] for modality, picked in chosen.items()}
        yield Batch(rows, {modality: labels[modality].to(rows[modality].device) for modality in rows})


def check_pair(train: Split, val: Split, modalities: Sequence[Modality]) -> None:
    """Make sure that both splits can be drawn from and belong together."""
    if train.classes != val.classes:
        raise ManifestError(
            f"the classes of the train split ({', '.join(train.classes)}) are not those of the val split "
            f"({', '.join(val.classes)}); map both in the same way"
        )
    for name, split in (("train", train), ("val", val)):
        for modality in modalities:
            if modality not in split.features:
                raise ManifestError(f"the {name} split has no {modality} items; add some or drop their loss terms")
            _check_labels(split, modality, name)
            _check_finite(split.features[modality], f"{modality} features of the {name} split")
    for modality in modalities:
        spec = train.features[modality].spec
        spec.require(val.features[modality].spec, f"the {modality} part of the train split")


def _check_labels(split: Split, modality: Modality, name: str) -> None:
    labels, n_items, n_classes = split.labels[modality], len(split.features[modality]), len(split.classes)
    if labels.shape != (n_items,) or bool(((labels < 0) | (labels >= n_classes)).any()):
        raise ManifestError(
            f"the {modality} labels of the {name} split do not fit; give each of the {n_items} items a number "
            f"from 0 to {n_classes - 1}"
        )


def _check_finite(features: Features, what: str) -> None:
    tables = [features.values] if features.segments is None else [features.values, features.segments]
    bad = sum(int((~table.isfinite()).any(dim=1).sum()) for table in tables)
    if bad:
        total = sum(len(table) for table in tables)
        raise CacheError(f"{bad} of the {total} rows of {what} hold NaN or infinity; extract them again")
