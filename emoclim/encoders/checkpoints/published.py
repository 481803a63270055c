"""Find, download and verify published files of parameters.

Convention: files lie in the folder ``checkpoints`` of ``EMOCLIM_HOME``, or else of ``emoclim`` in the user's cache; a
file appears there whole and verified or not at all.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from emoclim.encoders.checkpoints.download import download, file_hash, has_hash
from emoclim.errors import CheckpointError
from emoclim.progress import Track


@dataclass(frozen=True, slots=True)
class Published:
    """A file of parameters that somebody published."""

    file: str
    url: str
    hash: str | None  # `"sha256:<hex>"` or `"git-blob:<hex>"`, possibly only the first digits; None if not known
    licence: str
    trained_on: tuple[str, ...]  # the data sets that its parameters have seen


def location(published: Published) -> Path:
    """Return where a published file lies on this machine, or would lie."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("EMOCLIM_HOME") or cache / "emoclim")
    return home / "checkpoints" / published.file


def obtain(published: Published, *, track: Track, instead: str = "") -> Path:
    """Find a published file on this machine; download and verify it if need be.

    A download that broke off goes on where it stopped. Where nobody states a hash, the first download's sha256 is
    written to ``<file>.sha256``, and this file and later downloads are held to it. An error goes on with what may be
    done `instead`.
    """
    path = location(published)
    record = path.with_name(f"{path.name}.sha256")
    expected = published.hash
    if (
        expected is None
        and record.is_file()
        and (words := record.read_text(encoding="utf-8", errors="replace").split())
    ):
        expected = f"sha256:{words[0]}"
    if path.is_file():
        if expected is not None and not has_hash(path, expected):
            raise CheckpointError(f"{path} is not {_described(published, expected, record)}; remove it and run again")
        return path
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        download(published.url, part, track=track)
    except OSError as error:
        reason = str(error).removeprefix("<urlopen error ").removesuffix(">")
        raise CheckpointError(
            f"cannot download {published.url} ({reason}); try again, or put the file at {path}{instead}"
        ) from error
    if expected is None:
        record.write_text(f"{file_hash(part)}  {path.name}\n", encoding="utf-8")
    elif not has_hash(part, expected):
        part.unlink()
        what = _described(published, expected, record)
        raise CheckpointError(f"what was downloaded is not {what}, and was deleted; run again")
    part.replace(path)
    return path


def _described(published: Published, expected: str, record: Path) -> str:
    """Say which file is expected, and where its hash is known from."""
    known = "" if published.hash else f", as the first download was: delete {record} if that one was wrong"
    return f"the file of {published.url} ({expected}{known})"


def identity(path: Path) -> str:
    """Return ``"<file name>@<first 12 hex of its sha256>"``."""
    require_file(path)
    return f"{path.name}@{file_hash(path)[:12]}"


def require_file(path: Path) -> None:
    """Raise :class:`CheckpointError` unless a checkpoint is there."""
    if not path.is_file():
        fault = f"{path} is no regular file" if path.exists() else f"no checkpoint at {path}"
        raise CheckpointError(f"{fault}; name a file that exists")
