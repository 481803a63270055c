"""Ask for a paper's table to be made anew: with which data, encoders and settings. Used by the whole room."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from emoclim.config import EvaluateConfig, Settings, TrainConfig
from emoclim.data import LabelMap, Setting, gives_several, match_labels, read_label_map
from emoclim.encoders import Encoder, find_encoder, load_encoder
from emoclim.errors import ConfigError, EncoderError
from emoclim.learning import Augmentations, EncoderTuning, load_joint_config, load_objective, seeds
from emoclim.modality import Modality
from emoclim.progress import Track
from emoclim.recipes import Preset, Recipe, Row, Table, choose_tables

TAGGING = "tagging"  # name of the data that the measure of that name is of
SEEDED = frozenset({"retrieval", "classes", "tagging"})  # measures whose numbers are means over seeds


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """The name of an encoder, with its file and settings."""

    name: str
    checkpoint: Path | None  # file of its parameters; None takes the published one
    settings: Mapping[str, Setting]

    @property
    def key(self) -> tuple[Any, ...]:
        """What tells it from others."""
        return self.name, self.checkpoint, tuple(sorted(self.settings.items()))

    def load(self, track: Track) -> Encoder:
        """Load it."""
        return load_encoder(self.name, checkpoint=self.checkpoint, track=track, **self.settings)


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
    manifests: Mapping[str, Path] = field(default_factory=dict)  # by name of the data; others are looked for
    tuning: EncoderTuning = EncoderTuning()
    augmentations: Augmentations = Augmentations()
    store: bool = False  # keep decoded recordings for the training of encoders
    n_seeds: int = 1  # of each training, from that of the config on
    label_map: Path | None = None  # of one class for each label, to train on; of several, of what is relevant
    within: Literal["group"] | None = None  # what a query ranks

    @property
    def table(self) -> Table:
        """What is made."""
        return self.recipe.tables[self.target]

    @property
    def settings(self) -> Preset:
        """What the numbers are held against."""
        return self.recipe.preset(self.preset)

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

    @property
    def ranking(self) -> EvaluateConfig:
        """What is relevant, and what is ranked."""
        several = self.label_map if self.trained_map is None else None
        return EvaluateConfig(label_map=several, within=self.within)

    def match(self, labels: Mapping[Modality, Iterable[str]]) -> LabelMap:
        """Bring labels to classes as the trainings do."""
        return read_label_map(self.trained_map, labels) if self.trained_map else match_labels(labels)

    def choices(self, row: Row) -> dict[Modality, EncoderChoice]:
        """Return the encoders of a row, with the settings that it changes."""
        found = {modality: (paper, self.encoders[paper]) for modality, paper in row.encoders.items()}
        return {
            modality: replace(choice, settings={**choice.settings, **row.settings.get(paper, {})})
            for modality, (paper, choice) in found.items()
        }

    def changes_nothing(self, row: Row) -> bool:
        """Whether a row that is to differ from others in some settings would not, for all are made with these."""
        if self.table.printed or not (row.training or row.settings):
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
    **further: Any,
) -> list[Request]:
    """Ask for each table that words name, or of several for those with chosen rows.

    `changes` are of the preset's training; `further` are fields of :class:`Request`.
    """
    recipe, tables = choose_tables(words)
    objective = load_objective(recipe.objective).Settings
    training, own, tuning, augmentations = load_joint_config(config, recipe.preset(preset).training, objective)
    requests = [
        Request(
            recipe=recipe,
            target=target,
            encoders=choose_encoders(recipe, preset, names, checkpoints, settings),
            preset=preset,
            config=training.updated(**changes),
            own=objective(**own),
            tuning=tuning,
            augmentations=augmentations,
            **further,
        )
        for target in tables
    ]
    return [one for one in requests if one.has_chosen()] or requests


def choose_encoders(
    recipe: Recipe,
    preset: str,
    names: Mapping[str, str],
    checkpoints: Mapping[str, Path],
    settings: Mapping[str, Mapping[str, Setting]],
) -> dict[str, EncoderChoice]:
    """Choose the encoder in the place of each of the paper's: its own, but for what is said otherwise."""
    if strange := sorted((names.keys() | checkpoints.keys() | settings.keys()) - recipe.encoders.keys()):
        raise ConfigError(f"the paper has no encoder {', '.join(strange)}; it has {', '.join(recipe.encoders)}")
    choices = {}
    for paper, modality in recipe.encoders.items():
        name, file = names.get(paper, paper), checkpoints.get(paper)
        if (takes := find_encoder(name).MODALITY) != modality:
            raise EncoderError(
                f"{name!r} takes {takes}, and cannot stand in for {paper}; name an encoder of {modality}"
            )
        chosen = {**recipe.preset(preset).encoder(name), **settings.get(paper, {})}
        choices[paper] = EncoderChoice(name, file.resolve() if file else None, chosen)
    return choices
