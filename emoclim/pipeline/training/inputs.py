"""Load what every training is made from: labelled libraries and the classes of their labels. Used by the steps here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

import torch
from pydantic import Field
from torch import Tensor

from emoclim.data import (
    ContentKeys,
    LabelMap,
    Split,
    class_similarity,
    match_labels,
    read_label_map,
    read_valence_arousal,
)
from emoclim.encoders import file_hash
from emoclim.learning import Terms
from emoclim.modality import Modality
from emoclim.pipeline.library import Library, called, labels_of, library_note, read_splits
from emoclim.pipeline.run import RunConfig
from emoclim.pipeline.workspace import Workspace

LABEL_MAP, SIMILARITY = "the label map", "the similarity of classes"
EVEN = (0.25, 0.25, 0.25, 0.25)

File = Annotated[Path, Field(strict=False)]
Weights = Annotated[tuple[float, ...], Field(strict=False)]


class LabelledConfig(RunConfig):
    """What every training asks for."""

    NOTED: ClassVar[frozenset[str]] = frozenset({"libraries", "vad", "vad_width", "label_map"})

    libraries: dict[Modality, str] = Field(
        default={}, description="By modality, the name of a cache: an encoder's or a manifest's"
    )
    vad: File | None = Field(default=None, description="Table word,valence,arousal: similar emotions attract a little")
    vad_width: float = Field(default=0.05, gt=0, description="Distance at which that has fallen to 0.6")
    label_map: File | None = Field(default=None, description="TOML file or published map: classes of the labels")


@dataclass(frozen=True, slots=True)
class Labelled:
    """Libraries, and the classes of their labels."""

    libraries: Mapping[Modality, Library]
    label_map: LabelMap
    # of the classes, with the file and the width that it comes from; None for the papers' loss
    similarity: Mapping[str, Any] | None

    @classmethod
    def of(cls, config: LabelledConfig, libraries: Mapping[Modality, Library], known: Mapping[str, Any]) -> Self:
        """Read classes and similarities from their files, or from what a run noted when it began."""
        if known:
            noted = known[LABEL_MAP]
            return cls(libraries, LabelMap(tuple(noted["classes"]), noted["maps"]), known[SIMILARITY])
        labels = labels_of(libraries)
        label_map = read_label_map(config.label_map, labels) if config.label_map else match_labels(labels)
        similarity = None if config.vad is None else _similarity(config.vad, config.vad_width, label_map)
        return cls(libraries, label_map, similarity)

    @property
    def noted(self) -> dict[str, Any]:
        """What a plan notes."""
        libraries = {called(modality): library_note(library) for modality, library in self.libraries.items()}
        return {**libraries, LABEL_MAP: self._label_map(), SIMILARITY: self.similarity}

    @property
    def terms(self) -> Terms:
        """(anchor, contrast) of each term of the loss."""
        one, other = self.libraries
        return (one, other), (other, one), (one, one), (other, other)

    def table(self) -> Tensor | None:
        """Similarity of the classes, ``(C, C)``."""
        return torch.tensor(self.similarity["table"]) if self.similarity else None

    def splits(self, workspace: Workspace, cached: Sequence[Modality]) -> dict[str, Split]:
        """Read the labelled features of training and validation."""
        keys = ContentKeys(workspace.caches / "content.json")
        libraries = {modality: self.libraries[modality] for modality in cached}
        splits = read_splits(libraries, self.label_map, ("train", "val"), keys)
        keys.save()
        return splits

    def settings(self) -> dict[str, Any]:
        """What settings.json tells of them."""
        return {
            "libraries": {modality: library_note(library) for modality, library in self.libraries.items()},
            "label_map": self._label_map(),
            "features": {modality: library.note.spec.to_dict() for modality, library in self.libraries.items()},
            "left_out": self.left_out(),
            "terms": [list(term) for term in self.terms],
            "similarity": self.similarity,
        }

    def left_out(self) -> dict[Modality, dict[str, int]]:
        """By modality, how many items of each label have no class."""
        return {
            modality: self.label_map.left_out(modality, (item.label for item in library.manifest.items))
            for modality, library in self.libraries.items()
        }

    def _label_map(self) -> dict[str, Any]:
        return {"classes": self.label_map.classes, "maps": self.label_map.maps}


def _similarity(file: Path, width: float, label_map: LabelMap) -> dict[str, Any]:
    table = class_similarity(label_map.classes, read_valence_arousal(file), width)
    return {"file": file.name, "sha256": file_hash(file), "width": width, "table": table.tolist()}
