"""Compare items by words of emotions, where no run is there or none is wanted: nothing is trained. Used by search."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from emoclim.cache import CacheNote
from emoclim.config import Average
from emoclim.data import Features, FeatureSpec, Setting
from emoclim.encoders import load_encoder, wordy_encoders
from emoclim.errors import ConfigError, ManifestError
from emoclim.learning import Heads, heads_without_labels, make_objective
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.encoders import choose_preset
from emoclim.pipeline.find_caches import cache_notes, when_noted
from emoclim.pipeline.searching.libraries import Place
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track
from emoclim.stages import WordReader

FITTED_TO = 65_536  # items of a library, evenly spread, that say what is usual there; of more they say the same


class WordSpace:
    """The space of words of emotions, or of another objective that places items by words and learns nothing."""

    name, told, head = "words", "a comparison by words", None

    def __init__(
        self,
        workspace: Workspace,
        settings: Mapping[str, Setting],
        average: Average,
        track: Track,
        objective: str = "words",
    ) -> None:
        self._objective = objective
        self._workspace, self._settings, self._average, self._track = workspace, settings, average, track
        self._preset = choose_preset()
        self.modalities = list(self._preset.encoders)
        make_objective(objective, self.modalities, [settings])  # tells what is wrong before anything is encoded
        self._notes: dict[Modality, CacheNote] = {}

    def encoding(self, modality: Modality) -> CacheNote:
        """Name the encoder of the preset."""
        if modality not in self._preset.encoders:
            raise ConfigError(
                f"no encoder of the preset {self._preset.name!r} takes {modality}, so it is not compared by "
                f"{self._objective}; extract it with one that has words (see: emoclim encoders)"
            )
        if modality not in self._notes:
            spec = load_encoder(self._preset.encoders[modality], track=self._track).spec
            new = CacheNote(self._workspace.cache_path(spec, ".h5"), spec, None, {})
            self._notes[modality] = next((note for note in self.notes(modality) if note.spec == spec), new)
        return self._notes[modality]

    def notes(self, modality: Modality) -> Sequence[CacheNote]:
        """List those of encoders whose features can be compared with words."""
        wordy = wordy_encoders()
        return [note for note in cache_notes(self._workspace, modality) if note.spec.name in wordy]

    def library(self, asked: Modality) -> Place:
        """Name the newest that was extracted of another modality, or else the first manifest of the workspace."""
        others = [modality for modality in self.modalities if modality != asked]
        notes = [note for modality in others for note in self.notes(modality) if note.sources]
        if notes:
            newest = max(notes, key=lambda note: when_noted(note.path))
            return newest, newest.sources[-1]
        others.sort(key=lambda modality: not MODALITIES[modality].timed)  # recordings first
        for modality in others:
            try:
                path = self._workspace.manifest(modality)
            except ManifestError:
                continue
            return self.encoding(modality), path
        folder = self._workspace.root / "data" / MODALITIES[others[0]].folder
        raise ManifestError(f"there is nothing to search in: {folder} is not there; name a folder with --in")

    fitted = True

    @property
    def identity(self) -> Mapping[str, Any]:
        """See the protocol."""
        (settings,) = make_objective(self._objective, self.modalities, [self._settings]).settings
        return {"objective": self._objective, "settings": settings.model_dump(mode="json")}

    def fit(self, note: CacheNote, keys: Sequence[str], read: Callable[[Sequence[str]], Features]) -> Heads:
        """Standardise words over the library, or as many of its items as tell the same."""
        return self._without_labels({note.spec.modality: read(keys[:: -(-len(keys) // FITTED_TO)])})

    def heads(self, asked: CacheNote, own: Heads | None) -> Heads:
        """Standardise words for queries of another modality over what stands in for a library."""
        assert own is not None
        (modality,) = own.specs
        return (
            own
            if asked.spec.modality == modality
            else self._without_labels({asked.spec.modality: asked.spec, modality: own})
        )

    def reader(self, folder: Path | None) -> WordReader | None:  # noqa: ARG002 - it depends on nothing
        """Take the profile of each item, which is the square of what it is compared by."""
        return WordReader(make_objective(self._objective, self.modalities, [self._settings]).choice("words"))

    def _without_labels(self, given: Mapping[Modality, FeatureSpec | Features | Heads]) -> Heads:
        return heads_without_labels(make_objective(self._objective, tuple(given), [self._settings]), given)

    def why(self, heads: Heads) -> str:
        """See the protocol."""
        names = sorted({spec.name for spec in heads.specs.values()})  # in one order, so that it is told once
        encoders = " and ".join(names)
        kept = " and ".join(name for name in names if name not in self._preset.encoders.values())
        reason = self._preset.reason + (f"; {kept} as there were such features" if kept else "")
        begin = "By words" if self._workspace.trained else "No run in this workspace: compared by words"
        return f"{begin} of emotions, with {encoders} ({reason})"
