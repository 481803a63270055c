"""Open training runs, find the caches their heads take, and say how to make those that lack.

A run is a folder: ``heads.safetensors``, the heads that were kept; ``settings.json``, all they depend on and what
training found (the same seed gives the same bytes); ``history.json``, ``.parquet`` and ``.png``, the losses;
``sweep.csv``, ``.parquet`` and ``.png``, one line for each candidate; ``run.json``, time, command line and versions;
``evaluation/<split>/``, what was measured since. ``unfinished/`` is there while it is trained. A run that trained an
encoder too has it in ``encoder.safetensors``; one of several has ``encoder-<modality>.safetensors``. Where there are no
heads, as after pretraining, ``features.safetensors`` stands for the features as they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NotRequired

from typing_extensions import TypedDict

from emoclim.cache import CacheNote, located
from emoclim.data import LabelMap, Setting
from emoclim.errors import CacheError, RunError, name_some
from emoclim.files import read_json
from emoclim.learning import Heads, load_heads
from emoclim.modality import Modality
from emoclim.pipeline.find_caches import cache_notes, encoding_command
from emoclim.pipeline.library import Library, OpenLibrary, open_library, source_of
from emoclim.pipeline.run import SCHEMA
from emoclim.pipeline.training.label_vectors import told_of
from emoclim.pipeline.workspace import Workspace, heads_file

ENCODER_FILE = "encoder.safetensors"


class _LabelMap(TypedDict):
    classes: list[str]
    maps: dict[Modality, dict[str, str | None]]


class _Library(TypedDict):
    path: str
    digest: str


class _Head(TypedDict):
    candidate: int
    loss_weights: list[float]


class RunSettings(TypedDict):
    """What is read of ``settings.json``."""

    libraries: dict[Modality, _Library]
    label_map: _LabelMap
    heads: list[_Head]
    kept: list[int]
    chosen: int
    encoder_settings: NotRequired[dict[Modality, dict[str, bool | int | float | str]]]
    label_vectors: NotRequired[dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Run:
    """A training run."""

    folder: Path
    heads: Heads
    label_map: LabelMap  # classes they were trained for
    kept: Sequence[int]  # numbers of the candidates that they are, in the same order
    chosen: int  # number of the one that did best on validation
    libraries: Mapping[Modality, _Library]  # path of each manifest, and a digest of what it said at the time
    encoder_settings: Mapping[Modality, Mapping[str, Setting]]  # with which the encoders that it trained were loaded
    loss_weights: Mapping[int, Sequence[float]]  # by number of each candidate that was trained
    label_vectors: Sequence[Sequence[float]]  # of the classes, where they were given
    substitute: str | None  # what the vectors of classes are a substitute of, in words; None where they are none

    def head(self, number: int | None = None) -> Heads:
        """Return the pair of a candidate, as a bank of one; None takes the one that did best on validation."""
        wanted = self.chosen if number is None else number
        if wanted not in self.kept:
            raise RunError(f"run {self.folder.name} keeps no head {wanted}; it keeps {name_some(map(str, self.kept))}")
        return self.heads.select(self.kept.index(wanted))

    def caution(self, number: int) -> str | None:
        """Say so if the losses of a head never compared the modalities with each other."""
        weights = self.loss_weights[number]
        if self.heads.objective.aligns(weights):
            return None
        told = f"{', '.join(f'{weight:g}' for weight in weights)} of {self.heads.objective.name}"
        return (
            f"head {number} of run {self.folder.name} was trained with loss weights {told}, "
            f"which never compare {' with '.join(self.heads.specs)}: how it ranks one by the other is luck"
        )


def open_run(workspace: Workspace, name: str | None) -> Run:
    """Read a run by name or path; the newest for None."""
    folder = workspace.run(name)
    file, advice = folder / "settings.json", "train again"
    if read_json(file, RunError, advice).get("schema") != SCHEMA:
        raise RunError(f"run {folder.name} is of another version of emoclim; train again")
    settings = read_json(file, RunError, advice, RunSettings)
    run = Run(
        folder=folder,
        heads=load_heads(heads_file(folder)),
        label_map=LabelMap(tuple(settings["label_map"]["classes"]), settings["label_map"]["maps"]),
        kept=settings["kept"],
        chosen=settings["chosen"],
        libraries=settings["libraries"],
        encoder_settings=settings.get("encoder_settings", {}),
        loss_weights={head["candidate"]: head["loss_weights"] for head in settings["heads"]},
        label_vectors=(settings.get("label_vectors") or {}).get("table", []),
        substitute=told_of(settings.get("label_vectors")),
    )
    if not _agrees(run):
        raise RunError(f"{file} contradicts itself or {heads_file(folder)}; {advice}")
    return run


def _agrees(run: Run) -> bool:
    """Tell whether what settings say fits together, and fits the heads."""
    maps = run.label_map.maps
    named = {name for labels in maps.values() for name in labels.values()} - {None}
    known = run.libraries.keys() <= maps.keys() and named <= set(run.label_map.classes)
    return known and len(run.kept) == run.heads.n_heads and run.loss_weights.keys() >= {run.chosen, *run.kept}


def trained_note(workspace: Workspace, run: Run, modality: Modality) -> CacheNote:
    """Find the note of the cache with the features that a run's heads take."""
    spec = run.heads.specs[modality]
    for note in cache_notes(workspace, modality):
        if note.spec == spec:
            return note
    file, advice = run.folder / spec.checkpoint.rpartition("@")[0], "extract them again"
    if modality in run.libraries and modality in run.encoder_settings and file.is_file():
        manifest = located(run.libraries[modality]["path"], workspace.caches)
        command = encoding_command(workspace, modality, manifest, spec.name, file, run.encoder_settings[modality])
        advice = f"make them with: {command}"
    raise CacheError(
        f"run {run.folder.name} takes {modality} features {spec.name} ({spec.digest()}), and {workspace.caches} has "
        f"none; {advice}"
    )


def trained_library(workspace: Workspace, run: Run, modality: Modality, opened: OpenLibrary = open_library) -> Library:
    """Open the library that a run was trained on."""
    note = trained_note(workspace, run, modality)
    return opened(note, source_of(note, run.libraries[modality]["path"]))
