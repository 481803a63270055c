"""Say what a search needs to know of the space that it compares items in, and make that of a run. Used by search."""

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

from emoclim.cache import CacheNote
from emoclim.config import Average
from emoclim.data import Features
from emoclim.learning import Heads
from emoclim.modality import Modality
from emoclim.pipeline.library import Library, source_of
from emoclim.pipeline.searching.emotions import fit_emotion_reader
from emoclim.pipeline.searching.libraries import Libraries, Place
from emoclim.pipeline.training.trained_runs import open_run, trained_library, trained_note
from emoclim.pipeline.workspace import Workspace
from emoclim.stages import EmotionReader

log = logging.getLogger(__name__)


class JointSpace(Protocol):
    """Where items of several modalities are compared."""

    @property
    def name(self) -> str:
        """What results call it."""

    @property
    def told(self) -> str:
        """What sentences call it."""

    @property
    def head(self) -> int | None:
        """Number of its pair of heads; None where it is not one of several."""

    @property
    def modalities(self) -> Sequence[Modality]:
        """Those that it joins."""

    def encoding(self, modality: Modality) -> CacheNote:
        """Say how items of a modality are encoded: by the note of a cache, which may be yet to be filled."""

    def notes(self, modality: Modality) -> Sequence[CacheNote]:
        """List the notes of the caches whose features it can compare, the newest first."""

    def library(self, asked: Modality) -> Place:
        """Say where queries of a modality are searched in if no library is named."""

    def heads(self, asked: CacheNote, candidates: Features) -> Heads:
        """Make what compares queries that are encoded as a note says with some candidates."""

    def read(self, features: Features, heads: Heads) -> Sequence[Mapping[str, float] | None]:
        """Read the emotions of each item of some features."""

    def why(self, heads: Heads) -> str | None:
        """Say by what items are compared, where nobody asked for it, and why."""


class RunSpace:
    """The space of the heads of a run."""

    def __init__(
        self, workspace: Workspace, run: str | None, head: int | None, average: Average, libraries: Libraries
    ) -> None:
        self._workspace, self._average, self._libraries = workspace, average, libraries
        self._run = open_run(workspace, run)
        self._heads, self.head = self._run.head(head), self._run.chosen if head is None else head
        self.name, self.modalities = self._run.folder.name, list(self._run.heads.specs)
        self.told = f"run {self.name}"
        if caution := self._run.caution(self.head):
            log.warning(caution)

    def encoding(self, modality: Modality) -> CacheNote:
        """See the protocol."""
        return trained_note(self._workspace, self._run, modality)

    def notes(self, modality: Modality) -> Sequence[CacheNote]:
        """See the protocol."""
        return [self.encoding(modality)]

    def library(self, asked: Modality) -> Place:
        """Name the library of the other modality that the run was trained on."""
        other = min(self.modalities, key=lambda modality: modality == asked)
        note = self.encoding(other)
        return note, source_of(note, self._run.libraries[other]["path"])

    def heads(self, asked: CacheNote, candidates: Features) -> Heads:  # noqa: ARG002 - they are the same for all
        """See the protocol."""
        return self._heads

    def read(self, features: Features, heads: Heads) -> Sequence[Mapping[str, float] | None]:  # noqa: ARG002
        """Read emotions by the items that the run was trained on; none where these are not at hand."""
        return [None] * len(features) if self._reader is None else self._reader.read(features)

    def why(self, heads: Heads) -> None:
        """A run is what is asked for."""

    @cached_property
    def _reader(self) -> EmotionReader | None:
        return fit_emotion_reader(self._run, self._trained_on, self._heads, self._average, self._libraries.keys)

    def _trained_on(self, modality: Modality) -> Library:
        return trained_library(self._workspace, self._run, modality, self._libraries.open)
