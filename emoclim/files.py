"""Write files whole or not at all, and read what others may have written. Used by every room.

Invariants: a reader never sees half a file; only regular files are opened, for others may never answer; and no more
memory is taken for a file than its size warrants, see :func:`require_memory`.
"""

import csv
import errno
import glob
import io
import json
import math
import os
import re
import secrets
import shutil
import stat
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from emoclim.errors import ConfigError, EmoclimError, reason_of

T = TypeVar("T")
LONGEST_NAME = 200  # bytes of a file's name in that of its partial file; file systems take 255 in all
PARTIAL = ".partial"  # suffix of what is being written
MEMORY_LIMIT = "EMOCLIM_MEMORY_LIMIT"  # environment variable: GB that any file may take, however small it is
DEFAULT_LIMIT = 0.25  # GB
EXPANSION = 16  # times its size that a file may take, however large that is
GB = 10**9
MAX_DEPTH = 100  # of tables within tables
OF_UNION = re.compile(r"[a-z-]+\[.*\]$")  # how pydantic names one of several types, which says nothing to users
# A spreadsheet runs a cell that begins with one of these signs, where no apostrophe stands before it
FORMULA = re.compile(r"'*[=+@\t\r-]")
PROCESS = re.compile(r"\.(\d+)(?:\.[0-9a-f]{8})?\.partial")


@contextmanager
def atomic(path: Path, partial: Path | None = None) -> Iterator[Path]:
    """Yield a free name beside `path`; what is written there, a file or a folder, is renamed to `path` at the end.

    Whoever holds a lock on `path` may name the `partial` file, so that the next holder finds what a kill left.

    A file replaces the one that was there; a folder takes the place of an empty one only. After an error nothing is
    left of it. A kill leaves at most a hidden ``.<name>.<process>.<random>.partial``, which no reader takes for `path`.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "scores.txt"
    >>> with atomic(target) as partial:
    ...     _ = partial.write_text("1")
    >>> target.read_text()
    '1'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial or partial_beside(path)
    try:
        yield partial
        _sync(partial)
        partial.replace(path)
        sync_name(path.parent)
    finally:
        with suppress(OSError):  # the error that is on its way tells more
            remove(partial)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there; what cannot be removed raises OSError."""
    while path.is_dir() and not path.is_symlink():
        with suppress(FileNotFoundError):  # another process removes it as well
            shutil.rmtree(path)
    path.unlink(missing_ok=True)


def partial_beside(path: Path) -> Path:
    """A hidden name beside `path` that nobody else takes, for what shall be renamed to it."""
    return path.with_name(f"{_hidden(path)}.{os.getpid()}.{secrets.token_hex(4)}{PARTIAL}")


def partials_beside(path: Path) -> list[Path]:
    """List what :func:`partial_beside` named for `path`, for processes that are at work or were killed."""
    name = _hidden(path)
    there = path.parent.glob(f"{glob.escape(name)}.*{PARTIAL}")
    return [partial for partial in there if PROCESS.fullmatch(partial.name[len(name) :])]


def _hidden(path: Path) -> str:
    return "." + os.fsdecode(os.fsencode(path.name)[:LONGEST_NAME])


def process_of(partial: Path) -> int | None:
    """The process that wrote a partial file or folder, as its name says; None if it does not."""
    found = PROCESS.search(partial.name)
    return int(found[1]) if found else None


def open_regular(path: Path, *, follow: bool = True) -> BufferedReader:
    """Open a file to read; a pipe, a socket or a device raises OSError at once, where `open` might wait for ever.

    Do not `follow` links to our own files: another user may have placed them.
    """
    return os.fdopen(regular_handle(path, os.O_RDONLY, follow=follow), "rb")


def regular_handle(path: Path, flags: int, *, follow: bool) -> int:
    """Open a file as :func:`open_regular` does, with flags of `os.open`."""
    if not follow and path.is_symlink():
        raise OSError(errno.ELOOP, "it is a link, which is not followed", str(path))
    flags |= 0 if follow else getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def read_regular(path: Path, error: type[EmoclimError], *, follow: bool = False) -> bytes:
    """Read all of a file, as :func:`open_regular` opens it."""
    with open_regular(path, follow=follow) as file:
        require_memory(path, os.fstat(file.fileno()).st_size, error)  # it may be of holes
        return file.read()


def require_regular(path: Path) -> None:
    """Raise OSError where `path` is no regular file, for libraries that open it by its name."""
    open_regular(path).close()


