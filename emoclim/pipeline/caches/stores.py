"""Stores of decoded recordings in the folder of the caches: which there are, and whether they are whole."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim.cache.checks import name_some, repair_with
from emoclim.cache.waveform_writer import WaveformWriter
from emoclim.cache.waveforms import SUFFIX, read_waveforms
from emoclim.cache.writer import who_writes
from emoclim.errors import CacheError
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent


@dataclass(frozen=True, slots=True)
class StoreState:
    """What one store holds.

    Attributes
    ----------
    path
        Where it lies.
    recordings
        How many it holds.
    size
        Bytes of their samples.
    writer
        Who is writing it; None if nobody is.
    problem
        Why it cannot be read; None if it can.
    """

    path: Path
    recordings: int
    size: int
    writer: str | None
    problem: str | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "name": self.path.name,
            "path": str(self.path),
            "recordings": self.recordings,
            "bytes": self.size,
            "writer": self.writer,
            "problem": self.problem,
        }


@dataclass(frozen=True, slots=True)
class StoreVerification:
    """What one `emoclim cache verify` found of a store.

    Attributes
    ----------
    path
        Which.
    recordings
        How many it holds, with the damaged ones.
    damaged
        Content keys of those whose samples are not what was written.
    problem
        Why it cannot be read, or that its last commit is lost; None if all is well.
    repaired
        Whether the damaged ones are left out now.
    """

    path: Path
    recordings: int
    damaged: tuple[str, ...]
    problem: str | None
    repaired: bool = False

    @property
    def sound(self) -> bool:
        """Whether the store may be trusted."""
        return not (self.damaged or self.problem)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "cache": str(self.path),
            "sound": self.sound,
            "recordings": self.recordings,
            "damaged": list(self.damaged),
            "problem": self.problem,
            "repaired": self.repaired,
        }

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        lines = [self.problem] if self.problem else []
        if self.damaged:
            remedy = "they are left out now" if self.repaired else f"leave them out with: {repair_with(self.path)}"
            lines.append(
                f"{self.path} is damaged: the samples of {len(self.damaged)} recordings are not what was written "
                f"({name_some(self.damaged)}); {remedy}, and train-end-to-end --store decodes them again"
            )
        told = f"{self.path} is sound: all {self.recordings} recordings were read and are what was written"
        return lines or [told]


def list_stores(workspace: Workspace) -> tuple[StoreState, ...]:
    """Describe all stores of a workspace; one that cannot be read is told, and stops nothing."""
    return tuple(map(_state, _stores(workspace)))


def find_store(workspace: Workspace, name: str) -> Path | None:
    """The store with that path or name, with or without its suffix; None if there is none."""
    if (path := Path(name)).suffix == SUFFIX and path.is_dir():
        return path
    return next((path for path in _stores(workspace) if name in (path.name, path.stem)), None)


def verify_store(path: Path, *, repair: bool = False, track: Track = silent) -> StoreVerification:
    """Read all of a store.

    Parameters
    ----------
    path
        The folder.
    repair
        Leave out what is damaged, so that it is decoded again.
    track
        Shows progress.

    Raises
    ------
    CacheError
        It is to be repaired, and is being written, or cannot be written.
    """
    try:
        held = read_waveforms(path)
    except CacheError as error:
        return StoreVerification(path, 0, (), str(error))
    waveforms = held.waveforms({key: key for key in held.entries})
    damaged = tuple(key for key in track(list(waveforms), description="verify") if not waveforms[key].is_sound())
    lost = f"the last commit of {path} cannot be read; what is missing is decoded again" if held.lost_end else None
    if repair and (damaged or lost):
        with WaveformWriter(path, held.spec) as writer:
            if damaged:
                writer.leave_out(damaged)
    return StoreVerification(path, len(held.entries), damaged, lost, repair and bool(damaged or lost))


def _stores(workspace: Workspace) -> list[Path]:
    return sorted(path for path in workspace.caches.glob(f"*{SUFFIX}") if path.is_dir())


def _state(path: Path) -> StoreState:
    writer = who_writes(path)
    told = None if writer is None else str(writer)
    try:
        held = read_waveforms(path)
    except CacheError as error:
        return StoreState(path, 0, 0, told, str(error))
    return StoreState(path, len(held.entries), held.n_bytes, told, None)
