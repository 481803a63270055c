"""Triplet losses: an item lies nearer to one that matches it than to one that does not, by a margin."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot
from typing_extensions import override

from emoclim import config
from emoclim.data import Split, Taxonomy
from emoclim.errors import ConfigError, ManifestError
from emoclim.learning.branches import LABELS, Branch
from emoclim.learning.losses.contrastive import inner_products
from emoclim.learning.losses.triplets import Negatives, triplet_loss
from emoclim.learning.objectives.base import Objective
from emoclim.learning.sampling import Batch, batches_of, class_balanced, one_of_each
from emoclim.modality import Modality

LABEL_WEIGHT, JOINT_WEIGHT = 0.3, 0.4


class Triplet(Objective):
    """Items lie nearer to those that match them, and with three branches to the vector of their label, than to others.

    Two branches have one term, of pairs of items of the two modalities. Three have also one of label and item for each
    modality, on the first half of a batch; its other half is pairs.

    References
    ----------
    M. Won et al., "Emotion Embedding Spaces for Matching Music to Stories", ISMIR 2021, section 3.2.4, and their
    published code: margin, weights of the terms, batches and widths. What they call distance-weighted sampling is
    ``similar`` there, and by its name ``inverse_density``, see :mod:`emoclim.learning.losses.triplets`. A pair of two
    text labels that map to one label of music is a negative in their code: that is ``mask = "own"``.

    Inputs
    ------
    ==============  ==============  ===========================================================
    outputs         ``(K, N, E)``   unit rows of each modality; of three branches also those of
                                    the labels, ``(K, C, E)``
    labels          ``(N,)``        int64 classes of each modality
    pairs           ``(N,)``        int64: equal where two rows are a pair, below 0 where a row
                                    belongs to its label
    label_vectors   ``(C, V)``      of the split, for three branches
    taxonomy                        which labels match
    ==============  ==============  ===========================================================

    Relations
    ---------
    ``emo_clim`` compares with all items of a batch, both ways and within each modality.

    Examples
    --------
    >>> objective = Triplet(("text", "audio"), [Triplet.Settings(branches=3)])
    >>> dict(zip(objective.terms, objective.default_weights))
    {'labels>text': 0.3, 'labels>audio': 0.3, 'text>audio': 0.4}
    """

    class Settings(config.Settings):
        """Of branches and loss; the margin may differ between the heads of a bank."""

        margin: float = Field(default=0.2, ge=0, description="Least difference of the two cosines")
        branches: Literal[2, 3] = Field(
            default=2, description="Branches: two, one for each modality, or three, with one for the vectors of labels"
        )
        anchor: Modality | None = Field(
            default=None, description="Modality whose items find those of the other; default the first of the run"
        )
        negatives: Negatives = Field(
            default="similar",
            description="How negatives are drawn from a batch: the likelier the nearer (similar), or all distances "
            "alike (inverse_density)",
        )
        mask: Literal["map", "own"] = Field(
            default="map",
            description="What is no negative of an anchor: what its label maps to (map), or the match of an item of "
            "its own label only (own)",
        )

    preset: ClassVar[Mapping[str, Any]] = {
        "batch_size": 32,
        "hidden_dim": 128,
        "embedding_dim": 64,
        "epochs": 100,
        "weight_decay": 1e-4,
    }
    _matches: Tensor  # (C, C) bool, on the device of the training

    @property
    @override
    def needs(self) -> frozenset[str]:
        return frozenset({"labels", "taxonomy", "label_vectors"} if self._labelled else {"labels", "taxonomy"})

    @property
    @override
    def terms(self) -> tuple[str, ...]:
        joined = self._joined
        of_labels = [f"{LABELS}>{modality}" for modality in joined if self._labelled]
        return *of_labels, ">".join(joined)

    @property
    @override
    def default_weights(self) -> tuple[float, ...]:
        return (LABEL_WEIGHT, LABEL_WEIGHT, JOINT_WEIGHT) if self._labelled else (1.0,)

    @override
    def aligns(self, weights: Sequence[float]) -> bool:
        return weights[-1] > 0 or (self._labelled and min(weights[:-1]) > 0)

    @override
    def prepare(self, split: Split, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().prepare(split, device, dtype)
        if (asked := self.choice("anchor")) not in (None, *self.modalities):
            raise ConfigError(f"anchor = {asked!r} is not possible; it is {' or '.join(self.modalities)}")
        anchor, contrast = self._joined
        classes = self._paired_classes()
        matches = self._relevance()
        others = ~matches[classes[anchor]][:, classes[contrast]]
        if not others.any():
            raise ManifestError(
                f"no {anchor} label has {contrast} items that match another but not it, so nothing tells them apart; "
                "give labels that differ other classes"
            )
        self._matches = matches.to(device)

    @override
    def branches(self, split: Split) -> Mapping[str, Branch]:
        return {**super().branches(split), **({LABELS: Branch(LABELS)} if self._labelled else {})}

    @override
    def draw(
        self,
        split: Split,
        shape: tuple[int, int],
        items: torch.Generator,
        segments: torch.Generator,
        *,
        name: str,
        views: int = 1,
    ) -> Iterator[Batch]:
        n_labelled = shape[1] // 2 if self._labelled else 0
        drawn = self._rows(split, shape, n_labelled, items, name)
        numbers = torch.arange(shape[1] * views)
        of_label = numbers < n_labelled * views
        pairs = [torch.where(of_label, -1 - numbers - place * len(numbers), numbers) for place in range(2)]
        for batch in batches_of(split, drawn, segments, self.needs, views):
            device = batch.labels[self.modalities[0]].device
            placed = (one.to(device) for one in pairs)
            yield replace(batch, pairs=dict(zip(self._joined, placed, strict=True)))

    def _rows(
        self, split: Split, shape: tuple[int, int], n_labelled: int, generator: torch.Generator, name: str
    ) -> dict[Modality, Tensor]:
        """Draw row numbers ``(batches, items)``: some by label, each modality for itself, the rest in pairs."""

        def balanced(modality: Modality, number: int, own: Sequence[int]) -> Tensor:
            what, size = f"{modality} items of the {name} split", (shape[0], number)
            return class_balanced(split.labels[modality], split.classes, size, generator, what=what, own=own)

        (anchor, contrast), paired = self._joined, self._paired_classes()
        own = self._taxonomy.own if self._labelled else paired
        labelled = [balanced(modality, n_labelled, own[modality]) for modality in self._joined]
        anchors = balanced(anchor, shape[1] - n_labelled, paired[anchor])
        chances = self._relevance()[split.labels[anchor][anchors.flatten()]].double()
        classes = torch.multinomial(chances, 1, generator=generator).view_as(anchors)
        labels = split.labels[contrast]
        matched = one_of_each(labels, labels.bincount(minlength=len(split.classes)), classes, generator)
        return {anchor: torch.cat([labelled[0], anchors], dim=1), contrast: torch.cat([labelled[1], matched], dim=1)}

    @override
    def losses(
        self, outputs: Mapping[str, Tensor], batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        found = []
        for modality in self._joined if self._labelled else ():
            rows = (batch.pairs[modality] < 0).nonzero()[:, 0]
            labels = batch.labels[modality][rows]
            anchors, differ = _rows_of(outputs[LABELS], labels), labels[:, None] != labels
            found.append(self._loss(anchors, outputs[modality][:, rows], differ, generator))
        anchor, contrast = self._joined
        rows, matched = (batch.pairs[anchor][:, None] == batch.pairs[contrast]).nonzero().unbind(dim=1)
        labels = batch.labels[anchor][rows]
        negative = labels[:, None] != labels
        if self.choice("mask") == "map":
            negative = ~self._matches[labels[:, None], batch.labels[contrast][matched]]
        found.append(self._loss(outputs[anchor][:, rows], outputs[contrast][:, matched], negative, generator))
        return tuple(found)

    @override
    def label_vectors(self, table: Tensor, outputs: Mapping[str, Tensor]) -> Tensor | None:
        return outputs.get(LABELS)

    def _loss(self, anchor: Tensor, contrast: Tensor, negative: Tensor, generator: torch.Generator | None) -> Tensor:
        way: Negatives = self.choice("negatives")
        return triplet_loss(anchor, contrast, negative, self.number("margin"), negatives=way, generator=generator)

    @property
    def _labelled(self) -> bool:
        """Whether there is a branch for the vectors of labels."""
        return bool(self.choice("branches") == 3)

    @property
    def _joined(self) -> tuple[Modality, Modality]:
        """The modality of anchors, and that of contrasts."""
        one, other = sorted(self.modalities, key=lambda modality: modality != self.choice("anchor"))
        return one, other

    @property
    def _taxonomy(self) -> Taxonomy:
        assert self.taxonomy is not None
        return self.taxonomy

    def _relevance(self) -> Tensor:
        """Return whether contrasts of class ``[.., c]`` match anchors of class ``[a, ..]``."""
        return self._taxonomy.relevance[self._joined]

    def _paired_classes(self) -> Mapping[Modality, Sequence[int]]:
        """List the classes that match any of the other modality, by modality."""
        matches = self._relevance()
        return {
            modality: [number for number in self._taxonomy.own[modality] if matches.select(axis, number).any()]
            for axis, modality in enumerate(self._joined)
        }


def _rows_of(table: Tensor, labels: Tensor) -> Tensor:
    """Select rows ``(K, N, E)`` of a table ``(K, C, E)``, by a product: its gradient adds them up in one order."""
    chosen = one_hot(labels, table.shape[1]).to(table)
    return inner_products(chosen.expand(len(table), *chosen.shape), table.mT)
