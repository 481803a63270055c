"""Hold the settings of contrastive losses, of training an encoder, of what is added to its crops, and of tag heads.

The conventions are those of :mod:`emoclim.config`. Invariant: this loads no torch, since the help of commands reads it.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from emoclim.config import MAX_WIDTH, Settings, TrainConfig, read_settings_file, split_settings
from emoclim.errors import ConfigError

TUNING, AUGMENTATIONS = "encoder", "augmentations"  # tables of these settings in a TOML file
OF_TRAINED = ("learning_rate", "weight_decay")
UNFREEZE = re.compile(r"all|none|batchnorm|(last|after):[1-9][0-9]*")


def _unfreezable(value: str) -> str:
    if not UNFREEZE.fullmatch(value):
        raise ValueError("it must be all, none, batchnorm or, say, last:2 or after:4")
    return value


EFFECTS = {  # settings of the chain of effects, with what switches each on
    "polarity_probability": "polarity_probability",
    "noise_level": "noise_probability",
    "gain_db": "gain_probability",
    "highpass_hz": "filter_probability",
    "lowpass_hz": "filter_probability",
    "delay_ms": "delay_probability",
    "pitch_semitones": "pitch_probability",
    "reverb_probability": "reverb_probability",
}
_SWITCHES = {
    "gaussian_probability": "gaussian_snr",
    "background_snr": "background",
    "background_probability": "background",
    **EFFECTS,
}


def _ascending(ends: tuple[float, float]) -> tuple[float, float]:
    if ends[0] > ends[1]:
        raise ValueError("give two numbers, the lower one first")
    return ends


NoPositive = Literal["count", "skip"]  # an anchor without positives adds 0 to a mean over all; is left out of it
_Decibels = Annotated[float, Field(ge=-100, le=100)]
Range = Annotated[tuple[_Decibels, _Decibels], Field(strict=False), AfterValidator(_ascending)]
_Above = Annotated[float, Field(gt=0, le=20_000)]
AboveZero = Annotated[tuple[_Above, _Above], Field(strict=False), AfterValidator(_ascending)]
_Semitones = Annotated[float, Field(ge=-24, le=24)]  # as the library has it
Semitones = Annotated[tuple[_Semitones, _Semitones], Field(strict=False), AfterValidator(_ascending)]
Folder = Annotated[Path, Field(strict=False)]


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
        default="all",
        description="What of the encoder is trained: all, last:N layers, those after:N, batchnorm or none",
    )
    batchnorm: Literal["train", "trained", "frozen"] = Field(
        default="train",
        description="Which of its batch normalisations work on the statistics of the batch: all, also of frozen layers "
        "(train), those that are trained (trained) or none (frozen); the others work on those that they came with",
    )
    learning_rate: float = Field(default=1e-4, gt=0, description="Learning rate of the encoder")
    weight_decay: float = Field(default=0.01, ge=0, description="Weight decay of the encoder, but for norms and biases")
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


class Augmentations(Settings):
    """What is done to crops of recordings in training, and how often; by default nothing.

    Notes
    -----
    Ratios are uniform in dB, of mean powers over the whole crop; sounds come first, and noise is by the mix. S. Stewart
    et al., "Emotion-Aligned Contrastive Learning Between Images and Music", ICASSP 2024, names augmentation as future
    work; the configuration of their published code has both, with the defaults here, and noise at 5 to 40 dB. The
    effects from polarity to reverb are those of J. Spijkervet and J. A. Burgoyne, "Contrastive learning of musical
    representations", ISMIR 2021, with the ranges of their published code; pitch is shifted by the library, not by sox.
    """

    gaussian_snr: Range | None = Field(
        default=None,
        description="Lowest and highest ratio of a crop to the Gaussian noise in it, in dB; default no noise",
    )
    gaussian_probability: float = Field(default=0.8, ge=0, le=1, description="Probability of noise in a crop")
    background: Folder | None = Field(default=None, description="Folder of sounds to mix into crops; default none")
    background_snr: Range = Field(
        default=(3.0, 30.0),
        description="Lowest and highest ratio of a crop to the sound mixed in, in dB",
    )
    background_probability: float = Field(default=0.8, ge=0, le=1, description="Probability of a sound in a crop")
    # The chain of effects, in its order; none of them is an option of commands: see EFFECTS
    polarity_probability: float = Field(default=0.0, ge=0, le=1, description="Probability of a crop upside down")
    noise_probability: float = Field(default=0.0, ge=0, le=1, description="Probability of noise by its level")
    noise_level: AboveZero = Field(
        default=(1e-4, 1e-2), description="Lowest and highest deviation of that noise, as a share of the crop's"
    )
    gain_probability: float = Field(default=0.0, ge=0, le=1, description="Probability of another loudness")
    gain_db: Range = Field(default=(-20.0, -1.0), description="Lowest and highest gain, in dB")
    filter_probability: float = Field(
        default=0.0, ge=0, le=1, description="Probability of a high-pass or, as often, a low-pass"
    )
    highpass_hz: AboveZero = Field(default=(200.0, 1200.0), description="Edges of high-passes, in Hz")
    lowpass_hz: AboveZero = Field(default=(2200.0, 4000.0), description="Edges of low-passes, in Hz")
    delay_probability: float = Field(default=0.0, ge=0, le=1, description="Probability of an echo")
    delay_ms: AboveZero = Field(default=(200.0, 450.0), description="Earliest and latest echo, in ms and steps of 50")
    pitch_probability: float = Field(default=0.0, ge=0, le=1, description="Probability of another pitch")
    pitch_semitones: Semitones = Field(default=(-7.0, 7.0), description="Lowest and highest shift, in semitones")
    reverb_probability: float = Field(
        default=0.0, ge=0, le=1, description="Probability of a reverb, sox's with any of its three numbers"
    )

    def __bool__(self) -> bool:
        return any(getattr(self, switch) for switch in set(_SWITCHES.values()))

    def require_switches(self) -> None:
        """Refuse, with a :class:`ConfigError`, a setting of what is not switched on."""
        for name, switch in _SWITCHES.items():
            if not getattr(self, switch) and getattr(self, name) != getattr(Augmentations(), name):
                raise ConfigError(f"{name} would have no effect without {switch}; give that too, or leave both out")


class SupConSettings(Settings):
    """Of the loss; the defaults are those of the papers."""

    temperature: float = Field(default=0.07, gt=0, description="Divides every cosine similarity in the loss")
    no_positive: NoPositive = Field(
        default="count", description="What an anchor without positives does: count in the mean, as 0, or skip"
    )


class TagProtocol(Settings):
    """What of a recording a tagging head sees, and which epoch of it is kept.

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", extended version, section 5.2,
    train the head on embeddings of recordings. K. Avramidis et al., "On the role of visual context in enriching music
    representations", ICASSP 2023, section 4.2, average predictions over windows that share half of their length. The
    published code of the former averages probabilities over windows that do not overlap, and keeps the best PR-AUC.
    """

    aggregate: Literal["probabilities", "embeddings"] = Field(
        default="probabilities",
        description="Tagging: what is averaged over a recording's segments, probabilities (VCMR, and Emo-CLIM's code) "
        "or embeddings, on whose means the head is then trained (Emo-CLIM's paper)",
    )
    windows: Literal["all", "apart"] = Field(
        default="all",
        description="Tagging: windows of a recording that is evaluated, all or those apart, which do not overlap "
        "(Emo-CLIM's code)",
    )
    keep_by: Literal["loss", "PR-AUC"] = Field(
        default="loss",
        description="Tagging: what the best epoch of a tag head has on validation, the lowest loss or the highest "
        "PR-AUC (Emo-CLIM's code)",
    )


class TagConfig(Settings):
    """Settings of the training of a tagging head.

    Notes
    -----
    S. Stewart et al., as in :class:`TagProtocol`, section 5.2: optimiser, its rate and batch size. Hidden width, epochs
    and patience stand in no paper: they are the published implementation's. Dropout, a head without normalisation and a
    rate that falls are of the published implementation of K. Avramidis et al., as in :class:`TagProtocol`.
    """

    learning_rate: float = Field(default=1e-3, gt=0, description="Learning rate of AdamW")
    weight_decay: float = Field(default=0.01, ge=0, description="Weight decay of AdamW")
    batch_size: int = Field(default=128, ge=2, description="Items of a batch")
    epochs: int = Field(default=100, ge=1, description="Epochs at most, each of which shows every item once")
    patience: int = Field(
        default=10, ge=1, description="Epochs without a lower validation loss after which training ends"
    )
    hidden_dim: int | None = Field(
        default=None, ge=1, le=MAX_WIDTH, description="Hidden units; default the width of the input"
    )
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Probability of dropping a value of the input")
    batchnorm: bool = Field(default=True, description="Whether hidden units are normalised over the batch; default yes")
    plateau: int | None = Field(
        default=None,
        ge=0,
        description="Epochs after a lower validation loss, beyond which the rate falls tenfold; default never",
    )


DEFAULT_TUNING = EncoderTuning()
Joint = tuple[TrainConfig, dict[str, Any], EncoderTuning, Augmentations]


def load_joint_config(
    path: Path | None,
    base: TrainConfig,
    objective: type[Settings],
    tuning: EncoderTuning = DEFAULT_TUNING,
    augmentations: Mapping[str, Any] = {},
) -> Joint:
    """Read a TOML file, if any, of ``name = value`` lines, some in tables ``[encoder]`` and ``[augmentations]``.

    What it has stands above what is given. What the settings of an objective have a field for comes back as it stands.
    """
    if path is None:
        return base, {}, tuning, Augmentations(**augmentations)

    def use(data: dict[str, Any]) -> Joint:
        changes, added = (_pop_table(data, name) for name in (TUNING, AUGMENTATIONS))
        all_added = Augmentations(**{**augmentations, **added})
        if all_added.background is not None:
            all_added = all_added.updated(background=path.parent / all_added.background)
        of_training, own = split_settings(data, TrainConfig, objective)
        return base.updated(**of_training), own, tuning.updated(**changes), all_added

    return read_settings_file(path, use)


def _pop_table(data: dict[str, Any], name: str) -> dict[str, Any]:
    table = data.pop(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} = {table!r} is no table; write [{name}] above its settings")
    return table
