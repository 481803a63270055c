"""Know what an item is, wherever it lies: by a hash of its bytes, and of the part of them that is meant.

Of a text it is one of what a reader sees, so that it is the same in any code, in a file or in a table.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from emoclim.data.items.item import Item
from emoclim.data.items.known_files import ContentMemo, Fingerprint
from emoclim.data.items.remote import is_remote, name_of
from emoclim.data.media.checks import file_errors, file_of, stat_file
from emoclim.data.media.prose import as_seen, is_text, read_prose
from emoclim.errors import DecodeError, PassingError
from emoclim.files import open_regular


def hash_bytes(path: Path) -> str:
    """Return 32 hex digits (BLAKE2b-128) of a file's bytes."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def hash_text(text: str) -> str:
    """Return 32 hex digits of a text as a reader sees it, however it is kept."""
    return hashlib.blake2b(as_seen(text).encode(errors="surrogatepass"), digest_size=16).hexdigest()


def read_fingerprint(item: Item) -> Fingerprint:
    """Read the file of an item for what it is."""
    path = file_of(item)
    status = stat_file(path)
    with file_errors():
        return Fingerprint(status.st_size, status.st_mtime_ns, _digest(item, path))


def _digest(item: Item, path: Path) -> str:
    """Hash what a file says, if it is one of text that can be read, or its bytes."""
    if is_text(item):
        with suppress(DecodeError):
            return hash_text(read_prose(item)[0])
    return hash_bytes(path)


def require_unchanged(item: Item, fingerprint: Fingerprint) -> None:
    """Make sure that the file of an item still has the size and the time of change that it had."""
    status = stat_file(file_of(item))
    if (status.st_size, status.st_mtime_ns) != (fingerprint.size, fingerprint.changed):
        raise PassingError("the file changed while it was read; run again when it is whole")


def content_key(item: Item, fingerprint: Fingerprint) -> str:
    """Return the key of an item: its file's hash, and the part of the file that is meant."""
    whole = item.start is None and item.duration is None
    return fingerprint.digest + ("" if whole else f"@{float(item.start or 0)!r}+{item.duration!r}")


def contents_of(items: Iterable[Item], keys: Callable[[Item], str]) -> dict[str, str]:
    """Compute the content key of each item, by id; leave out what cannot be read."""
    found = {}
    for item in items:
        with suppress(DecodeError):
            found[item.id] = keys(item)
    return found


class ContentKeys:
    """Content keys of items, with a memo of (path, size, modification time) that spares rereading files.

    Examples
    --------
    >>> joy, again = Item("a", text="I was glad"), Item("b", text="I was glad")
    >>> keys = ContentKeys()
    >>> keys(joy) == keys(again)
    True
    """

    def __init__(self, memo: Path | None = None, *, trust: bool = True) -> None:
        self._memo = ContentMemo(memo, trust=trust)
        self._here = Path.cwd()

    def __call__(self, item: Item) -> str:
        """Return the key of an item; what lies on another machine is not fetched for it."""
        if (known := self.known(item)) is not None:
            return known
        if is_remote(file_of(item)):
            raise PassingError("it lies on another machine, and was not fetched yet; extract it")
        return self.learn(item, read_fingerprint(item))

    def known(self, item: Item) -> str | None:
        """Return the key of an item, if that can be told without reading its file."""
        if item.path is None and item.text is not None:
            return hash_text(item.text)
        fingerprint = self.fingerprint(item)
        return None if fingerprint is None else content_key(item, fingerprint)

    def fingerprint(self, item: Item) -> Fingerprint | None:
        """Return what the file of an item is, if it is as it was when it was read."""
        name = self._name(item)
        if is_remote(name):
            return self._memo.get(name)  # of an address it is believed that it gives what it gave
        status, known = stat_file(name), self._memo.get(name)
        return known if known and known[:2] == (status.st_size, status.st_mtime_ns) else None

    def learn(self, item: Item, fingerprint: Fingerprint) -> str:
        """Note what was read of the file of an item, here or in another process; return its key."""
        self._memo.put(self._name(item), fingerprint)
        return content_key(item, fingerprint)

    def _name(self, item: Item) -> str:
        path = file_of(item)
        if is_remote(path):
            return name_of(path)
        return os.path.join(self._here, path)  # noqa: PTH118 - a quarter of the time of Path.absolute

    def save(self) -> None:
        """Write the memo, if there is anything new in it."""
        self._memo.save()
