"""Settings of training an encoder along with its heads; see :mod:`emoclim.config`, whose conventions hold here too."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from emoclim.config import Settings, TrainConfig, read_settings
from emoclim.errors import ConfigError
from emoclim.learning.augment import TABLE as AUGMENTATIONS
from emoclim.learning.augment import Augmentations

TABLE = "encoder"  # of these settings in a TOML file
OF_TRAINED = ("learning_rate", "weight_decay")
UNFREEZE = re.compile(r"all|none|batchnorm|last:[1-9][0-9]*")


def _unfreezable(value: str) -> str:
    if not UNFREEZE.fullmatch(value):
        raise ValueError("it must be all, none, batchnorm or, say, last:2")
    return value


class EncoderTuning(Settings):
    """How an encoder is trained along with its heads.

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", ICASSP 2024, section 4.2, has
    one learning rate for all, as the defaults do; their published code also decays norms and biases. That batch
    normalisation works on batches stands in that code only, where it does so even in what the papers call frozen
    encoders: ``unfreeze = "none"``, ``batchnorm = "train"``.
    """

    unfreeze: Annotated[str, AfterValidator(_unfreezable)] = Field(
        default="all", description="What of the encoder is trained: all, last:N layers, batchnorm or none"
    )
    batchnorm: Literal["train", "frozen"] = Field(
        default="train",
        description="Whether its batch normalisations, also of frozen layers, work on the statistics of the batch "
        "(train) or on those that they came with (frozen)",
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="Learning rate of AdamW for the encoder")
    weight_decay: float = Field(
        default=0.01, ge=0, description="Weight decay of AdamW for the encoder, but for norms and biases"
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps over which all learning rates rise to their value")
    clip_norm: float | None = Field(
        default=None, gt=0, description="Largest norm of all gradients together, also the heads'; default any"
    )
    # Each batch is compared within itself only: this is not a larger batch, for which the loss would compare more.
    accumulate: int = Field(default=1, ge=1, description="Batches whose gradients are averaged into one step")
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="Precision of the encoder's training steps, fp16 on a GPU only"
    )

    def updated(self, /, **changes: Any) -> Self:
        """See :meth:`Settings.updated`; also refuses a setting of parameters that are not trained."""
        new = super().updated(**changes)
        if new.unfreeze == "none" and (useless := [name for name in OF_TRAINED if name in changes]):
            raise ConfigError(f"{useless[0]} would have no effect with unfreeze = none; leave one of them out")
        return new


def load_joint_config(path: Path, base: TrainConfig) -> tuple[TrainConfig, EncoderTuning, Augmentations]:
    """Read a TOML file of ``name = value`` lines, some in tables ``[encoder]`` and ``[augmentations]``."""

    def use(data: dict[str, Any]) -> tuple[TrainConfig, EncoderTuning, Augmentations]:
        tuning, added = (_pop_table(data, name) for name in (TABLE, AUGMENTATIONS))
        augmentations = Augmentations(**added)
        if augmentations.background is not None:
            augmentations = augmentations.updated(background=path.parent / augmentations.background)
        return base.updated(**data), EncoderTuning().updated(**tuning), augmentations

    return read_settings(path, use)


def _pop_table(data: dict[str, Any], name: str) -> dict[str, Any]:
    table = data.pop(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} = {table!r} is no table; write [{name}] above its settings")
    return table
