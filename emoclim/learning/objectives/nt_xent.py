"""NT-Xent, the contrastive loss of pairs: two views of one item, or two items that belong together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from emoclim import config
from emoclim.data import Split
from emoclim.errors import ManifestError
from emoclim.learning.branches import Branch
from emoclim.learning.losses.contrastive import nt_xent
from emoclim.learning.objectives.base import Objective
from emoclim.learning.sampling import Batch

VIEWS = 2  # of an item, where one modality is trained by itself


class NtXent(Objective):
    """Each item is told from all others of its batch by its pair; labels play no part.

    Of two modalities, pairs are items that belong together. Of one, they are two views of an item: segments of its
    features, or crops of its file.

    References
    ----------
    T. Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020, Eq. 1; within
    and between modalities, K. Avramidis et al., "On the role of visual context in enriching music representations",
    ICASSP 2023, sections 3.2 and 3.3, whose temperature and training are the preset.

    Inputs
    ------
    ===========  ============  ============================================================
    outputs      ``(K, N, E)``  unit rows of each modality
    pairs        ``(N,)``       int64: rows of equal number are each other's positives
    ===========  ============  ============================================================

    Relations
    ---------
    ``emo_clim`` takes all items of a class for positives, in four losses.

    Examples
    --------
    >>> objective = NtXent(("audio",), [NtXent.Settings(temperature=1.0)])
    >>> rows = {"audio": torch.eye(2).repeat_interleave(2, dim=0)[None]}
    >>> objective.losses(rows, Batch(rows, {}, pairs={"audio": torch.tensor([0, 0, 1, 1])}), None)
    (tensor([0.5514]),)
    """

    class Settings(config.Settings):
        """Of the loss; the temperature may differ between the heads of a bank."""

        temperature: float = Field(default=0.1, gt=0, description="Divides every cosine similarity in the loss")
        negatives: Literal["all", "across"] = Field(
            default="all",
            description="What a row is told from: all others of the batch, as in SimCLR, or those of the other "
            "modality or view alone (across), as in CLIP",
        )
        head: Literal["normalised", "projector"] = Field(
            default="normalised",
            description="What is trained on features: heads as of other objectives (normalised), or two linear layers "
            "and nothing else (projector), as published",
        )

    needs: ClassVar[frozenset[str]] = frozenset({"pairs"})
    terms: ClassVar[tuple[str, ...]] = ("pairs",)
    alone: ClassVar[bool] = True
    fewest_pairs: ClassVar[int] = 2  # of one alone, all rows are alike, and so is the loss of any encoder
    preset: ClassVar[Mapping[str, Any]] = {
        "optimiser": "adam",
        "batch_size": 128,
        "learning_rate": 1e-3,
        "weight_decay": 1e-6,
        "epochs": 50,
        "hidden_dim": 512,
        "dropout": 0.0,
    }

    @override
    def branches(self, split: Split) -> Mapping[str, Branch]:
        projector = self.choice("head") == "projector"
        return {modality: Branch(modality, projector=projector) for modality in self.modalities}

    @override
    def aligns(self, weights: Sequence[float]) -> bool:
        return weights[0] > 0

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
        if len(self.modalities) == 1:
            views, features = max(views, VIEWS), split.features[self.modalities[0]]
            if (
                not features.n_segments and features.take(torch.arange(0)).is_floating_point()
            ):  # not the row numbers of files
                raise ManifestError(
                    f"the {self.modalities[0]} features of the {name} split have one vector an item, which has no two "
                    "views; extract them with their segments (without --no-segments)"
                )
        return super().draw(split, shape, items, segments, name=name, views=views)

    @override
    def losses(
        self, outputs: Mapping[str, Tensor], batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        rows = [outputs[modality] for modality in self.modalities]
        pairs = [batch.pairs[modality] for modality in self.modalities]
        if len(rows) == 1:
            again = (pairs[0][:, None] == pairs[0]).tril(-1).any(dim=1)  # whether an earlier row is of the same pair
            rows = [rows[0][:, ~again], rows[0][:, again]]
            pairs = [pairs[0][~again], pairs[0][again]]
        within = self.choice("negatives") == "all"
        return (nt_xent(rows[0], rows[1], (pairs[0], pairs[1]), self.number("temperature"), within=within),)
