"""Draw batches of labelled, numbered or paired items. Used by objectives and stages. Generators live on the CPU."""

from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from emoclim.data import Split
from emoclim.errors import ManifestError
from emoclim.learning.branches import LABELS
from emoclim.modality import Modality

_ORDERS: MutableMapping[Tensor, tuple[int | None, Tensor]] = WeakIdKeyDictionary()  # see `rows_by_number`


@dataclass(frozen=True, slots=True)
class Batch:
    """What a training step sees, by input: a modality, or LABELS, whose rows are the vectors of all classes."""

    rows: Mapping[str, Tensor]  # `(B, D)` features; rows of different modalities belong together by their pair only
    labels: Mapping[str, Tensor]  # `(B,)` int64 classes
    numbers: Mapping[str, Tensor] = field(default_factory=dict)  # `(B, n)` float32
    pairs: Mapping[str, Tensor] = field(default_factory=dict)  # `(B,)` int64: rows of equal number belong together

    def with_rows(self, of: Modality, rows: Tensor, move: Callable[[Tensor], Tensor]) -> "Batch":
        """Replace the rows of one modality, and pass its labels, numbers and pairs through `move`."""
        moved = [
            {name: move(tensor) if name == of else tensor for name, tensor in table.items()}
            for table in (self.labels, self.numbers, self.pairs)
        ]
        return Batch({**self.rows, of: rows}, *moved)

    def to(self, device: torch.device) -> "Batch":
        """Move everything to a device."""
        tables = (self.rows, self.labels, self.numbers, self.pairs)
        moved = [{name: tensor.to(device, non_blocking=True) for name, tensor in table.items()} for table in tables]
        return Batch(*moved)


def class_balanced(
    labels: Tensor,
    classes: Sequence[str],
    shape: tuple[int, ...],
    generator: torch.Generator,
    *,
    what: str,
    own: Sequence[int] | None = None,
) -> Tensor:
    """Draw one of the `own` classes, by default of all, uniformly, then one of its items uniformly.

    All draws are independent, and with replacement.

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", extended version, section 4.3.
    """
    counts = labels.bincount(minlength=len(classes))  # (C,)
    drawn_from = torch.arange(len(classes)) if own is None else torch.tensor(own)
    if empty := [classes[number] for number in drawn_from.tolist() if not counts[number]]:
        raise ManifestError(
            f"the {what} lack class {', '.join(map(repr, empty))}; add items of it, or leave it out of the label map"
        )
    drawn = drawn_from[torch.randint(len(drawn_from), shape, generator=generator)]
    return one_of_each(labels, counts, drawn, generator)


def one_of_each(numbers: Tensor, counts: Tensor, drawn: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a row for each of the drawn numbers, among the rows of that number."""
    by_number = rows_by_number(numbers)
    first = counts.cumsum(0) - counts
    # float32 would miss rows of large classes
    position = torch.rand(drawn.shape, generator=generator, dtype=torch.float64)
    return by_number[first[drawn] + (position * counts[drawn]).long()]


def rows_by_number(numbers: Tensor) -> Tensor:
    """Order rows ``(N,)`` by their number, once for all epochs that draw from them."""
    version, order = _ORDERS.get(numbers, (None, numbers))
    if version != numbers._version:  # not sorted yet, or changed in place since
        order = numbers.argsort(stable=True)
        _ORDERS[numbers] = numbers._version, order
    return order


def in_passes(n: int, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw numbers below n, ``(batches, B)``, in passes over all of them; those of a batch differ, if there are B."""
    n_batches, size = shape
    per_pass = max(1, n // size)  # what a pass leaves over fills no batch
    passes, turns = -(-n_batches // per_pass), -(-per_pass * size // n)
    drawn = [torch.cat([torch.randperm(n, generator=generator) for _ in range(turns)]) for _ in range(passes)]
    return torch.cat([one[: per_pass * size] for one in drawn]).view(-1, size)[:n_batches]


def draw_rows(
    split: Split, shape: tuple[int, int], generator: torch.Generator, needs: Collection[str], *, name: str
) -> dict[Modality, Tensor]:
    """Draw row numbers ``(batches, B)`` by modality: of a pair each, or balanced by class, or else uniform.

    Pairs are drawn in passes over all that are whole: no batch holds one twice unless it is larger than they are many.
    Where `targets` are needed, items that have numbers are drawn uniformly, others balanced by class.
    """
    if "pairs" in needs and split.pairs is not None:
        n_pairs = 1 + max(int(pairs.max()) for pairs in split.pairs.values())
        counts = {modality: pairs.bincount(minlength=n_pairs) for modality, pairs in split.pairs.items()}
        whole = torch.stack(list(counts.values())).all(dim=0).nonzero()[:, 0]
        if not len(whole):
            raise ManifestError(f"no items of the {name} split belong together; give both of a pair the same number")
        drawn = whole[in_passes(len(whole), shape, generator)]
        return {
            modality: one_of_each(pairs, counts[modality], drawn, generator) for modality, pairs in split.pairs.items()
        }
    return {
        modality: class_balanced(
            split.labels[modality],
            split.classes,
            shape,
            generator,
            what=f"{modality} items of the {name} split",
            own=split.own_classes(modality),
        )
        if "labels" in needed(split, modality, needs)
        else torch.randint(len(features), shape, generator=generator)
        for modality, features in split.features.items()
    }


def measured(split: Split) -> frozenset[Modality]:
    """Return the modalities whose items have numbers."""
    return frozenset(split.numbers or ())


def needed(split: Split, modality: Modality, needs: Collection[str]) -> Collection[str]:
    """Return what a modality has to have: of `targets`, numbers if its items have any, or else labels."""
    return needs if "targets" not in needs else {"numbers"} if modality in measured(split) else {"labels"}


def batches(
    split: Split,
    shape: tuple[int, int],
    items: torch.Generator,
    segments: torch.Generator,
    *,
    name: str,
    needs: Collection[str] = ("labels",),
    views: int = 1,
) -> Iterator[Batch]:
    """Yield batches, each modality drawn for itself unless pairs are needed; `needs` are those of an objective.

    Each item drawn has `views` rows, one after the other, whose segments are drawn for themselves.
    """
    return batches_of(split, draw_rows(split, shape, items, needs, name=name), segments, needs, views)


def batches_of(
    split: Split, drawn: Mapping[Modality, Tensor], segments: torch.Generator, needs: Collection[str], views: int = 1
) -> Iterator[Batch]:
    """Yield the batches of row numbers ``(batches, B)`` that were drawn by modality."""
    drawn = {modality: rows.repeat_interleave(views, dim=1) for modality, rows in drawn.items()}
    vectors = split.label_vectors if "label_vectors" in needs else None
    for numbers in zip(*drawn.values(), strict=True):
        chosen = dict(zip(drawn, numbers, strict=True))
        rows: dict[str, Tensor] = {}
        place = segments.get_state()
        for modality, picked in chosen.items():
            if "pairs" in needs:  # of what belongs together, segments at the same share of both
                segments.set_state(place)
            rows[modality] = split.features[modality].draw(picked, segments)
        given = (split.labels, split.numbers or {}, split.pairs or {})
        picked_of: list[dict[str, Tensor]] = [
            {name: table[name][picked].to(rows[name].device) for name, picked in chosen.items() if name in table}
            for table in given
        ]
        if vectors is not None:
            device = next(iter(rows.values())).device
            rows[LABELS] = vectors.float().to(device)
            picked_of[0] |= {LABELS: torch.arange(len(vectors), device=device)}
        yield Batch(rows, *picked_of)
