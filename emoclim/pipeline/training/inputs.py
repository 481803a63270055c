"""Load what every training is made from: labelled libraries and the classes of their labels. Used by the steps here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field

from emoclim.config import RunConfig
from emoclim.data import (
    ContentKeys,
    LabelMap,
    Split,
    class_vectors,
    match_labels,
    read_label_map,
    read_valence_arousal,
)
from emoclim.encoders import file_hash
from emoclim.errors import ConfigError
from emoclim.learning import Objective, load_objective
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.library import Library, called, labels_of, library_note, read_splits
from emoclim.pipeline.workspace import Workspace

LABEL_MAP, VECTORS, OBJECTIVE = "the label map", "the vectors of classes", "the objective"
BY_DEFAULT = {False: "emo_clim", True: "class_similarity"}  # by whether a table of valence and arousal is given
ANY = tuple(MODALITIES)[:2]  # any two tell which settings and weights are possible

File = Annotated[Path, Field(strict=False)]
Weights = Annotated[tuple[float, ...], Field(strict=False)]


class LabelledConfig(RunConfig):
    """The settings that every training has."""

    NOTED: ClassVar[frozenset[str]] = frozenset({"libraries", "vad", "label_map"})

    libraries: dict[Modality, str] = Field(
        default={}, description="By modality, the name of a cache: an encoder's or a manifest's"
    )
    vad: File | None = Field(default=None, description="Table word,valence,arousal: similar emotions attract a little")
    objective: str | None = Field(default=None, description="Objective to train for, by name")
    own: dict[str, Any] = Field(default={}, description="Settings of the objective, by name")
    label_map: File | None = Field(default=None, description="TOML file or published map: classes of the labels")

    def make_objective(self, modalities: Sequence[Modality] = ANY) -> Objective:
        """Make the objective, with one settings; by default it follows from whether similar emotions attract."""
        kind = load_objective(self.objective or BY_DEFAULT[self.vad is not None])
        return kind(modalities, [kind.Settings(**self.own)])


@dataclass(frozen=True, slots=True)
class Labelled:
    """Libraries, and the classes of their labels."""

    libraries: Mapping[Modality, Library]
    label_map: LabelMap
    objective: Objective  # with one settings
    vectors: Mapping[str, Any] | None  # of the classes, with the file that they come from

    @classmethod
    def of(cls, config: LabelledConfig, libraries: Mapping[Modality, Library], known: Mapping[str, Any]) -> Self:
        """Read classes and their vectors from their files, or from what a run noted when it began."""
        objective = config.make_objective(tuple(libraries))
        _check_vectors(objective, config.vad is not None)
        if known:
            noted = known[LABEL_MAP]
            return cls(libraries, LabelMap(tuple(noted["classes"]), noted["maps"]), objective, known[VECTORS])
        labels = labels_of(libraries)
        label_map = read_label_map(config.label_map, labels) if config.label_map else match_labels(labels)
        vectors = None if config.vad is None else _vectors(config.vad, label_map)
        return cls(libraries, label_map, objective, vectors)

    @property
    def noted(self) -> dict[str, Any]:
        """What a plan notes."""
        libraries = {called(modality): library_note(library) for modality, library in self.libraries.items()}
        return {**libraries, LABEL_MAP: self._label_map(), VECTORS: self.vectors, OBJECTIVE: self.objective.name}

    def splits(self, workspace: Workspace, cached: Sequence[Modality]) -> dict[str, Split]:
        """Read the labelled features of training and validation."""
        keys = ContentKeys(workspace.caches / "content.json")
        libraries = {modality: self.libraries[modality] for modality in cached}
        splits = read_splits(libraries, self.label_map, ("train", "val"), keys)
        keys.save()
        if self.vectors is None:
            return splits
        table = torch.tensor(self.vectors["table"], dtype=torch.float64)
        return {name: replace(split, label_vectors=table) for name, split in splits.items()}

    def settings(self) -> dict[str, Any]:
        """Return what settings.json tells of them."""
        return {
            "libraries": {modality: library_note(library) for modality, library in self.libraries.items()},
            "label_map": self._label_map(),
            "features": {modality: library.note.spec.to_dict() for modality, library in self.libraries.items()},
            "left_out": self.left_out(),
            "objective": self.objective.name,
            "terms": list(self.objective.terms),
            "label_vectors": self.vectors,
        }

    def left_out(self) -> dict[Modality, dict[str, int]]:
        """Count the items of each label without a class, by modality."""
        return {
            modality: self.label_map.left_out(modality, (item.label for item in library.manifest.items))
            for modality, library in self.libraries.items()
        }

    def _label_map(self) -> dict[str, Any]:
        return {"classes": self.label_map.classes, "maps": self.label_map.maps}


def _check_vectors(objective: Objective, given: bool) -> None:
    needed = "label_vectors" in objective.needs
    if needed and not given:
        raise ConfigError(f"objective {objective.name} needs valence and arousal of each class; give --vad a table")
    if given and not needed:
        raise ConfigError(f"--vad would have no effect on objective {objective.name}; leave one of the two out")


def _vectors(file: Path, label_map: LabelMap) -> dict[str, Any]:
    table = class_vectors(label_map.classes, read_valence_arousal(file))
    return {"file": file.name, "sha256": file_hash(file), "table": table.tolist()}
