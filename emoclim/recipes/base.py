"""Define what a recipe is made of, and find recipes by name.

Every other file of this folder but ``ablations`` and ``vcmr_presets`` is a paper, called like its file, and states it
as ``RECIPE``; other installed packages offer theirs by the entry points ``emoclim.recipes``. Used by the recipes and by
the pipeline.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from emoclim.config import TrainConfig, closest
from emoclim.data import Plugins
from emoclim.errors import ConfigError
from emoclim.modality import Modality

DEFAULT = "emo_clim"  # the paper whose tables need no paper's name before theirs
RECIPES = Plugins("emoclim.recipes", "paper", ConfigError, beside=frozenset({"base", "ablations", "vcmr_presets"}))


Vectors = Literal["vad", "word_vectors"]


@dataclass(frozen=True, slots=True)
class Data:
    """A manifest that rows are made of, and what the paper's own held."""

    modality: Modality
    dataset: str  # the data set that the paper used
    counted_by: str = ""  # whose count of its labels is the paper's; empty where the split is compared
    split: str = ""  # the published split that the paper used; empty where it made one of its own
    cropped: bool = False  # whether training takes random crops of the items
    seconds: float = 0.0  # length of a recording of the paper's
    n_items: int = 0  # how many the paper had, where it tells no more
    option: str = ""  # with which the data set is prepared, NAME=VALUE
    tagged: bool = False  # whether it is what the measure of tags is of


@dataclass(frozen=True, slots=True)
class Row:
    """What is trained, and then measured, for a line of a table."""

    name: str  # by which it is chosen: "clap-frozen"
    title: str
    step: str  # the command that trains it
    encoders: Mapping[Modality, str]  # the paper's; another may stand in for each
    trained: Modality | None = None  # whose encoder is trained with the heads
    options: Mapping[str, Any] = field(default_factory=dict)  # of the measure; "projection" of a figure
    base: str = ""  # name of the row that it is tested against; by default the first of its table
    training: Mapping[str, Any] = field(default_factory=dict)  # what it changes of the training's settings
    tuning: Mapping[str, Any] = field(default_factory=dict)  # and of those of the encoder's training
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # and of the encoders, by the paper's
    data: Mapping[Modality, str] = field(default_factory=dict)  # names of its data; by default all of its table
    extra: tuple[str, ...] = ()  # names of data that train it in each fold, beside those
    tags: str = "tagging"  # name of the data whose tags are found
    start: str = ""  # name of the row of its table with whose trained encoder it starts
    stage: str = ""  # whose settings it has, of those of a preset; by default the preset's own
    objective: str = ""  # what it is trained for, by default as its recipe says
    own: Mapping[str, Any] = field(default_factory=dict)  # settings of that
    vectors: Vectors | None = None  # what it takes as vectors of labels
    label_map: str = ""  # which labels meet in its training, by default equal ones
    measured_by: tuple[str, ...] = ()  # label maps by which its one run is measured, in turn
    stand_ins: Mapping[str, str] = field(default_factory=dict)  # what encoders that the paper has not stand for
    groups: tuple[str, ...] = ()  # further names that choose it, with others

    @property
    def names(self) -> set[str]:
        """Names that choose it: its own, those of its encoders and those it shares with others."""
        return {self.name, *self.encoders.values(), *self.groups}

    @property
    def crossed(self) -> bool:
        """Whether all its items are trained on and measured, in folds."""
        return self.step == "cross-validate"

    def takes(self, name: str, data: Data) -> bool:
        """Whether data of its table are among its own."""
        if data.tagged:
            return name == self.tags
        own = data.modality in self.encoders and self.data.get(data.modality, name) == name
        return own or name in self.extra

    @property
    def bare(self) -> bool:
        """Whether its numbers are of features, so that no heads have a part in them."""
        return self.options.get("on") == "features"


class Metric(NamedTuple):
    """A column of numbers."""

    name: str  # as the paper heads it
    key: str  # of what is measured: "image_audio P@5", "audio items", "ROC-AUC"; a label map may stand before it
    group: str = ""  # the heading above it


@dataclass(frozen=True, slots=True)
class Line:
    """A line that the paper printed."""

    title: str
    numbers: Sequence[str]  # one for each metric, to the letter
    cells: tuple[str, ...] = ()  # what stands before them
    row: Row | None = None  # how it is made here; None for what only others measured
    further: tuple[Row, ...] = ()  # rows that make the rest of its numbers
    chance: bool = False  # whether it is what a random order of the same candidates gives

    @property
    def rows(self) -> tuple[Row, ...]:
        """All that make it."""
        return ((self.row,) if self.row else ()) + self.further


