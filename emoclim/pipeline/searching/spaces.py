"""Say what a search needs to know of the space that it compares items in, and make that of a run. Used by search."""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from emoclim.cache import CacheNote
from emoclim.config import Average
from emoclim.data import Features
from emoclim.errors import RunError
from emoclim.files import read_regular
from emoclim.index import load_reader, save_reader
from emoclim.learning import Heads
from emoclim.modality import Modality
from emoclim.pipeline.library import Library, source_of
from emoclim.pipeline.searching.emotions import fit_emotion_reader
from emoclim.pipeline.searching.libraries import Libraries, Place
from emoclim.pipeline.training.trained_runs import open_run, trained_library, trained_note
from emoclim.pipeline.workspace import Workspace, heads_file
from emoclim.stages import EmotionReader, EmotionSource

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

    @property
    def identity(self) -> Mapping[str, Any]:
        """What the vectors of a library's items depend on, beside their features, as plain values."""

    @property
    def fitted(self) -> bool:
        """Whether heads are fitted to each library by itself."""

    def fit(self, note: CacheNote, keys: Sequence[str], read: Callable[[Sequence[str]], Features]) -> Heads:
        """Make what embeds a library, of items of these keys in a cache."""

    def heads(self, asked: CacheNote, own: Heads | None) -> Heads:
        """Make what compares queries that are encoded as a note says with a library, by heads that are its own."""

    def reader(self, folder: Path | None) -> EmotionSource | None:
        """Make what reads emotions, or take what is kept of it beside an index; None where there are none to read."""

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

    fitted = False

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """See the protocol."""
        return {"run": self.name, "heads": heads_digest(self._run.folder), "head": self.head}

    def fit(self, note: CacheNote, keys: Sequence[str], read: Callable[[Sequence[str]], Features]) -> Heads:  # noqa: ARG002
        """Return what was trained."""
        return self._heads

    def heads(self, asked: CacheNote, own: Heads | None) -> Heads:  # noqa: ARG002 - they are the same for all
        """See the protocol."""
        return self._heads

    def why(self, heads: Heads) -> None:
        """A run is what is asked for."""

    def reader(self, folder: Path | None) -> EmotionReader | None:
        """Read emotions by the items that the run was trained on; none where these are not at hand."""
        if folder is not None and (kept := load_reader(folder, self._heads, self._average)):
            return kept
        if folder is not None and self._reader is not None:
            with suppress(OSError):
                save_reader(folder, self._reader)
        return self._reader

    @cached_property
    def _reader(self) -> EmotionReader | None:
        return fit_emotion_reader(self._run, self._trained_on, self._heads, self._average, self._libraries.keys)

    def _trained_on(self, modality: Modality) -> Library:
        return trained_library(self._workspace, self._run, modality, self._libraries.open)


def heads_digest(run: Path) -> str:
    """Hash the heads of a run."""
    return hashlib.sha256(read_regular(heads_file(run), RunError)).hexdigest()[:16]
