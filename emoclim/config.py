"""Settings of the training stages: validated, read from TOML, with named presets.

A value out of range, of the wrong type or under an unknown name raises :class:`ConfigError` in one sentence that says
which setting, where it stood and what is allowed.
"""

import difflib
import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from emoclim.errors import ConfigError, reason_of

T = TypeVar("T")

# name: (type, which values of that type are allowed, the same in words)
Allowed = Mapping[str, tuple[type, Callable[[Any], bool], str]]
_ALLOWED: Allowed = {
    "temperature": (float, lambda value: value > 0, "a number above 0"),
    "batch_size": (int, lambda value: 2 <= value <= 8192, "a whole number from 2 to 8192"),
    "learning_rate": (float, lambda value: value > 0, "a number above 0"),
    "weight_decay": (float, lambda value: value >= 0, "a number of at least 0"),
    "epochs": (int, lambda value: value >= 1, "a whole number of at least 1"),
    "batches_per_epoch": (int, lambda value: value >= 1, "a whole number of at least 1"),
    "val_batches": (int, lambda value: value >= 1, "a whole number of at least 1"),
    "hidden_dim": (int, lambda value: value >= 1, "a whole number of at least 1"),
    "embedding_dim": (int, lambda value: value >= 1, "a whole number of at least 1"),
    "dropout": (float, lambda value: 0 <= value < 1, "a number of at least 0 and below 1"),
    "patience": (int, lambda value: value >= 1, "a whole number of at least 1, or absent"),
    "seed": (int, lambda value: value >= 0, "a whole number of at least 0"),
    "no_positive": (str, lambda value: value in ("count", "skip"), "count or skip"),
    "precision": (str, lambda value: value in ("fp32", "bf16"), "fp32 or bf16"),
}


def validated(name: str, value: Any, table: Allowed) -> int | float | str:
    """`value` in the type of its setting; a whole number may stand for a float, nothing else is converted."""
    kind, allowed, words = table[name]
    accepted = (int, float) if kind is float else kind
    fits = isinstance(value, accepted) and not isinstance(value, bool)
    if not fits or (kind is not str and not math.isfinite(value)) or not allowed(value):
        raise ConfigError(f"{name} = {value!r} is not possible; it must be {words}")
    converted: int | float | str = kind(value)
    return converted


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Settings of head training; the defaults are those of the papers.

    Attributes
    ----------
    temperature
        Divides every cosine similarity in the loss.
    batch_size
        Items per modality and batch.
    learning_rate, weight_decay
        Of AdamW; the decay applies to every parameter.
    epochs, batches_per_epoch
        Length of the training.
    val_batches
        Batches in the validation loss.
    hidden_dim, embedding_dim
        Widths H and E of a head.
    dropout
        Probability of dropping a hidden unit.
    patience
        Epochs without a better validation loss after which a head's later epochs no longer count; None: all count.
    seed
        Everything random follows from it.
    no_positive
        What an anchor without positives in its batch does: ``"count"`` in the mean, as 0, or ``"skip"`` it.
    precision
        Of the matrix products of a training step, ``"fp32"`` or ``"bf16"``; parameters, losses and validation are
        fp32 always.

    Raises
    ------
    ConfigError
        A value is of the wrong type or out of range.

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", ICASSP 2024, section 4.2:
    temperature, batch size, optimiser and its rate, epochs, embedding width; the extended version, section 4.4, adds
    the dropout. Hidden width, batches per epoch and weight decay stand in neither: they are the published
    implementation's.
    """

    temperature: float = 0.07
    batch_size: int = 64
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    epochs: int = 15
    batches_per_epoch: int = 100
    val_batches: int = 100
    hidden_dim: int = 256
    embedding_dim: int = 128
    dropout: float = 0.5
    patience: int | None = None
    seed: int = 42
    no_positive: str = "count"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value is None and field.default is None):
                object.__setattr__(self, field.name, validated(field.name, value, _ALLOWED))

    def to_dict(self) -> dict[str, int | float | str | None]:
        """Plain values by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "TrainConfig":
        """Inverse of :meth:`to_dict`; a missing name takes its default, an unknown one raises :class:`ConfigError`."""
        return updated(cls(), data)


# `default` is what a command uses unless told otherwise; `paper-code` is what the papers' published code is set to:
# twice the epochs, and two augmented views of each of 64 items in a batch.
PRESETS: Mapping[str, TrainConfig] = MappingProxyType(
    {"default": TrainConfig(), "paper": TrainConfig(), "paper-code": TrainConfig(epochs=30, batch_size=128)}
)

# The papers' files were stored at 16 kHz; their text describes another checkpoint of CLAP than their code loads.
ENCODER_PRESETS: Mapping[str, Mapping[str, Mapping[str, int | float | str]]] = MappingProxyType(
    {
        "default": {},
        "paper": {"clap": {"source_rate": 16_000}},
        "paper-code": {"clap": {"model": "music_speech", "source_rate": 16_000}},
    }
)


def preset(name: str) -> TrainConfig:
    """Settings of training by preset name; an unknown name raises :class:`ConfigError`."""
    return PRESETS[_known_preset(name)]


def encoder_preset(name: str, encoder: str) -> dict[str, int | float | str]:
    """Settings of an encoder by preset name, where they are not its own; an unknown one raises :class:`ConfigError`."""
    return dict(ENCODER_PRESETS[_known_preset(name)].get(encoder, {}))


def _known_preset(name: str) -> str:
    if name not in PRESETS:
        raise ConfigError(f"there is no preset '{name}'{_closest(name, PRESETS)}; there are {', '.join(PRESETS)}")
    return name


def updated(base: TrainConfig, data: Mapping[str, Any]) -> TrainConfig:
    """`base` with the settings of `data` in place of its own."""
    require_known(data, _ALLOWED)
    return replace(base, **data)


def require_known(data: Mapping[str, Any], table: Allowed) -> None:
    """Raise :class:`ConfigError`, with the closest known names, if `data` has a name that the table lacks."""
    if unknown := sorted(data.keys() - table.keys()):
        listed = ", ".join(f"'{name}'{_closest(name, table)}" for name in unknown)
        raise ConfigError(f"no setting is called {listed}")


def load_config(path: Path, base: TrainConfig) -> TrainConfig:
    """Read settings from a TOML file of ``name = value`` lines; what it leaves out is taken from `base`."""
    return read_settings(path, lambda data: updated(base, data))


def read_settings(path: Path, use: Callable[[dict[str, Any]], T]) -> T:
    """What `use` makes of the content of a TOML file."""
    try:
        return use(tomllib.loads(path.read_text(encoding="utf-8")))
    except (ConfigError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {reason_of(error)}") from error


def loss_weights(values: Sequence[float], n_terms: int = 4) -> tuple[float, ...]:
    """Check the coefficients of the loss terms, one per term, and return them as a tuple."""
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    usable = len(numbers) == len(values) == n_terms and all(math.isfinite(number) and number >= 0 for number in numbers)
    if not usable or not any(numbers):
        listed = ", ".join(str(value) for value in values)
        raise ConfigError(f"loss weights ({listed}) must be {n_terms} finite numbers of at least 0, not all 0")
    return tuple(float(number) for number in numbers)


def _closest(name: str, known: Mapping[str, Any]) -> str:
    """Return " (did you mean 'x'?)" where a known name is near, else nothing."""
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
