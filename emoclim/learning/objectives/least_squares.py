"""Features of one modality, predicted from those of the other by least squares, in closed form."""

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, cast

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from emoclim import config
from emoclim.data import FeatureSpec, Split
from emoclim.encoders import feature_names
from emoclim.errors import ConfigError
from emoclim.learning.banks.base import Bank, IdentityBank, LinearBank
from emoclim.learning.branches import Branch
from emoclim.learning.objectives.base import Metric, Objective
from emoclim.learning.sampling import Batch
from emoclim.modality import WRITTEN, Modality


class LeastSquares(Objective):
    """Items are compared by the features of one modality, which a linear map predicts for their partners in the other.

    References
    ----------
    S. Chowdhury, G. Widmer, "Expressivity-aware music performance retrieval using mid-level perceptual features and
    emotion word embeddings", FIRE 2023, sections 3.3 and 3.4. That the least norm is taken where texts are fewer than
    their features, and that targets are standardised, stands in no paper: without the latter, cosines of features that
    are far from 0 are all near 1.

    Inputs
    ------
    ==============  ==============  ==================================================================
    features        ``(N, D)``      of one modality, and ``(M, E)`` of the other, which are the target
    pairs           ``(N,)``        int64, and ``(M,)``: items of equal number belong together
    outputs         ``(K, N, E)``   predicted targets; of the target's own items their features
    ==============  ==============  ==================================================================

    Relations
    ---------
    ``nt_xent`` trains heads of both modalities on pairs, by gradients.

    Notes
    -----
    The map takes the least sum of squared errors plus `ridge` times that of its weights, with an intercept; of all
    best ones, the one of least norm. All heads come from one singular value decomposition, in float64.

    Examples
    --------
    >>> objective = LeastSquares(("audio", "text"), [LeastSquares.Settings()])
    >>> objective.source, objective.target
    ('text', 'audio')
    """

    class Settings(config.Settings):
        """Of the map; ridge and components may differ between the heads of a bank."""

        BESIDE_LOSS: ClassVar[frozenset[str]] = frozenset({"ridge", "components"})

        ridge: float = Field(default=0.0, ge=0, description="Penalty of the squared weights of the map; 0 for none")
        components: int = Field(
            default=0, ge=0, description="Principal components of the features that the map begins with; 0 takes all"
        )
        target: Modality | None = Field(
            default=None, description="Modality whose features are predicted; default the first that is not text"
        )
        standardise: Literal["target", "none"] = Field(
            default="target",
            description="What is brought to mean 0 and spread 1 over the training items: the target, or none",
        )

        @classmethod
        @override
        def floats(cls) -> frozenset[str]:
            return super().floats() | {"components"}

    needs: ClassVar[frozenset[str]] = frozenset({"pairs"})
    terms: ClassVar[tuple[str, ...]] = ("error",)

    @property
    def target(self) -> Modality:
        """The modality whose features are predicted."""
        chosen: Modality | None = self.choice("target")
        if chosen is not None and chosen not in self.modalities:
            raise ConfigError(f"target = {chosen} is not possible; this run joins {' and '.join(self.modalities)}")
        return next(name for name in self.modalities if name == chosen or (chosen is None and name != WRITTEN))

    @property
    def source(self) -> Modality:
        """The modality that they are predicted from."""
        return next(name for name in self.modalities if name != self.target)

    @override
    def prepare(self, split: Split, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        super().prepare(split, device, dtype)
        self.recall({})
        if self.choice("standardise") == "target":
            taught = torch.unique(paired_rows(split, self.source, self.target)[1])
            values = split.features[self.target].take(taught).double().cpu()
            spread = values.std(dim=0, correction=0)
            spread = torch.where(spread > 0, spread, 1)
            self.recall({"centre": values.mean(dim=0).tolist(), "spread": spread.tolist()})

    def standardised(self, targets: Tensor) -> Tensor:
        """Bring features of the target's modality to the scale in which they are predicted."""
        if not self.learnt:
            return targets
        centre, spread = (torch.tensor(self.learnt[name]).double().to(targets) for name in ("centre", "spread"))
        return (targets - centre) / spread

    @override
    def branches(self, split: Split) -> Mapping[str, Branch]:
        return {modality: Branch(modality, unit=False) for modality in self.modalities}

    @override
    def fit(self, split: Split) -> Mapping[str, Bank]:
        rows = paired_rows(split, self.source, self.target)
        source, target = (
            split.features[name].take(own).double().cpu()
            for name, own in zip((self.source, self.target), rows, strict=True)
        )
        asked = cast(Sequence[LeastSquares.Settings], self.settings)
        ridge, components = [one.ridge for one in asked], [one.components for one in asked]
        weight, bias = fit_least_squares(source, self.standardised(target), ridge, components)
        banks: dict[str, Bank] = {
            self.source: LinearBank(weight.float(), bias.float()),
            self.target: IdentityBank(len(self.settings), target.shape[1]),
        }
        return {name: banks[name] for name in self.modalities}

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
        rows = zip((self.source, self.target), paired_rows(split, self.source, self.target), strict=True)
        yield Batch({modality: split.features[modality].take(own) for modality, own in rows}, {})

    @override
    def losses(
        self, outputs: Mapping[str, Tensor], batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        error = outputs[self.source] - self.standardised(outputs[self.target])
        return (error.square().mean(dim=2).mean(dim=1),)

    @override
    def vectors(self, modality: Modality, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Metric]:
        found = outputs[modality]
        return normalize(self.standardised(found) if modality == self.target else found, dim=-1), "ip"

    @override
    def dimension_names(self, specs: Mapping[Modality, FeatureSpec]) -> Sequence[str]:
        return feature_names(specs[self.target])


def paired_rows(split: Split, source: Modality, target: Modality) -> tuple[Tensor, Tensor]:
    """Return the rows of two modalities that belong together, one for one; those of several partners repeatedly."""
    assert split.pairs is not None
    wanted, (numbers, order) = split.pairs[source], split.pairs[target].sort(stable=True)
    first = torch.searchsorted(numbers, wanted)
    counts = torch.searchsorted(numbers, wanted, right=True) - first
    rows = torch.arange(len(wanted)).repeat_interleave(counts)
    begins = (first - counts.cumsum(0) + counts).repeat_interleave(counts)  # less the place of the first of a row
    return rows, order[begins + torch.arange(len(rows))]


def fit_least_squares(
    source: Tensor, target: Tensor, ridge: Sequence[float], components: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Fit K linear maps ``(K, E, D)`` and intercepts ``(K, E)`` of rows ``(N, D)`` to rows ``(N, E)`` by one SVD.

    Map k has the penalty ``ridge[k]``, and reads the first ``components[k]`` principal components, all for 0.
    """
    centre, middle = source.mean(dim=0), target.mean(dim=0)
    left, values, right = torch.linalg.svd(source - centre, full_matrices=False)
    least = torch.finfo(values.dtype).eps * max(source.shape) * values.max()
    rank = int((values > least).sum())
    if (most := max(components)) > rank:
        raise ConfigError(f"components = {most} is not possible; the training items span {rank} dimensions; give fewer")
    projected = left[:, :rank].T @ (target - middle)  # (R, E)
    weights = []
    for penalty, kept in zip(ridge, components, strict=True):
        scale = values[:rank] / (values[:rank] ** 2 + penalty)
        scale[kept or rank :] = 0
        weights.append((right[:rank].T @ (scale[:, None] * projected)).T)
    weight = torch.stack(weights)
    return weight, middle - torch.stack([one @ centre for one in weights])
