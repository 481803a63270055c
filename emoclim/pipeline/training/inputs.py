"""Load what trainings are made from: labelled libraries, classes, an encoder."""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import torch

from emoclim.data import (
    ContentKeys,
    Item,
    LabelMap,
    Split,
    Taxonomy,
    contents_of,
    partners_of,
    plain_relevance,
    read_plain_relevance,
    values_of,
)
from emoclim.encoders import Encoder
from emoclim.errors import ManifestError
from emoclim.learning import WORDS, Augmenter, Objective
from emoclim.modality import Modality
from emoclim.pipeline.library import Library, called, choose_libraries, labels_of, library_note
from emoclim.pipeline.machine import digest_of
from emoclim.pipeline.splits import (
    WHOLE,
    NumbersOf,
    PairNumbers,
    items_of,
    known_of,
    measured_in,
    numbers_in,
    read_splits,
    taught_items,
)
from emoclim.pipeline.training.config import LabelledConfig
from emoclim.pipeline.training.label_vectors import check_vectors, label_vectors, mean_of_tags, relate
from emoclim.pipeline.workspace import Workspace
from emoclim.stages import LabelledItems

log = logging.getLogger(__name__)

LABEL_MAP, VECTORS, OBJECTIVE = "the label map", "the vectors of classes", "the objective"
CONTENTS, SOUNDS = "the contents of the files", "the background sounds"


@dataclass(frozen=True, slots=True)
class Labelled:
    """Libraries, and the classes of their labels."""

    libraries: Mapping[Modality, Library]
    label_map: LabelMap
    objective: Objective  # with one settings
    vectors: Mapping[str, Any] | None  # of the classes, with the file that they come from
    taxonomy: Taxonomy | None  # where modalities keep labels of their own

    @classmethod
    def of(
        cls, config: LabelledConfig, libraries: Mapping[Modality, Library], known: Mapping[str, Any], **more: Any
    ) -> Self:
        """Read classes and their vectors from their files, or from what a run noted when it began."""
        objective = config.make_objective(tuple(libraries))
        measured = frozenset() if learns_tags(objective) else _numbered(objective, libraries)
        check_vectors(objective, config, libraries.keys() - measured)
        if known:
            noted = known[LABEL_MAP]
            label_map, tables = LabelMap(tuple(noted["classes"]), noted["maps"]), noted.get("relevance")
            taxonomy = tables and Taxonomy.of(label_map, read_plain_relevance(tables), noted["name"])
            return cls(libraries, label_map, objective, known[VECTORS], taxonomy, **more)
        label_map, taxonomy = _classes(config, objective, libraries)
        vectors = label_vectors(config, label_map.classes, _tags(objective, libraries))
        return cls(libraries, label_map, objective, vectors, taxonomy, **more)

    @property
    def ranked(self) -> bool:
        """Whether two modalities have labels, so that one can be ranked by the other."""
        return len([table for table in self.label_map.maps.values() if table]) > 1

    @property
    def noted(self) -> dict[str, Any]:
        """What a plan notes."""
        libraries = {called(modality): library_note(library) for modality, library in self.libraries.items()}
        return {**libraries, LABEL_MAP: self._label_map(), VECTORS: self.vectors, OBJECTIVE: self.objective.name}

    def splits(
        self, workspace: Workspace, cached: Sequence[Modality], names: Sequence[str] = ("train", "val")
    ) -> dict[str, Split]:
        """Read the labelled features of training and validation, or of other splits."""
        keys = workspace.content_keys()
        libraries = {modality: self.libraries[modality] for modality in cached}
        if self.objective.needs:
            numbered = self.numbered()
            splits = read_splits(libraries, self.label_map, names, keys, numbered=numbered, pairs=self.pairs)
        else:  # nothing is learnt: all items of a library say what is usual in it, and none is held back
            whole = read_splits(libraries, self.label_map, (WHOLE,), keys, labelled=False)[WHOLE]
            splits = dict.fromkeys(names, whole)
        keys.save()
        rows = self.vectors and self.vectors["table"]  # none where all items have tags in place of labels
        table = torch.tensor(rows, dtype=torch.float64) if rows else None
        return {name: replace(split, label_vectors=table, taxonomy=self.taxonomy) for name, split in splits.items()}

    @property
    def pairs(self) -> PairNumbers | None:
        """What numbers the items by what they belong to, where that teaches and labels are for ranking only."""
        return PairNumbers(self.libraries.values()) if "pairs" in self.objective.needs else None

    def numbered(self) -> dict[Modality, NumbersOf]:
        """Return the modalities that are trained on numbers of their items, and what these are."""
        tagged = learns_tags(self.objective)
        of = partial(mean_of_tags, self.vectors or {}) if tagged else numbers_in(self.objective.columns)
        return dict.fromkeys(_numbered(self.objective, self.libraries), of)

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
        labels = {name: values_of(one.manifest.items, "label") for name, one in self.libraries.items()}
        return {name: self.label_map.left_out(name, own) for name, own in labels.items()}

    def _label_map(self) -> dict[str, Any]:
        known = {"classes": self.label_map.classes, "maps": self.label_map.maps}
        if (own := self.taxonomy) is None:
            return known
        return known | {"name": own.name, "relevance": plain_relevance(own.relevance)}


