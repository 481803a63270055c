"""Keep what is known of files, by their absolute paths, in one SQLite file beside caches. Used by content keys.

Invariant: it can always be made again. What is spoilt, of others or not to be written is no reason to stop; what lies
there is replaced, never followed; and one that is large is asked file by file, never read whole.
"""

import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter

from emoclim.errors import CacheError, reason_of
from emoclim.files import read_regular, remove, require_regular

log = logging.getLogger(__name__)

READ_WHOLE = 100_000  # files known, up to which reading all of them costs less than asking for each
LARGEST = 1 << 63  # numbers of a column are below it
WAIT_SECONDS = 30.0  # for another process that writes
TABLE = "CREATE TABLE IF NOT EXISTS files (name BLOB PRIMARY KEY, size INT, changed INT, digest TEXT) WITHOUT ROWID"
# what the system refuses, after which nothing is wrong with the file itself
REFUSED = {
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}


class Fingerprint(NamedTuple):
    """Of a file: its size in bytes, when it was changed in nanoseconds, and a hash of its bytes."""

    size: int
    changed: int
    digest: str


JSON = TypeAdapter(dict[str, Fingerprint])  # what earlier versions kept, by the absolute path of a file


class ContentMemo:
    """What is known of files, some of it new and kept by :meth:`save`; without a path, nothing lasts."""

    def __init__(self, path: Path | None = None, *, trust: bool = True) -> None:
        self._path, self._trust = path, trust
        self._known: dict[str, Fingerprint] = {}
        self._new: dict[str, Fingerprint] = {}
        self._asked: sqlite3.Connection | None = None  # where it is too large to be read whole
        self._begun = False

    def __getstate__(self) -> dict[str, object]:
        """Leave out the connection, which another process must not use."""
        return vars(self) | {"_asked": None, "_begun": False}

    def get(self, name: str) -> Fingerprint | None:
        """Return what is known of a file."""
        if not self._begun:
            self._begin()
        if (known := self._known.get(name)) is not None or self._asked is None:
            return known
        try:
            asked = self._asked.execute("SELECT size, changed, digest FROM files WHERE name = ?", [os.fsencode(name)])
            return next(map(_sound, asked), None)
        except sqlite3.Error:
            return None

    def put(self, name: str, fingerprint: Fingerprint) -> None:
        """Note what is known of a file now."""
        self._known[name] = self._new[name] = fingerprint
        if len(self._new) > READ_WHOLE:
            self.save()

    def save(self) -> None:
        """Write what is new, beside what other processes learnt meanwhile."""
        if self._path is None or not self._new:
            return
        new = self._new if os.path.lexists(self._path) else _read_json(_json_of(self._path)) | self._new
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            _write(self._path, [(os.fsencode(name), *known) for name, known in new.items() if _fits(known)])
        except (OSError, sqlite3.Error) as error:
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            log.warning("the memo %s cannot be kept (%s); files will be read again", self._path, reason)
        else:
            with suppress(OSError):  # whoever keeps it from being deleted keeps what is known already
                _json_of(self._path).unlink(missing_ok=True)
            if self._asked is not None:
                self._known.clear()
            elif self._trust and len(self._known) > READ_WHOLE:
                self._known, self._begun = {}, False  # from now on it is asked file by file
        self._new.clear()

    def _begin(self) -> None:
        """Read what is kept, or as much of it as is worth it."""
        self._begun = True
        if self._path is None or not self._trust:
            return
        if not os.path.lexists(self._path):
            self._known = _read_json(_json_of(self._path)) | self._known
            return
        with suppress(OSError, sqlite3.Error), _opened(self._path, "rw") as memo:
            count = memo.execute("SELECT count(*) FROM (SELECT 1 FROM files LIMIT ?)", [READ_WHOLE + 1]).fetchone()
            if count[0] > READ_WHOLE:
                self._asked = sqlite3.connect(_address(self._path, "rw"), uri=True, check_same_thread=False)
                return
            rows = memo.execute("SELECT size, changed, digest, name FROM files")
            found = {os.fsdecode(row[3]): known for row in rows if (known := _sound(row)) is not None}
            self._known = found | self._known


def _fits(known: Fingerprint) -> bool:
    """Tell whether SQLite holds the numbers, as it does not the time of a file that is dated beyond the year 2262."""
    return all(-LARGEST <= number < LARGEST for number in (known.size, known.changed))


def _write(path: Path, rows: Iterable[tuple[object, ...]]) -> None:
    """Write rows in one transaction; begin anew where what is there is none of ours."""
    if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
        remove(path)
    for last in (False, True):
        try:
            with _opened(path, "rwc") as memo:
                memo.execute(TABLE)
                memo.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)
                memo.commit()
            return
        except sqlite3.Error as error:
            if last or error.sqlite_errorcode & 0xFF in REFUSED:
                raise
            remove(path)


@contextmanager
def _opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    """Open for writing even to read: what a killed writer left half done is then taken back first."""
    if path.is_symlink():
        raise OSError(f"{path} is a link, which is not followed")
    if mode == "rw":
        require_regular(path)
    with closing(sqlite3.connect(_address(path, mode), uri=True, timeout=WAIT_SECONDS)) as memo:
        yield memo


def _address(path: Path, mode: str) -> str:
    return f"{path.absolute().as_uri()}?mode={mode}"


def _sound(row: tuple[object, ...]) -> Fingerprint | None:
    """Return the fingerprint that a row begins with, if it is one."""
    match row[:3]:
        case int(size), int(changed), str(digest):
            return Fingerprint(size, changed, digest)
    return None


def _json_of(path: Path) -> Path:
    """Where earlier versions kept it."""
    return path.with_suffix(".json")


def _read_json(path: Path) -> dict[str, Fingerprint]:
    try:
        return JSON.validate_json(read_regular(path, CacheError))
    except (OSError, ValueError, CacheError):
        return {}
