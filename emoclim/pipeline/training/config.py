"""What trainings are asked for. Imports no torch, for the commands make their options of the fields here.

Used by the steps and the commands of training; a field with a description is an option.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from emoclim.config import RunConfig, Settings, TrainConfig
from emoclim.data import FeatureSpec, Setting
from emoclim.errors import ConfigError
from emoclim.learning import Augmentations, EncoderTuning
from emoclim.modality import MODALITIES, Modality
from emoclim.progress import Track

if TYPE_CHECKING:
    from emoclim.data import Manifest
    from emoclim.encoders import Encoder
    from emoclim.learning import Objective, Space
    from emoclim.pipeline.library import Library
    from emoclim.pipeline.workspace import Workspace

OBJECTIVE, OBJECTIVE_OF_NEAR = "emo_clim", "class_similarity"  # defaults; the latter of emotions that attract
ANY = tuple(MODALITIES)[:2]  # any two tell which settings and weights are possible
SQLITE = (".db", ".sqlite", ".sqlite3")

File = Annotated[Path, Field(strict=False)]
Weights = Annotated[tuple[float, ...], Field(strict=False)]


class LabelledConfig(RunConfig):
    """The settings that every training has."""

    NOTED: ClassVar[frozenset[str]] = frozenset({"libraries", "vad", "word_vectors", "label_map"})

    libraries: dict[Modality, str] = Field(default={})  # by modality, the name of a cache: an encoder's or a manifest's
    vad: File | None = Field(
        default=None,
        description="Table word,valence,arousal of the labels, for objectives that go by them; default none",
    )
    word_vectors: str | None = Field(
        default=None,
        description="Vectors of words: a table (CSV, Parquet) or a file of word2vec or GloVe; or a text encoder, which "
        "embeds the words of labels in their place; default none",
    )
    objective: str | None = Field(
        default=None,
        description="What to train for, see train-heads --list; default emo_clim, or class_similarity with --vad",
    )
    own: dict[str, Any] = Field(default={})  # settings of the objective, by name
    label_map: File | None = Field(
        default=None,
        description="TOML file, or name of a published map, of each label's class, or a table by which labels are near "
        "where each keeps its own; default equal labels, or the paper's map",
    )

    def make_objective(self, modalities: Sequence[Modality] = ()) -> "Objective":
        """Make the objective, with one settings; by default it follows from whether similar emotions attract."""
        from emoclim.learning import load_objective

        kind = load_objective(self.objective or (OBJECTIVE_OF_NEAR if self.vad else OBJECTIVE))
        named = tuple(self.libraries) if kind.alone and len(self.libraries) == 1 else ANY
        return kind(modalities or named, [kind.Settings(**self.own)])


def storage_place(storage: str) -> str:
    """Return the URL of a database or the whole path of a journal, which ``optuna-dashboard`` takes."""
    if not storage:
        raise ValueError("it should be a URL or a file")
    if "://" in storage:
        return storage
    path = Path(storage).absolute()
    return f"sqlite:///{path}" if storage.endswith(SQLITE) else str(path)


class StudyConfig(Settings):
    """The settings of a study that proposes what to train."""

    storage: Annotated[str, AfterValidator(storage_place)] = Field(
        description="URL or file of a study of Optuna that chooses what to try; default none"
    )
    name: str | None = Field(default=None, description="Name of the study; default one made from the data")
    rounds: int = Field(default=4, ge=1, description="Number of times the study is asked what to try")
    trials: int = Field(default=16, ge=1)  # of a round


class HeadsConfig(LabelledConfig):
    """The settings of `emoclim train-heads`, which tries every row of weights with every choice of the settings."""

    NOTED: ClassVar[frozenset[str]] = LabelledConfig.NOTED | {"tensorboard"}

    # of the terms of the loss; default those of the objective
    weights: Annotated[tuple[Weights, ...], Field(strict=False)] = ()
    # by name of one, the values to try
    settings: dict[str, Annotated[tuple[Any, ...], Field(strict=False)]] = Field(default={})
    base: TrainConfig = TrainConfig()  # all other settings
    study: StudyConfig | None = None
    select: Literal["mean", "p5", "mrr", "loss"] | None = Field(
        default=None,
        description="What heads are chosen by on validation; default mean, of P@5 and MRR, or loss if none are ranked",
    )
    min_seconds: float = Field(default=0.0, ge=0)  # shorter recordings train no heads
    keep: int | None = Field(default=None, ge=1, description="Number of the best heads to keep; default all")
    tensorboard: bool = Field(default=False, description="Write event files for TensorBoard, too")

    def rule(self, *, ranked: bool) -> str:
        """Return what heads are chosen by; `ranked` says whether two modalities have labels."""
        if self.select not in (None, "loss") and not ranked:
            raise ConfigError(f"heads cannot be chosen by {self.select} where nothing is ranked; choose them by loss")
        return self.select or ("mean" if ranked else "loss")

    def space(self, objective: "Objective") -> "Space":
        """Return what may be tried."""
        from emoclim.learning import Space

        return Space(self.weights or [objective.default_weights], self.settings, self.base, objective)


class EndToEndConfig(LabelledConfig):
    """The settings of `emoclim train-end-to-end`; of the modalities of its encoders `libraries` names manifests."""

    NOTED: ClassVar[frozenset[str]] = LabelledConfig.NOTED | {"checkpoints", "augmentations"}

    encoders: dict[Modality, str]  # by modality, the one to train
    # of their parameters to start from; None takes the published one, or random ones where nobody published any
    checkpoints: dict[Modality, Annotated[File, AfterValidator(Path.resolve)] | None] = Field(default={})
    encoder_settings: dict[Modality, dict[str, Setting]] = Field(default={})  # by name of one
    weights: Weights = ()  # of the terms of the loss; default those of the objective
    base: TrainConfig = TrainConfig()  # of the heads and of the batches
    tuning: EncoderTuning = EncoderTuning()
    augmentations: Augmentations = Augmentations()
    store: bool = Field(
        default=False, description="Decode all music once and keep it, so that crops of it are read faster"
    )

    def weights_of(self, objective: "Objective") -> tuple[float, ...]:
        """Return the weights of an objective's terms."""
        return self.weights or objective.default_weights

    def load(self, modality: Modality, track: Track, checkpoint: Path | None = None) -> "Encoder":
        """Load an encoder, or the same with the parameters of another file; random ones where nobody published any."""
        from emoclim.encoders import has_parameters, is_published, load_encoder, untrained_file

        name, settings = self.encoders[modality], self.encoder_settings.get(modality, {})
        checkpoint = checkpoint or self.checkpoints.get(modality)
        if checkpoint is None and has_parameters(name) and not is_published(name):
            checkpoint = untrained_file(name, settings, self.base.seed)
        return load_encoder(name, checkpoint=checkpoint, track=track, **settings)

    def library(self, workspace: "Workspace", manifest: "Manifest", spec: FeatureSpec) -> "Library":
        """Make a library of a manifest whose features are yet to be encoded, as it will be then."""
        from emoclim.cache import CacheNote
        from emoclim.pipeline.library import Library

        checkpoint = self.checkpoints.get(spec.modality)
        place, settings = None if checkpoint is None else str(checkpoint), self.encoder_settings.get(spec.modality, {})
        note = CacheNote(workspace.cache_path(spec, ".h5"), spec, place, settings)
        note = note.with_source(manifest, unlabelled=False)
        return Library(manifest, note, note.sources[-1])


class PretrainConfig(EndToEndConfig):
    """The settings of `emoclim pretrain`; `libraries` names a manifest of its encoder's modality, or a cache too."""

    objective: str | None = "nt_xent"
    own: dict[str, Any] = Field(default={"head": "projector"})
