"""Hold trained heads, bound to the features and the objective they were trained for.

Used by everything that compares items. Invariant: an item's vectors do not depend on the items beside it.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast, get_args

import torch
from torch import Tensor

from emoclim.config import Average
from emoclim.data import Features, FeatureSpec, Split
from emoclim.encoders import feature_names
from emoclim.errors import CacheMismatch, ConfigError, RunError
from emoclim.learning.banks.base import Bank, IdentityBank
from emoclim.learning.branches import LABELS, Banks, embed, embed_rows, stack_banks
from emoclim.learning.objectives.base import Metric, Objective
from emoclim.modality import Modality


@dataclass(frozen=True, slots=True)
class Heads:
    """Trained heads: a bank for each branch of an objective, bound to the features they were trained on.

    Raises
    ------
    RunError
        Banks and specs do not fit each other.
    """

    banks: Banks  # of K heads; head k of one belongs to head k of the others
    specs: Mapping[Modality, FeatureSpec]  # of what they take
    objective: Objective = field(default_factory=Objective)  # what they were trained for

    def __post_init__(self) -> None:
        inputs = {branch.input for branch in self.banks.branches.values()} - {LABELS}
        if inputs != self.specs.keys() or len({self.banks.bank(name).n_heads for name in self.banks}) != 1:
            raise RunError(
                "banks of heads need one spec each and the same number of heads; join those of one training only"
            )
        for name, branch in self.banks.branches.items():
            own = self.banks.bank(branch.shares or name).dim
            dim = own if branch.input == LABELS else self.specs[cast(Modality, branch.input)].dim
            for part, taken, given in self.banks.joints(name, dim):
                if taken != given:
                    told = f"the {part} heads take {taken} values, not {given}"
                    raise RunError(f"{told}; give the spec of the features that they were trained on")

    @property
    def n_heads(self) -> int:
        """K."""
        return self.banks.n_heads

    def vectors(
        self, features: Features, *, average: Average = "embeddings", candidates: Modality | None = None
    ) -> tuple[Tensor, Metric]:
        """Return what each head compares N items by, on the device where their features lie, and how.

        Parameters
        ----------
        features
            Of one modality.
        average
            ``"embeddings"``: mean of the unit embeddings of an item's segments, as in the papers; not normalised again.
            ``"features"``: embedding of the item's value; also for items without windows.
        candidates
            Of which modality the candidates are, where the items are queries; None: the items are candidates.

        Returns
        -------
        tuple of Tensor and str
            ``(K, N, E)``, without gradient; an item's row does not depend on the other items. ``"ip"``: scores are
            cosines; ``"l2"``: negative distances, see :func:`as_queries`.

        Raises
        ------
        CacheMismatch
            The heads were trained on other features.
        ConfigError
            No such average.
        """
        outputs, modality = self.outputs(features, average=average), features.spec.modality
        if candidates is None:
            return self.objective.vectors(modality, outputs)
        return self.objective.query_vectors(modality, outputs, candidates)

    def outputs(self, features: Features, *, average: Average = "embeddings") -> dict[str, Tensor]:
        """Return the outputs ``(K, N, E)`` of each branch that takes N items; as for :meth:`vectors`."""
        modality = features.spec.modality
        if modality not in self.specs:
            raise CacheMismatch(f"there are no heads for {modality} features; these take {' and '.join(self.specs)}")
        self.specs[modality].require(features.spec, f"the training set of the {modality} heads")
        if average not in get_args(Average):
            raise ConfigError(f"average = {average!r} is not possible; it must be {' or '.join(get_args(Average))}")
        return embed(self.banks, features, average=average)

    @property
    def dimension_names(self) -> Sequence[str]:
        """What each entry of the vectors of items is called; none where trained heads make them, for one."""
        if names := self.objective.dimension_names(self.specs):
            return names
        if not all(isinstance(self.banks.bank(name), IdentityBank) for name in self.banks):
            return ()
        first, *others = (tuple(feature_names(spec)) for spec in self.specs.values())
        return first if all(one == first for one in others) else ()

    def label_vectors(self, table: Tensor) -> Tensor | None:
        """Return where classes lie among the vectors of items, ``(K, C, E)``, by the vectors ``(C, V)`` given for them.

        None where they have no place there.
        """
        banks = copy.deepcopy(self.banks).to(table.device).eval()
        taken = any(branch.input == LABELS for branch in banks.branches.values())
        with torch.no_grad():
            return self.objective.label_vectors(table, embed_rows(banks, LABELS, table) if taken else {})

    def select(self, *numbers: int) -> "Heads":
        """Select heads of each bank, in that order; a number that is none raises :class:`RunError`."""
        if wrong := [k for k in numbers if not 0 <= k < self.n_heads]:
            raise RunError(f"there is no head {wrong[0]}; these are numbered from 0 to {self.n_heads - 1}")
        settings = self.objective.settings
        objective = self.objective.of([settings[k] for k in numbers] if settings else ())
        return Heads(self.banks.select(numbers), self.specs, objective)


def heads_without_labels(objective: Objective, given: Mapping[Modality, FeatureSpec | Features | Heads]) -> Heads:
    """Make heads of an objective that trains nothing, of each modality by itself.

    Parameters
    ----------
    objective
        Such as ``make_objective("words", modalities, [{}])``, of the modalities that are given.
    given
        A library of features by modality; or what features are, where there is no library, as on the side of a query;
        or heads that were made of a library before.

    Raises
    ------
    ConfigError
        The objective learns from labels, or cannot read such features.
    """
    specs = {name: _spec_of(name, one) for name, one in given.items()}
    banks: dict[str, Bank] = {
        name: one.banks.bank(name)
        if isinstance(one, Heads)
        else objective.bank_of(specs[name], one if isinstance(one, Features) else None)
        for name, one in given.items()
    }
    return Heads(Banks(banks, objective.branches(Split({}, {}, ()))), specs, objective)


def _spec_of(modality: Modality, given: FeatureSpec | Features | Heads) -> FeatureSpec:
    if isinstance(given, Heads):
        return given.specs[modality]
    return given.spec if isinstance(given, Features) else given


def stack_heads(parts: Sequence[Heads]) -> Heads:
    """Join several sets of heads into one, in order; for embedding, no longer for training.

    Narrower heads are filled up with hidden units and embedding entries that are always 0, which changes no product of
    embeddings.

    Raises
    ------
    CacheMismatch
        They were trained on different features.
    """
    first = parts[0]
    for part in parts[1:]:
        for modality, spec in first.specs.items():
            spec.require(part.specs[modality], f"the training set of the {modality} heads")
    settings = [one for part in parts for one in part.objective.settings]
    return Heads(stack_banks([part.banks for part in parts]), first.specs, first.objective.of(settings))


def as_queries(vectors: Tensor, metric: Metric) -> Tensor:
    """Augment vectors ``(N, E)`` so that their cosines with :func:`as_candidates` rank as the metric does.

    Notes
    -----
    The distance of q and c falls as ``q . c - |c|^2 / 2`` rises, which is an inner product of ``(q, 1)``; candidates
    are brought to one length by an entry of their own, so that cosines rank as it does.
    """
    if metric == "ip":
        return vectors
    rows = vectors.double()
    return torch.cat([rows, rows.new_ones(len(rows), 1), rows.new_zeros(len(rows), 1)], dim=1)


def as_candidates(vectors: Tensor, metric: Metric, longest: Tensor | None = None) -> Tensor:
    """Augment vectors ``(N, E)`` so that their cosines with :func:`as_queries` rank as the metric does.

    Where they are a part of all candidates, `longest` is the greatest of the :func:`squares_of` these.
    """
    if metric == "ip":
        return vectors
    rows = vectors.double()
    rows = torch.cat([rows, rows.square().sum(dim=1, keepdim=True) / -2], dim=1)
    squares = rows.square().sum(dim=1, keepdim=True)
    if longest is None:
        longest = squares.max() if len(rows) else squares.new_zeros(())
    return torch.cat([rows, (longest - squares).clamp(min=0).sqrt()], dim=1)


def squares_of(vectors: Tensor) -> Tensor:
    """Return the squared lengths ``(N,)`` that :func:`as_candidates` brings to one."""
    squares = vectors.double().square().sum(dim=1)
    return squares + (squares / 2).square()
