"""Ask for a paper's table to be made anew: with which data, encoders and settings. Used by the whole room."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from emoclim.config import EvaluateConfig, Settings, TrainConfig
from emoclim.data import FeatureSpec, LabelMap, Setting, gives_several, match_labels, read_label_map
from emoclim.encoders import Encoder, encoder_names, find_encoder, load_encoder, untrained_file
from emoclim.errors import ConfigError, EncoderError
from emoclim.learning import Augmentations, EncoderTuning, load_joint_config, load_objective, seeds
from emoclim.modality import Modality
from emoclim.pipeline.find_caches import cache_notes
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track
from emoclim.recipes import Preset, Recipe, Row, Table, choose_tables

TAGGING = "tagging"  # name of the data that the measure of that name is of
Joint = tuple[TrainConfig, Settings, EncoderTuning, Augmentations]
SEEDED = frozenset({"retrieval", "classes", "tagging"})  # measures whose numbers are means over seeds


@dataclass(frozen=True, slots=True)
class ImportedFeatures:
    """What stands in an encoder's place where another program made the features."""

    spec: FeatureSpec
    segment_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """The name of an encoder, with its file and settings, or of features that another program made."""

    name: str
    checkpoint: Path | None  # file of its parameters; None takes the published one
    settings: Mapping[str, Setting]
    imported: FeatureSpec | None = None  # of features that another program made
    begun: bool = False  # whether it is trained from random parameters on

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from others."""
        return self.name, self.checkpoint, tuple(sorted(self.settings.items()))

    def load(self, track: Track) -> Encoder | ImportedFeatures:
        """Load it."""
        if self.imported is not None:
            return ImportedFeatures(self.imported)
        begun = untrained_file(self.name, self.settings, TrainConfig().seed) if self.begun else None
        return load_encoder(self.name, checkpoint=begun or self.checkpoint, track=track, **self.settings)


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be made anew, and with what."""

    recipe: Recipe
    target: str  # name of a table or figure
    rows: Sequence[str]  # names of rows or of their encoders; none is all
    encoders: Mapping[str, EncoderChoice]  # by the paper's encoder, see choose_encoders
    preset: str
    config: TrainConfig
    own: Settings  # of the objective
    others: Mapping[str, "Joint"] = field(default_factory=dict)  # all settings of rows with an objective of their own
    manifests: Mapping[str, Path] = field(default_factory=dict)  # by name of the data; others are looked for
    tuning: EncoderTuning = EncoderTuning()
    augmentations: Augmentations = Augmentations()
    store: bool = False  # keep decoded recordings for the training of encoders
    n_seeds: int = 1  # of each training, from that of the config on
    label_map: Path | None = None  # of one class for each label, to train on; of several, of what is relevant
    within: Literal["group"] | None = None  # what a query ranks
    vad: Path | None = None  # valence and arousal of labels
    word_vectors: str | None = None  # file of vectors of labels, or encoder that gives some in their place

    @property
    def table(self) -> Table:
        """What is made."""
        return self.recipe.tables[self.target]

    @property
    def settings(self) -> Preset:
        """What the numbers are held against."""
        return self.recipe.preset(self.preset)

    def preset_of(self, row: Row) -> Preset:
        """Return what the numbers of a row are held against."""
        return self.settings.stages.get(row.stage, self.settings)

    def expected(self, row: Row) -> tuple[TrainConfig, Settings]:
        """Return the settings that a row has in the paper, or in its code."""
        return papers_settings(self.preset_of(row), row.objective or self.recipe.objective, row.own)

    @property
    def folder(self) -> str:
        """Name of the folder of results: the table, and whatever is not by default."""
        other = [self.preset] if self.preset != next(iter(self.recipe.presets)) else []
        other += [f"{self.n_seeds}-seeds"] if self.n_seeds > 1 else []
        other += [f"by-{self.label_map.stem}"] if self.label_map else []
        other += [f"within-{self.within}"] if self.within else []
        return "-".join([self.target, *self.rows, *other])

    @property
    def trained_map(self) -> Path | None:
        """The label map that rows are trained on; None where labels meet by themselves."""
        return None if self.label_map is None or gives_several(self.label_map) else self.label_map

    def rankings(self, row: Row) -> dict[str, EvaluateConfig]:
        """Return what is relevant, and what is ranked, by what stands before the keys of the numbers."""
        if row.measured_by:
            shown = EvaluateConfig(within=self.within, ks=(5,), measures=("MRR",))  # the rest takes thrice the time
            return {f"{name} ": shown.updated(label_map=Path(name)) for name in row.measured_by}
        several = self.label_map if self.trained_map is None else None
        return {"": EvaluateConfig(label_map=several, within=self.within)}

    def training(self, row: Row) -> tuple[TrainConfig, Settings]:
        """Return the settings of a row's training and of its objective."""
        config, own, *_ = self.others.get(row.name, (self.config, self.own))
        return config.updated(**row.training), own

    def joint(self, row: Row) -> tuple[EncoderTuning, Augmentations]:
        """Return the settings of the training of a row's encoder."""
        *_, tuning, augmentations = self.others.get(row.name, (self.tuning, self.augmentations))
        return tuning.updated(**row.tuning), augmentations

    def vectors(self, row: Row) -> dict[str, Any]:
        """Return what a row takes as vectors of labels, as fields of its training; None where it is not given."""
        return {row.vectors: getattr(self, row.vectors)} if row.vectors else {}

    def match(self, labels: Mapping[Modality, Iterable[str]]) -> LabelMap:
        """Bring labels to classes as the trainings do."""
        return read_label_map(self.trained_map, labels) if self.trained_map else match_labels(labels)

    def choices(self, row: Row) -> dict[Modality, EncoderChoice]:
        """Return the encoders of a row, with the settings that it changes."""
        chosen = {}
        for modality, paper in row.encoders.items():
            choice = self.encoders[paper]
            begun = modality == row.trained and row.step == "pretrain" and choice.checkpoint is None
            chosen[modality] = replace(choice, settings={**choice.settings, **row.settings.get(paper, {})}, begun=begun)
        return chosen

    def changes_nothing(self, row: Row) -> bool:
        """Whether a row that is to differ from others in some settings would not, for all are made with these."""
        if not (self.table.own and (row.training or row.settings)):
            return False
        bare = replace(row, settings={})
        return self.config.updated(**row.training) == self.config and self.choices(row) == self.choices(bare)

    def seeds_of(self, row: Row) -> list[int]:
        """Return the seeds that a row is trained with: one where its numbers are of features, or it is drawn."""
        several = self.table.measure in SEEDED and not row.bare
        return seeds(self.config.seed, self.n_seeds if several else 1)

    def chosen_rows(self) -> dict[str, Row]:
        """Return the rows that are called so, by their own name or by that of an encoder; all if none is."""
        rows, wanted = self.table.rows, set(self.rows)
        known = {name for table in self.recipe.tables.values() for row in table.rows.values() for name in row.names}
        if strange := sorted(wanted - known) or ([] if self.has_chosen() else self.rows):
            raise ConfigError(f"{self.target} has no row called {', '.join(strange)}; there are {', '.join(rows)}")
        return {name: row for name, row in rows.items() if not wanted or wanted & row.names}

    def has_chosen(self) -> bool:
        """Whether the table has one of the rows that are asked for, or needs none."""
        rows = self.table.rows.values()
        return not (self.rows and rows) or any(row.names & set(self.rows) for row in rows)