def require_memory(path: Path, needed: int, error: type[EmoclimError]) -> None:
    """Raise `error` where reading a file takes `needed` bytes, which is out of all proportion to its size.

    Call it with what the file declares before any memory is taken: a small file may say that it holds anything.
    `path` may be a folder, whose files count together.
    """
    if needed <= memory_limit():
        return
    size = sum(_bytes_on_disk(file) for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    if needed > EXPANSION * size:
        raise error(
            f"{path} of {size:,} bytes says that it holds {needed / GB:.3g} GB, and is damaged or meant to fill the "
            f"memory; if you trust it, set {MEMORY_LIMIT}={math.ceil(needed / GB)} (GB) and run again"
        )


def _bytes_on_disk(file: Path) -> int:
    """Count the bytes of a file without its holes, where the system tells."""
    status = file.stat()
    return min(status.st_size, 512 * getattr(status, "st_blocks", status.st_size))


def memory_limit() -> float:
    """Return how many bytes any file may take in memory, however small it is: what the user says, or 250 MB."""
    said = os.environ.get(MEMORY_LIMIT, "") or str(DEFAULT_LIMIT)
    try:
        limit = float(said)
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise ConfigError(f"{MEMORY_LIMIT}={said} is not possible; give a number of GB, as in {MEMORY_LIMIT}=8")
    return limit * GB


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all."""
    with atomic(path) as partial:
        partial.write_bytes(content)


def csv_bytes(rows: Iterable[Iterable[object]], errors: str = "strict") -> bytes:
    """Make the bytes of a CSV file; `errors` says what becomes of text that is no UTF-8."""
    stream = io.StringIO(newline="")
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode(errors=errors)


def shielded(text: str) -> str:
    """Put an apostrophe before a cell that a spreadsheet would run, or that begins with one before such."""
    return f"'{text}" if FORMULA.match(text) else text


def parquet_bytes(table: Any) -> bytes:
    """Make the bytes of a Parquet file of a table of pyarrow, or of a dict of columns by name."""
    import pyarrow
    from pyarrow import parquet

    stream = io.BytesIO()
    parquet.write_table(pyarrow.table(table), stream, write_page_checksum=True)
    return stream.getvalue()


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, whole or not at all; NaN and infinity raise ValueError, since they are not JSON."""
    write_bytes(path, (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path, error: type[EmoclimError], advice: str, schema: type[T] = dict[str, Any]) -> T:  # type: ignore[assignment]
    """Read a JSON file of ours as `schema`, a type that pydantic validates."""
    return _read(path, TypeAdapter(schema).validate_json, error, advice, follow=False)


def read_toml(path: Path, error: type[EmoclimError], advice: str, schema: type[T]) -> T:
    """Read a TOML file of the user's as `schema`, a type that pydantic validates."""
    validate = TypeAdapter(schema).validate_python
    return _read(path, lambda content: validate(_parse_toml(content)), error, advice, follow=True)


def _parse_toml(content: bytes) -> dict[str, Any]:
    found = tomllib.loads(content.decode("utf-8-sig"))
    level: list[Any] = [found]
    for _ in range(MAX_DEPTH):  # dotted keys are parsed however deep they are, and whatever reads them recurses
        inner = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list)]
        level = [value for values in inner for value in values]
    if level:
        raise RecursionError("it is nested too deeply")
    return found


def _read(path: Path, parse: Callable[[bytes], T], error: type[EmoclimError], advice: str, *, follow: bool) -> T:
    try:
        return parse(read_regular(path, error, follow=follow))
    except OSError as cause:
        raise error(f"{path} cannot be read ({reason_of(cause)}); {advice}") from cause
    except ValidationError as cause:
        raise error(f"{path} is damaged: {first_fault(cause)}; {advice}") from cause
    except (ValueError, RecursionError) as cause:
        raise error(f"{path} cannot be read ({cause}); {advice}") from cause


def first_fault(error: ValidationError) -> str:
    """Say what pydantic found first, and where."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = (str(part) for part in first["loc"])
    return ": ".join(filter(None, [".".join(part for part in place if not OF_UNION.match(part)), first["msg"]]))


def _sync(path: Path) -> None:
    """Bring a file, or a folder and all that is below it, to the disk."""
    for place in (path, *path.rglob("*")) if path.is_dir() else (path,):
        sync_name(place)


def sync_name(path: Path) -> None:
    """Bring one file, or the names that a folder holds, to the disk."""
    if os.name == "nt" and path.is_dir():
        return  # Windows opens no folders, and has no need to
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