def choose_for(
    objective: Objective,
    workspace: Workspace,
    named: Mapping[Modality, str],
    known: Mapping[str, Any],
    live: Collection[Modality] = (),
) -> dict[Modality, Library]:
    """Open the libraries that an objective learns from, as :func:`choose_libraries`; pairs need no labels."""
    every = takes_all(objective)
    return choose_libraries(
        workspace, named, known, live, alone=objective.alone, tagged=learns_tags(objective), every=every
    )


def takes_all(objective: Objective) -> bool:
    """Whether all items are as good to an objective, labelled or not: it takes pairs of them, or them alone."""
    return not objective.needs or "pairs" in objective.needs


def learns_tags(objective: Objective) -> bool:
    """Whether what an objective takes of single items is the vectors of their tags, not valence and arousal."""
    return "targets" in objective.needs and WORDS in objective.vectors_of


def _numbered(objective: Objective, libraries: Mapping[Modality, Library]) -> frozenset[Modality]:
    """Return the modalities that are trained on numbers of their items, or on tags in place of labels."""
    if not objective.needs.intersection(("targets", "numbers")):
        return frozenset()
    if not learns_tags(objective):
        manifests = [library.manifest for library in libraries.values()]
        return measured_in(manifests, objective.columns, every="numbers" in objective.needs)
    labelled = {name for name, labels in labels_of(libraries).items() if labels}
    return frozenset(
        name
        for name, one in libraries.items()
        if name not in labelled and any(item.tags for item in one.manifest.items)
    )


def _tags(objective: Objective, libraries: Mapping[Modality, Library]) -> list[str]:
    """List the tags of the items that are trained on theirs."""
    if not learns_tags(objective):
        return []
    tagged = (libraries[name].manifest.items for name in _numbered(objective, libraries))
    return sorted({tag for items in tagged for item in items for tag in item.tags})


def _classes(
    config: LabelledConfig, objective: Objective, libraries: Mapping[Modality, Library]
) -> tuple[LabelMap, Taxonomy | None]:
    """Read the class of each label; or what is relevant to what, where each label remains a class of its own.

    Where items teach by valence and arousal, by pairs, or not at all, labels are for ranking only, and may lack.
    """
    labels, numbered = labels_of(libraries), _numbered(objective, libraries)
    numbered = frozenset(libraries) if takes_all(objective) else numbered
    named = {modality: own for modality, own in labels.items() if own or modality not in numbered}
    label_map, taxonomy = LabelMap((), {}), None
    try:
        if named:
            label_map, taxonomy = relate(config, named, keep_labels="taxonomy" in objective.needs)
    except ManifestError as error:
        if config.label_map is not None or not numbered.issuperset(libraries):
            raise
        if objective.needs:  # whoever evaluates what learns nothing may bring a label map
            log.warning("nothing will be ranked: %s", error)
    label_map = replace(label_map, maps={modality: label_map.maps.get(modality, {}) for modality in labels})
    return label_map, taxonomy and Taxonomy.of(label_map, taxonomy.relevance, taxonomy.name)


@dataclass(frozen=True)
class EndToEndInputs(Labelled):
    """Libraries and classes, and what is encoded while training."""

    encoders: Mapping[Modality, Encoder]  # of the live modalities
    contents: str  # digest of their files of training and validation
    augmentations: Mapping[str, Any] | None  # settings, and a digest of background sounds; None without any
    augmenters: Mapping[Modality, Augmenter]
    processes: int  # how many train together

    @property
    def cached(self) -> list[Modality]:
        """The modalities whose features stay as they are."""
        return [modality for modality in self.libraries if modality not in self.encoders]

    @property
    def noted(self) -> dict[str, Any]:
        """What a plan notes."""
        notes = {
            called(live): {name: value for name, value in library_note(self.libraries[live]).items() if name != "cache"}
            for live in self.encoders
        }
        return super().noted | {
            **notes,
            **{encoder_of(live): encoder.spec.to_dict() for live, encoder in self.encoders.items()},
            CONTENTS: self.contents,
            SOUNDS: self.augmentations,
            "processes": self.processes,
        }

    def items(self, live: Modality, split: str) -> LabelledItems:
        """Return the items of a split of a live modality with their classes, or what is measured of them."""
        manifest, of = self.libraries[live].manifest, self.numbered().get(live)
        if (pairs := self.pairs) is None:
            items = taught_items(manifest, self.label_map, split, of)
            return LabelledItems(items, *known_of(items, live, self.label_map, of))
        items = items_of(manifest, split)
        labels, _ = known_of(items, live, self.label_map, None)
        return LabelledItems(items, labels, pairs=pairs.of(partners_of(items)))


def encoder_of(modality: Modality) -> str:
    """Name the encoder of a modality as messages do."""
    return f"the {modality} encoder"


def contents_digest(items: Iterable[Item], keys: ContentKeys) -> str:
    """Hash the files of training and validation to 12 hex digits; those that cannot be read are left out."""
    return digest_of(contents_of((item for item in items if item.split in ("train", "val")), keys))