def make_requests(
    words: Sequence[str],
    *,
    preset: str,
    config: Path | None = None,
    changes: Mapping[str, Any],
    names: Mapping[str, str],
    checkpoints: Mapping[str, Path],
    settings: Mapping[str, Mapping[str, Setting]],
    workspace: Workspace = Workspace(),
    **further: Any,
) -> list[Request]:
    """Ask for each table that words name, or of several for those with chosen rows.

    `changes` are of the preset's training; `further` are fields of :class:`Request`.
    """
    recipe, tables = choose_tables(words)
    choices = choose_encoders(recipe, preset, names, checkpoints, settings, workspace)

    def asked(objective: str, own: Mapping[str, Any], stage: str = "") -> Joint:
        start = recipe.preset(preset).stages.get(stage, recipe.preset(preset))
        training, kept = papers_settings(start, objective, own)
        added = {} if "background" in start.augmentations else start.augmentations  # whose sounds only a user has
        read = load_joint_config(config, training, type(kept), EncoderTuning(**start.tuning), added)
        training, given, tuning, augmentations = read
        return training.updated(**changes), kept.updated(**given), tuning, augmentations

    training, own, tuning, augmentations = asked(recipe.objective, {})
    requests = [
        Request(
            recipe=recipe,
            target=target,
            encoders=choices,
            preset=preset,
            config=training,
            own=own,
            others={
                name: asked(row.objective, row.own, row.stage)
                for name, row in recipe.tables[target].rows.items()
                if row.objective
            },
            tuning=tuning,
            augmentations=augmentations,
            **further,
        )
        for target in tables
    ]
    return [one for one in requests if one.has_chosen()] or requests


def papers_settings(preset: Preset, objective: str, own: Mapping[str, Any]) -> tuple[TrainConfig, Settings]:
    """Return the settings of a training and of its objective that a paper, or its code, has."""
    kind = load_objective(objective)
    return TrainConfig(**{**kind.preset, **preset.config}), kind.Settings(**{**own, **preset.own.get(objective, {})})


def choose_encoders(
    recipe: Recipe,
    preset: str,
    names: Mapping[str, str],
    checkpoints: Mapping[str, Path],
    settings: Mapping[str, Mapping[str, Setting]],
    workspace: Workspace = Workspace(),
) -> dict[str, EncoderChoice]:
    """Choose for each of the paper's encoders itself, or what is named in its place: another, or imported features."""
    if strange := sorted((names.keys() | checkpoints.keys() | settings.keys()) - recipe.encoders.keys()):
        raise ConfigError(f"the paper has no encoder {', '.join(strange)}; it has {', '.join(recipe.encoders)}")
    choices = {}
    for paper, modality in recipe.encoders.items():
        name, file = names.get(paper, paper), checkpoints.get(paper)
        spec = None if name in encoder_names() else _imported(workspace, modality, name)
        if spec or name in recipe.imported:
            if file or paper in settings:
                raise ConfigError(f"the features {name} were imported; leave out --checkpoint and --setting of {paper}")
            choices[paper] = EncoderChoice(name, None, {}, spec)
            continue
        if (takes := find_encoder(name).MODALITY) != modality:
            raise EncoderError(
                f"{name!r} takes {takes}, and cannot stand in for {paper}; name an encoder of {modality}"
            )
        chosen = {**recipe.preset(preset).encoder(name), **settings.get(paper, {})}
        choices[paper] = EncoderChoice(name, file.resolve() if file else None, chosen)
    return choices


def _imported(workspace: Workspace, modality: Modality, name: str) -> FeatureSpec | None:
    """Return what the newest imported features of that name are."""
    specs = (note.spec for note in cache_notes(workspace, modality))
    return next((spec for spec in specs if spec.keyed_by_id and spec.name == name), None)