@dataclass(frozen=True, slots=True)
class Table:
    """A table, or a figure, of the paper."""

    title: str
    source: str  # where it is printed
    # Of rows: "retrieval", "folds", "reasons", "classes", "tagging", "joint_space"; or "labels", "label_maps", "words"
    measure: str
    columns: tuple[str, ...]  # names of the title and of the cells
    metrics: tuple[Metric, ...]
    lines: tuple[Line, ...]
    data: tuple[str, ...]  # names of the data it takes
    remarks: tuple[str, ...] = ()  # what a reader must know who compares numbers with it
    own: bool = False  # whether it is none of the paper's, and shows departures from it

    @property
    def rows(self) -> dict[str, Row]:
        """What is to be made, by name."""
        return {row.name: row for line in self.lines for row in line.rows}

    @property
    def printed(self) -> bool:
        """Whether the paper has it; others are made only if they are named."""
        return any(line.numbers for line in self.lines)


@dataclass(frozen=True, slots=True)
class Preset:
    """Settings of a paper, where they are not the defaults."""

    source: str = "paper"  # whose settings they are, to a reader
    config: Mapping[str, Any] = field(default_factory=dict)  # of a training
    augmentations: Mapping[str, Any] = field(default_factory=dict)  # of a training with its encoder
    encoders: Mapping[str, Mapping[str, int | float | str]] = field(default_factory=dict)  # by encoder
    tagging: Mapping[str, Any] = field(default_factory=dict)  # of an evaluation of tags
    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # settings of objectives, by objective
    tuning: Mapping[str, Any] = field(default_factory=dict)  # of an encoder's training
    files: Mapping[str, str] = field(default_factory=dict)  # by encoder: the source's, where it is not the published
    stages: Mapping[str, "Preset"] = field(default_factory=dict)  # settings of rows that are trained otherwise
    drop_short: bool = False  # whether recordings shorter than the encoder's input are left out
    gaps: Mapping[str, tuple[Row, ...]] = field(
        default_factory=dict
    )  # what is not done as in the source, of which rows
    remarks: tuple[str, ...] = ()  # what a reader must know of numbers with these settings

    @property
    def training(self) -> TrainConfig:
        """All settings of a training."""
        return TrainConfig(**self.config)

    def encoder(self, name: str) -> dict[str, int | float | str]:
        """Return the settings of an encoder."""
        return dict(self.encoders.get(name, {}))


@dataclass(frozen=True, slots=True)
class Recipe:
    """A paper."""

    citation: str
    modalities: tuple[Modality, ...]  # those that it joins, in the order of its tables
    objective: str  # what its rows are trained for
    data: Mapping[str, Data]
    presets: Mapping[str, Preset]  # the first is what the paper says
    tables: Mapping[str, Table]
    imported: Mapping[str, str] = field(default_factory=dict)  # of the encoders, those that are not here: what they are

    def preset(self, name: str) -> Preset:
        """Return settings by name; an unknown one raises :class:`ConfigError`."""
        return _named(name, self.presets)

    @property
    def encoders(self) -> dict[str, Modality]:
        """The paper's encoders, with what they take."""
        rows = (row for table in self.tables.values() for row in table.rows.values())
        return {encoder: modality for row in rows for modality, encoder in row.encoders.items()}


def recipe_names() -> list[str]:
    """List the names of all papers; imports none of them."""
    return RECIPES.names()


def find_recipe(name: str) -> Recipe:
    """Load the recipe of a paper; an unknown name raises :class:`ConfigError`."""
    found: Recipe = RECIPES.load(name).RECIPE
    return found


def find_preset(name: str) -> Preset:
    """Return settings by name, for commands about no paper: ``default``, or those of the default paper."""
    return _named(name, {"default": Preset(), **find_recipe(DEFAULT).presets})


def _named(name: str, presets: Mapping[str, Preset]) -> Preset:
    if name not in presets:
        raise ConfigError(f"there is no preset {name!r}{closest(name, presets)}; there are {', '.join(presets)}")
    return presets[name]


def choose_tables(words: Sequence[str]) -> tuple[Recipe, tuple[str, ...]]:
    """Read ``PAPER TABLE``; a paper alone means all its tables, a table alone that of the default paper."""
    paper, *tables = words if words and words[0] in recipe_names() else (DEFAULT, *words)
    recipe = find_recipe(paper)
    if len(tables) > 1 or any(table not in recipe.tables for table in tables):
        papers, listed = ", ".join(recipe_names()), ", ".join(recipe.tables)
        raise ConfigError(f"{' '.join(words)!r} names no table; the papers are {papers}, and {paper} has {listed}")
    return recipe, tuple(tables or (name for name, table in recipe.tables.items() if table.printed))
