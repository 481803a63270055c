"""What an item is, independent of where it lies: a hash of its bytes, and of the part of them that is meant."""

import hashlib
import json
import logging
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from emoclim.data.manifest import Item
from emoclim.errors import DecodeError, PassingError, reason_of

log = logging.getLogger(__name__)


class Fingerprint(NamedTuple):
    """Of a file: its size in bytes, when it was changed in nanoseconds, and a hash of its bytes."""

    size: int
    changed: int
    digest: str


def hash_bytes(path: Path) -> str:
    """32 hex digits (BLAKE2b-128) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def read_fingerprint(item: Item) -> Fingerprint:
    """Read the file of an item for what it is."""
    path = _file_of(item)
    try:
        status = _status(path)
        return Fingerprint(status.st_size, status.st_mtime_ns, hash_bytes(path))
    except OSError as error:
        raise _unreadable(error) from error


def require_unchanged(item: Item, fingerprint: Fingerprint) -> None:
    """Make sure that the file of an item still has the size and the time of change that it had."""
    try:
        status = _status(_file_of(item))
    except OSError as error:
        raise _unreadable(error) from error
    if (status.st_size, status.st_mtime_ns) != (fingerprint.size, fingerprint.changed):
        raise PassingError("the file changed while it was read; run again when it is whole")


def content_key(item: Item, fingerprint: Fingerprint) -> str:
    """The key of an item whose file has that fingerprint."""
    whole = item.start is None and item.duration is None
    return fingerprint.digest + ("" if whole else f"@{float(item.start or 0)!r}+{item.duration!r}")


def contents_of(items: Iterable[Item], keys: Callable[[Item], str]) -> dict[str, str]:
    """What items contain, by id, as keys that are the same for equal content; what cannot be read is left out."""
    found = {}
    for item in items:
        with suppress(DecodeError):
            found[item.id] = keys(item)
    return found


class ContentKeys:
    """Content keys of items, with a memo of (path, size, modification time) that spares rereading files."""

    def __init__(self, memo: Path | None = None, *, trust: bool = True) -> None:
        self._path = memo
        self._here = Path.cwd()
        self._known: dict[str, list[int | str]] = {}
        self._changed = False
        if memo is not None and trust and memo.is_file():
            self._known = _read_memo(memo)

    def __call__(self, item: Item) -> str:
        """The key of an item."""
        known = self.known(item)
        return self.learn(item, read_fingerprint(item)) if known is None else known

    def known(self, item: Item) -> str | None:
        """The key of an item, if that can be told without reading its file."""
        if item.path is None and item.text is not None:
            return hashlib.blake2b(item.text.encode(), digest_size=16).hexdigest()
        fingerprint = self.fingerprint(item)
        return None if fingerprint is None else content_key(item, fingerprint)

    def fingerprint(self, item: Item) -> Fingerprint | None:
        """What the file of an item is, if it is as it was when it was read; raise as :meth:`known` does."""
        name = self._name(item)
        try:
            status = _status(name)
        except OSError as error:
            raise _unreadable(error) from error
        entry = self._known.get(name)
        if entry is None or entry[:2] != [status.st_size, status.st_mtime_ns]:
            return None
        return Fingerprint(status.st_size, status.st_mtime_ns, str(entry[2]))

    def learn(self, item: Item, fingerprint: Fingerprint) -> str:
        """Note what was read of the file of an item, here or in another process; return its key."""
        self._known[self._name(item)] = list(fingerprint)
        self._changed = True
        return content_key(item, fingerprint)

    def _name(self, item: Item) -> str:
        return os.path.join(self._here, _file_of(item))  # noqa: PTH118 - a quarter of the time of Path.absolute

    def save(self) -> None:
        """Write the memo, if there is anything new in it."""
        if self._path is None or not self._changed:
            return
        known = _read_memo(self._path) | self._known  # other processes may have learnt more meanwhile
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}.partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(known), encoding="utf-8")
            aside.replace(self._path)
        except OSError as error:
            log.warning("the memo %s cannot be kept (%s); files will be read again", self._path, reason_of(error))
        self._changed = False


def _status(path: Path | str) -> os.stat_result:
    status = os.stat(path)  # noqa: PTH116
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError("this is a folder, a pipe or a device, not a file")
    return status


def _file_of(item: Item) -> Path:
    if item.path is None:
        raise DecodeError("the item names no file; give it a path in the manifest")
    return item.path


def _unreadable(error: OSError) -> PassingError:
    if isinstance(error, FileNotFoundError):
        return PassingError("the file is missing")
    return PassingError(f"the file cannot be read ({reason_of(error).lower()})")


def _read_memo(path: Path) -> dict[str, list[int | str]]:
    """What a memo holds; nothing where it is spoilt, for it can always be made again."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {name: entry for name, entry in known.items() if isinstance(entry, list) and len(entry) == 3}
