"""What an item is, independent of where it lies: a hash of its bytes, and of the part of them that is meant."""

import hashlib
import json
import logging
import os
import stat
from pathlib import Path

from emoclim.data.manifest import Item
from emoclim.errors import DecodeError

log = logging.getLogger(__name__)


def hash_bytes(path: Path) -> str:
    """32 hex digits (BLAKE2b-128) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


class ContentKeys:
    """Content keys of items, with a memo of (path, size, modification time) that spares rereading files.

    Parameters
    ----------
    memo
        JSON file of the memo; None keeps it in memory.
    trust
        False rereads every file.
    """

    def __init__(self, memo: Path | None = None, *, trust: bool = True) -> None:
        self._path = memo
        self._here = Path.cwd()
        self._known: dict[str, list[int | str]] = {}
        self._changed = False
        if memo is not None and trust and memo.is_file():
            self._known = _read_memo(memo)

    def __call__(self, item: Item) -> str:
        """The key of an item.

        Raises
        ------
        DecodeError
            There is no file, or it cannot be read.
        """
        if item.path is None:
            return hashlib.blake2b((item.text or "").encode(), digest_size=16).hexdigest()
        whole = item.start is None and item.duration is None
        part = "" if whole else f"@{float(item.start or 0)!r}+{item.duration!r}"
        try:
            return self._hash(item.path) + part
        except FileNotFoundError as error:
            raise DecodeError("the file is missing") from error
        except OSError as error:
            raise DecodeError(f"the file cannot be read ({(error.strerror or str(error)).lower()})") from error

    def _hash(self, path: Path) -> str:
        name = os.path.join(self._here, path)  # noqa: PTH118 - a quarter of the time of Path.absolute
        status = os.stat(name)  # noqa: PTH116
        if not stat.S_ISREG(status.st_mode):
            raise DecodeError("this is a folder, a pipe or a device, not a file")
        known = self._known.get(name)
        if known is not None and known[:2] == [status.st_size, status.st_mtime_ns]:
            return str(known[2])
        digest = hash_bytes(path)
        self._known[name] = [status.st_size, status.st_mtime_ns, digest]
        self._changed = True
        return digest

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
            log.warning("the memo %s cannot be kept (%s); files will be read again", self._path, error.strerror)
        self._changed = False


def _read_memo(path: Path) -> dict[str, list[int | str]]:
    """What a memo holds; nothing where it is spoilt, for it can always be made again."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {name: entry for name, entry in known.items() if isinstance(entry, list) and len(entry) == 3}
