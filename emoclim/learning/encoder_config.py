"""Settings of training an encoder along with its heads; see :mod:`emoclim.config`, whose conventions hold here too."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from emoclim.config import Allowed, TrainConfig, read_settings, require_known, updated, validated
from emoclim.errors import ConfigError
from emoclim.learning.augment import TABLE as AUGMENTATIONS
from emoclim.learning.augment import Augmentations

TABLE = "encoder"  # of these settings in a TOML file
OF_TRAINED = ("learning_rate", "weight_decay")
UNFREEZE = re.compile(r"all|none|batchnorm|last:[1-9][0-9]*")
_ALLOWED: Allowed = {
    "unfreeze": (str, lambda value: UNFREEZE.fullmatch(value) is not None, "all, none, batchnorm or, say, last:2"),
    "batchnorm": (str, lambda value: value in ("train", "frozen"), "train or frozen"),
    "learning_rate": (float, lambda value: value > 0, "a number above 0"),
    "weight_decay": (float, lambda value: value >= 0, "a number of at least 0"),
    "warmup_steps": (int, lambda value: value >= 0, "a whole number of at least 0"),
    "clip_norm": (float, lambda value: value > 0, "a number above 0, or absent"),
    "accumulate": (int, lambda value: value >= 1, "a whole number of at least 1"),
    "precision": (str, lambda value: value in ("fp32", "bf16", "fp16"), "fp32, bf16 or fp16"),
}


@dataclass(frozen=True, slots=True)
class EncoderTuning:
    """How an encoder is trained along with its heads.

    Attributes
    ----------
    unfreeze
        Which of its parameters are trained: ``"all"``; ``"last:N"``, those of its last N layers; ``"batchnorm"``, those
        of its batch normalisations; ``"none"``.
    batchnorm
        ``"train"``: batch normalisations, of frozen layers too, work on the statistics of the batch and gather them
        for later; ``"frozen"``: they keep those that they came with.
    learning_rate
        Of the encoder's parameters.
    weight_decay
        Of the same, but never of normalisations and biases.
    warmup_steps
        Over so many steps the learning rates, of the heads too, rise to their value.
    clip_norm
        Largest norm of all gradients together, of the heads too; None: any.
    accumulate
        Batches whose gradients are averaged into one step. Each is compared within itself only: this is not a larger
        batch, for which the loss would compare more.
    precision
        Of the encoder's training steps, ``"fp32"``, ``"bf16"`` or, on a GPU, ``"fp16"``; parameters, losses, heads and
        validation are not affected.

    Raises
    ------
    ConfigError
        A value is of the wrong type or out of range.

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", ICASSP 2024, section 4.2, has
    one learning rate for all, as the defaults do; their published code also decays norms and biases. That batch
    normalisation works on batches stands in that code only, where it does so even in what the papers call frozen
    encoders: ``unfreeze = "none"``, ``batchnorm = "train"``.
    """

    unfreeze: str = "all"
    batchnorm: str = "train"
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    warmup_steps: int = 0
    clip_norm: float | None = None
    accumulate: int = 1
    precision: str = "fp32"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (value is None and field.default is None):
                object.__setattr__(self, field.name, validated(field.name, value, _ALLOWED))

    def to_dict(self) -> dict[str, int | float | str | None]:
        """Plain values by name."""
        return asdict(self)

    def updated(self, data: Mapping[str, Any]) -> "EncoderTuning":
        """These settings with those of `data` in place of their own.

        Raises
        ------
        ConfigError
            One is unknown, cannot be, or is about parameters that are not trained.
        """
        require_known(data, _ALLOWED)
        new = replace(self, **data)
        if new.unfreeze == "none" and (useless := [name for name in OF_TRAINED if name in data]):
            raise ConfigError(f"{useless[0]} would have no effect with unfreeze = none; leave one of them out")
        return new

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "EncoderTuning":
        """Inverse of :meth:`to_dict`."""
        require_known(data, _ALLOWED)
        return cls(**data)


def load_joint_config(path: Path, base: TrainConfig) -> tuple[TrainConfig, EncoderTuning, Augmentations]:
    """Read a TOML file of ``name = value`` lines, some in tables ``[encoder]`` and ``[augmentations]``."""

    def use(data: dict[str, Any]) -> tuple[TrainConfig, EncoderTuning, Augmentations]:
        tuning, added = (_pop_table(data, name) for name in (TABLE, AUGMENTATIONS))
        augmentations = Augmentations().updated(added)
        if augmentations.background is not None:
            augmentations = replace(augmentations, background=path.parent / augmentations.background)
        return updated(base, data), EncoderTuning().updated(tuning), augmentations

    return read_settings(path, use)


def _pop_table(data: dict[str, Any], name: str) -> dict[str, Any]:
    table = data.pop(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} = {table!r} is no table; write [{name}] above its settings")
    return table
