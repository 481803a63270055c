"""The contract of an objective: what heads are trained for, over K heads at once.

An objective is one file with one subclass of :class:`Objective`. Invariant: heads never mix. Head k of what any method
returns follows from head k of what it is given, exactly as if it were alone, and K never appears in an ``if``.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args, get_origin

import torch
from torch import Tensor

from emoclim import config
from emoclim.data import NUMBERS, Features, FeatureSpec, Split, Taxonomy
from emoclim.errors import ConfigError
from emoclim.learning.banks.base import Bank
from emoclim.learning.branches import Branch
from emoclim.learning.sampling import Batch, batches
from emoclim.modality import Modality

VALENCE_AROUSAL, WORDS = "valence_arousal", "words"  # what vectors of classes are made of
Metric = Literal["ip", "l2"]  # scores are cosines, or negative distances


def column_name(term: str) -> str:
    """Return the name of a term as columns of tables have it."""
    return term.replace(">", "_")


class Objective:
    """Base of all objectives, with what most of them share; by itself it trains nothing.

    Parameters
    ----------
    modalities
        What a run joins, in the order of its options.
    settings
        One of `Settings` per head.

    Attributes
    ----------
    Settings
        Class of its settings. Fields that are floats may differ between the heads of a bank, all else may not.
    taxonomy
        Which classes are labels of which modality, and what is relevant to what, where it needs to know; set before
        anything else of it is called, and kept with trained heads.
    alone
        Whether it trains each modality by itself, so that a run may have one only.
    learnt
        Plain values that :meth:`prepare` took from the training split, kept with trained heads.
    preset
        Values of :class:`~emoclim.config.TrainConfig` that commands begin with, where the paper has its own.
    vectors_of
        Which vectors of classes it takes, where it needs label_vectors.
    """

    name: ClassVar[str] = ""
    Settings: ClassVar[type[config.Settings]] = config.Settings
    preset: ClassVar[Mapping[str, Any]] = {}
    vectors_of: ClassVar[tuple[str, ...]] = (VALENCE_AROUSAL, WORDS)
    taxonomy: Taxonomy | None = None
    alone: ClassVar[bool] = False
    fewest_pairs: ClassVar[int] = 1  # of each split, where pairs are needed

    def __init_subclass__(cls) -> None:
        cls.name = vars(cls).get("name", cls.__module__.rpartition(".")[2])

    def __init__(self, modalities: Sequence[Modality] = (), settings: Sequence[config.Settings] = ()) -> None:
        self.modalities, self.settings = tuple(modalities), tuple(settings)
        self._device, self._dtype, self._numbers = torch.device("cpu"), torch.float32, dict[str, Tensor]()
        self.learnt: dict[str, Any] = {}

    @property
    def needs(self) -> frozenset[str]:
        """What of a split it needs: labels, label_vectors, numbers, pairs, taxonomy; or a plain attribute.

        Or targets: numbers in the modalities that have them, vectors of labels in the others.
        """
        return frozenset({"labels"})

    def settings_needing(self, what: str) -> list[str]:
        """List the choices of one setting, as ``name=value``, by which it would need that of a split."""
        choices = [
            (name, value)
            for name, field in self.Settings.model_fields.items()
            if get_origin(field.annotation) is Literal
            for value in get_args(field.annotation)
        ]
        varied = ((one, [each.model_copy(update=dict([one])) for each in self.settings]) for one in choices)
        return [f"{name}={value}" for (name, value), settings in varied if what in self.of(settings).needs]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the numbers of items that it takes, where it needs numbers or targets."""
        return NUMBERS

    @property
    def terms(self) -> tuple[str, ...]:
        """Names of its losses, which the loss weights weigh."""
        return ()

    @property
    def default_weights(self) -> tuple[float, ...]:
        """Loss weights of its terms where none are asked for; here they count the same."""
        return tuple(1 / len(self.terms) for _ in self.terms)

    def aligns(self, weights: Sequence[float]) -> bool:
        """Whether losses of these weights compare the modalities; without that, retrieval across them is luck."""
        return True

    def number(self, name: str) -> Tensor:
        """A setting that may differ between heads, ``(K,)``, on the device of the training."""
        if name not in self._numbers:
            values = [getattr(one, name) for one in self.settings]
            self._numbers[name] = torch.tensor(values, dtype=self._dtype, device=self._device)
        return self._numbers[name]

    def choice(self, name: str) -> Any:
        """A setting that all heads share."""
        return getattr(self.settings[0], name)

    def prepare(self, split: Split, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        """Make ready for losses on `device`, with what they need of the training split; called before training."""
        floats = self.Settings.floats()
        if len({one.model_copy(update=dict.fromkeys(floats)) for one in self.settings}) > 1:
            alike = ", ".join(sorted(self.Settings.model_fields.keys() - floats))
            raise ConfigError(f"heads that are trained at once have one value of each of: {alike}; train them apart")
        self._device, self._dtype, self._numbers = device, dtype, {}

    def recall(self, learnt: Mapping[str, Any]) -> None:
        """Take `learnt` from heads that were trained; what does not fit may raise anything."""
        self.learnt = dict(learnt)

    def branches(self, split: Split) -> Mapping[str, Branch]:
        """What is trained, by name; here a head for each modality."""
        return {modality: Branch(modality) for modality in self.modalities}

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
        """Yield `shape` = (batches, items) batches: of pairs if it needs them, or balanced by class, or uniform.

        Each item drawn has `views` rows, one after the other.
        """
        return batches(split, shape, items, segments, name=name, needs=self.needs, views=views)

    def losses(
        self, outputs: Mapping[str, Tensor], batch: Batch, generator: torch.Generator | None
    ) -> tuple[Tensor, ...]:
        """One loss ``(K,)`` per term, from the outputs ``(K, N, E)`` of the branches; here there are no terms.

        Parameters
        ----------
        outputs
            By branch.
        batch
            What went in, with labels, numbers and pairs.
        generator
            Of whatever the loss draws while training; None in validation.
        """
        return ()

    @property
    def fits(self) -> bool:
        """Whether its banks come from :meth:`fit`."""
        return type(self).fit is not Objective.fit

    def fit(self, split: Split) -> Mapping[str, Bank] | None:
        """Banks in closed form, or without parameters, by branch; None where they are trained by losses."""
        return None

    def bank_of(self, spec: FeatureSpec, features: Features | None = None) -> Bank:
        """A bank of one modality without labels or others: from what its features are, and a library of them, if any.

        Raises
        ------
        ConfigError
            It learns from labels; or it cannot read such features.
        """
        raise ConfigError(f"objective {self.name} learns from labels; run: emoclim train-heads --objective {self.name}")

    def vectors(self, modality: Modality, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Metric]:
        """What items of a modality are compared by, from the outputs of the branches that take it, and how.

        Those of a query may differ from these: see :meth:`query_vectors`.
        """
        return outputs[modality], "ip"

    def query_vectors(
        self, modality: Modality, outputs: Mapping[str, Tensor], candidates: Modality
    ) -> tuple[Tensor, Metric]:
        """What queries of a modality are compared by with the :meth:`vectors` of candidates of another, or of its own.

        A query whose vector is all zero, where scores are cosines, finds nothing.
        """
        return self.vectors(modality, outputs)

    def label_vectors(self, table: Tensor, outputs: Mapping[str, Tensor]) -> Tensor | None:
        """Where classes lie among the :meth:`vectors` of items, ``(K, C, E)``; None where they have no place there.

        `table` has the vectors ``(C, V)`` that were given for them, `outputs` are those of the branches that take them.
        """
        return None

    def dimension_names(self, specs: Mapping[Modality, FeatureSpec]) -> Sequence[str]:
        """What each entry of the :meth:`vectors` of items is called, by the features it takes; none where nothing is.

        Entries behind the last name are 0 in items or queries.
        """
        return ()

    def predictions(self, modality: Modality, outputs: Mapping[str, Tensor]) -> Tensor | None:
        """Numbers ``(K, N, n)`` of items in the scale of their manifest; None where it predicts none."""
        return None

    def of(self, settings: Sequence[config.Settings]) -> "Objective":
        """The same objective of other heads, one for each of some settings."""
        other = type(self)(self.modalities, settings)
        other.taxonomy = self.taxonomy
        other.recall(self.learnt)
        return other
