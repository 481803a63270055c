"""Settings: classes of validated fields, read from TOML. Every room's settings derive from here.

A value out of range, of the wrong type or under an unknown name raises :class:`ConfigError` in one sentence that says
which setting, what it was given and what is allowed. The description of a field is the help of its option.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import PydanticUndefined

from emoclim.errors import ConfigError
from emoclim.files import read_toml

T = TypeVar("T")
LARGEST = 2**32 - 1  # of whole numbers whose own limit is not lower
MAX_WIDTH = 65_536  # of a layer of heads
MAX_BATCHES = 1_000_000  # of an epoch
MAX_RESAMPLES = 1_000_000
Average = Literal["embeddings", "features"]
Measure = Literal["MRR", "mAP", "R-precision"]
MEASURES: tuple[Measure, ...] = get_args(Measure)


class Settings(BaseModel):
    """Frozen settings whose numbers are numbers: neither a string nor a bool, never NaN or infinite.

    A whole number may stand for a float. A field that holds a tuple or a path needs ``strict=False``, so that it takes
    the list or string that a TOML or JSON file has in its place. The default of a field, but a switch's, is added
    to its description.

    Examples
    --------
    >>> class Noise(Settings):
    ...     level: float = Field(default=3.0, ge=0, description="Level of the noise, in dB")
    >>> Noise().updated(level=6).model_dump()
    {'level': 6.0}
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    # Of an objective: fields that its losses do not depend on, so that losses of several values can be compared
    BESIDE_LOSS: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        for field in cls.model_fields.values():
            lacks_default = field.description and "; default" not in field.description
            if lacks_default and field.default not in (None, PydanticUndefined) and not isinstance(field.default, bool):
                ends = field.default if isinstance(field.default, tuple) else (field.default,)
                field.description = f"{field.description}; default {','.join(str(end) for end in ends)}"

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, data: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            made = handler(data)
        except ValidationError as error:
            found = error.errors(include_url=False, include_context=False)
            if unknown := [str(one["loc"][0]) for one in found if one["type"] == "extra_forbidden"]:
                raise _unknown(unknown, cls.model_fields) from error
            name = ".".join(map(str, found[0]["loc"]))
            if found[0]["type"] == "missing":
                if isinstance(found[0]["loc"][-1], int):
                    raise ConfigError(f"{found[0]['loc'][0]} takes more values; give all, as in 3,30") from error
                raise ConfigError(f"{name} is missing; give it a value") from error
            allowed = found[0]["msg"].removeprefix("Value error, ").replace("Input ", "it ", 1)
            raise ConfigError(f"{name} = {found[0]['input']!r:.80} is not possible; {allowed}") from error
        for name, value in made:
            if isinstance(value, int) and value > LARGEST:
                raise ConfigError(f"{name} = {value!r:.80} is not possible; it should be at most {LARGEST}")
        return made

    @classmethod
    def floats(cls) -> frozenset[str]:
        """Names of the fields that hold one float."""
        return frozenset(name for name, field in cls.model_fields.items() if field.annotation is float)

    def updated(self, /, **changes: Any) -> Self:
        """These settings with some others in place of their own; what cannot be raises :class:`ConfigError`."""
        return type(self)(**(dict(self) | changes))


class RunConfig(Settings):
    """The settings of a kind of run: everything it is asked for."""

    NOTED: ClassVar[frozenset[str]] = frozenset()  # fields that leave no trace but in what the inputs note


class ExtractConfig(Settings):
    """How a manifest is encoded."""

    encoder: str | None = Field(default=None, description="Encoder's name, or box (no hub); default the modality's own")
    checkpoint: Path | None = Field(
        default=None, strict=False, description="File of the encoder's parameters; default the published one"
    )
    settings: Mapping[str, int | float | str] = {}  # of the encoder
    unlabelled: bool = Field(default=False, description="Ignore labels: the items are only to be searched")
    keep_segments: bool = Field(default=True, description="Keep the feature of each segment beside their mean")
    batch_size: int | None = Field(
        default=None, ge=1, description="Segments per forward pass of the encoder; default 8, on a GPU 64"
    )
    workers: int | None = Field(
        default=None, ge=0, description="Processes that decode files; default one per core, at most 8"
    )
    backend: Literal["h5", "zarr"] = Field(default="h5", description="File format of the cache")
    compiled: bool = Field(default=False, description="Compile the network, for long runs; features move by millionths")
    retry_failed: bool = Field(default=False, description="Try items again that failed")
    rehash: bool = Field(default=False, description="Read files again that look unchanged")
    seed: int = Field(default=42, ge=0, description="Seed of random crops, and of splits if the manifest has none")


class ImportConfig(Settings):
    """How features that another program made are put into a cache."""

    values: str = Field(default="values", description="Array or column that holds the values")
    settings: Mapping[str, int | float | str] = {}  # that tell these features from others
    allow_extra: bool = Field(default=False, description="Leave out items that the manifest does not list")
    unlabelled: bool = Field(default=False, description="Ignore labels: the items are only to be searched")
    backend: Literal["h5", "zarr"] = Field(default="h5", description="File format of the cache")
    seed: int = Field(default=42, ge=0, description="Seed of the splits, if the manifest has none")


