"""What an item is, independent of where it lies: a hash of its bytes, and of the part of them that is meant."""

import hashlib
import json
import stat
from pathlib import Path

from emoclim.data.manifest import Item
from emoclim.errors import DecodeError


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
        self._known: dict[str, list[int | str]] = {}
        self._changed = False
        if memo is not None and trust and memo.is_file():
            try:
                self._known = json.loads(memo.read_text(encoding="utf-8"))
            except ValueError:
                self._changed = True  # a memo can always be made again

    def __call__(self, item: Item) -> str:
        """The key of an item.

        Raises
        ------
        DecodeError
            There is no file, or it cannot be read.
        """
        if item.path is None:
            return hashlib.blake2b((item.text or "").encode(), digest_size=16).hexdigest()
        part = "" if item.start is None and item.duration is None else f"@{item.start or 0:g}+{item.duration or 0:g}"
        try:
            return self._hash(item.path) + part
        except FileNotFoundError as error:
            raise DecodeError("the file is missing") from error
        except OSError as error:
            raise DecodeError(f"the file cannot be read ({(error.strerror or str(error)).lower()})") from error

    def _hash(self, path: Path) -> str:
        status, name = path.stat(), str(path.absolute())
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
        self._path.parent.mkdir(parents=True, exist_ok=True)
        aside = self._path.with_suffix(".partial")
        aside.write_text(json.dumps(self._known), encoding="utf-8")
        aside.replace(self._path)
        self._changed = False
