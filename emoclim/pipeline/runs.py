"""Training runs on disk.

A run is a folder: ``heads.safetensors``, the heads; ``settings.json``, all they depend on and what training found
(the same seed gives the same bytes); ``history.json`` and ``history.png``, the losses; ``run.json``, time, command line
and versions; ``evaluation/<split>/``, what was measured since.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim.data.manifest import Modality
from emoclim.data.taxonomy import LabelMap
from emoclim.errors import CacheError, RunError
from emoclim.heads import Heads, load_heads
from emoclim.pipeline.libraries import CacheNote, Library, notes, open_library
from emoclim.pipeline.workspace import HEADS_FILE, Workspace, read_json


@dataclass(frozen=True, slots=True)
class Run:
    """A training run.

    Attributes
    ----------
    folder
        Where it lies.
    heads
        All K pairs of heads.
    label_map
        Classes they were trained for.
    chosen
        Index of the pair that did best on validation.
    sources
        Path of the manifest of each modality.
    digests
        What each of them said when the run was trained.
    """

    folder: Path
    heads: Heads
    label_map: LabelMap
    chosen: int
    sources: Mapping[Modality, str]
    digests: Mapping[Modality, str]

    def chosen_heads(self) -> Heads:
        """The pair that did best on validation, as a bank of one."""
        return self.heads.select(self.chosen)


def open_run(workspace: Workspace, name: str | None) -> Run:
    """Read a run by name or path; the newest for None.

    Raises
    ------
    RunError
        There is none, or it cannot be read.
    """
    folder = workspace.run(name)
    settings = read_json(folder / "settings.json", RunError, "train again")
    try:
        libraries: dict[Modality, dict[str, Any]] = settings["libraries"]
        return Run(
            folder,
            load_heads(folder / HEADS_FILE),
            LabelMap(tuple(settings["label_map"]["classes"]), settings["label_map"]["maps"]),
            settings["chosen"],
            {modality: library["path"] for modality, library in libraries.items()},
            {modality: library["digest"] for modality, library in libraries.items()},
        )
    except (KeyError, TypeError) as error:
        raise RunError(f"{folder / 'settings.json'} is of another kind ({error}); train again") from error


def trained_note(workspace: Workspace, run: Run, modality: Modality) -> CacheNote:
    """The note of the cache with the features that a run's heads take.

    Raises
    ------
    CacheError
        The workspace has no such cache.
    """
    spec = run.heads.specs[modality]
    for note in notes(workspace, modality):
        if note.spec == spec:
            return note
    raise CacheError(
        f"run {run.folder.name} takes {modality} features {spec.name} ({spec.digest()}), and {workspace.caches} has "
        "none; extract them again"
    )


def trained_library(workspace: Workspace, run: Run, modality: Modality) -> Library:
    """The library that a run was trained on.

    Raises
    ------
    CacheError
        Its cache is gone, or never saw its manifest.
    """
    note = trained_note(workspace, run, modality)
    for source in note.sources:
        if source.path == run.sources[modality]:
            return open_library(note, source)
    raise CacheError(f"{run.sources[modality]} was not extracted into {note.path}; extract it again")