class RelevanceConfig(Settings):
    """What is relevant to a query, and what is ranked for it."""

    label_map: Path | None = Field(
        default=None,
        strict=False,
        description="TOML file, or name of a published map: relevant are labels with a class in common; or a table of "
        "valence and arousal or word vectors: the nearest label; default those of one class of the run",
    )
    within: Literal["group"] | None = Field(
        default=None, description="Rank only candidates that have the query's own entry in this column; default all"
    )
    relevant: Literal["label", "partner"] | None = Field(
        default=None,
        description="Relevant are items of like label, or the partner (pair, or id); default what is there",
    )


class CompareConfig(RelevanceConfig):
    """What of the evaluations of runs is compared."""

    split: str = Field(default="test", description="Which evaluation of each run: train, val, test or all")
    mean: Literal["macro", "micro"] = Field(
        default="macro", description="Mean over emotions (macro) or over queries (micro)"
    )
    over_seeds: bool = Field(
        default=False, description="Take runs that differ only in their seed as one, by their mean"
    )
    resamples: int = Field(
        default=10_000,
        ge=1,
        le=MAX_RESAMPLES,
        description="Number of bootstrap resamples, and of random flips in the test",
    )
    seed: int = Field(default=42, ge=0, description="Seed of resamples and flips")


class EvaluateConfig(RelevanceConfig):
    """What is evaluated, and by which metrics."""

    split: str = Field(default="test", description="Part of the manifests to rank: train, val, test or all")
    head: int | None = Field(default=None, description="Number of the heads to evaluate; default the run's best")
    ks: tuple[int, ...] = Field(default=(1, 5, 10), strict=False, description="Each k of P@k")
    measures: tuple[Measure, ...] = Field(
        default=MEASURES,
        strict=False,
        description="Metrics beside P@k; without mAP and R-precision it is faster",
    )
    average: Average = Field(
        default="embeddings",
        description="What is averaged over an item's segments: embeddings (after the heads) or features",
    )
    min_seconds: float = Field(default=0.0, ge=0, description="Shortest recording to rank, in seconds")

    @property
    def folder_name(self) -> str:
        """The split, and whatever is not by default."""
        parts = {
            "head": f"head-{self.head}",
            "average": self.average,
            "min_seconds": f"{self.min_seconds:g}s",
            "label_map": f"by-{self.label_map.stem if self.label_map else ''}",
            "within": f"within-{self.within}",
            "relevant": f"by-{self.relevant}",
            "ks": f"k-{'-'.join(map(str, self.ks))}",
            "measures": "-".join(self.measures),
        }
        fields = EvaluateConfig.model_fields
        return "-".join([self.split, *(parts[name] for name in parts if getattr(self, name) != fields[name].default)])


class TrainConfig(Settings):
    """Settings of head training, whatever its objective; the defaults are those of the papers.

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", ICASSP 2024, section 4.2:
    batch size, optimiser and its rate, epochs, embedding width; the extended version, section 4.4, adds the dropout.
    Hidden width, batches per epoch and weight decay stand in neither: they are the published implementation's.
    """

    batch_size: int = Field(default=64, ge=2, le=8192, description="Items per modality and batch, 2 to 8192")
    views_per_item: int = Field(
        default=1, ge=1, le=64, description="Rows of each item in a training batch, each by another segment or view"
    )
    optimiser: Literal["adamw", "adam"] = Field(default="adamw", description="AdamW, or Adam with an L2 penalty")
    learning_rate: float = Field(default=1e-4, gt=0, description="Learning rate of the heads")
    weight_decay: float = Field(default=0.01, ge=0, description="Weight decay of the heads")
    epochs: int = Field(default=15, ge=1, description="Epochs to train for")
    batches_per_epoch: int = Field(default=100, ge=1, le=MAX_BATCHES, description="Batches of an epoch")
    val_batches: int = Field(default=100, ge=1, le=MAX_BATCHES, description="Batches of the validation loss")
    hidden_dim: int = Field(default=256, ge=1, le=MAX_WIDTH, description="Hidden units of a head")
    embedding_dim: int = Field(default=128, ge=1, le=MAX_WIDTH, description="Values of an embedding")
    dropout: float = Field(default=0.5, ge=0, lt=1, description="Probability of dropping a hidden unit")
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Epochs without a better one after which a head's later ones do not count; default all",
    )
    seed: int = Field(default=42, ge=0, description="Seed of everything random")
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="Precision of a step's matrix products")

    @property
    def rows(self) -> int:
        """Rows of a training batch, per modality."""
        return self.batch_size * self.views_per_item


def split_settings(data: Mapping[str, Any], *kinds: type[Settings]) -> tuple[dict[str, Any], ...]:
    """Give each class those of the values that it has a field for; a name of none raises :class:`ConfigError`."""
    known = {name for kind in kinds for name in kind.model_fields}
    if unknown := sorted(data.keys() - known):
        raise _unknown(unknown, known)
    return tuple({name: value for name, value in data.items() if name in kind.model_fields} for kind in kinds)


def read_settings_file(path: Path, use: Callable[[dict[str, Any]], T]) -> T:
    """Return what `use` makes of the content of a TOML file; what cannot be is told with the file's name."""
    content = read_toml(path, ConfigError, "write plain lines of name = value", dict[str, Any])
    try:
        return use(content)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def closest(name: str, known: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" where a known name is near, else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _unknown(names: Iterable[str], known: Iterable[str]) -> ConfigError:
    known = sorted(known)
    told = ", ".join(repr(name) + closest(name, known) for name in names)
    return ConfigError(f"no setting is called {told}; there are {', '.join(known)}")
