"""Read the tables of items beside a cache, in rows or, where they may be very long, in columns."""

import csv
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, NamedTuple, get_args

from emoclim.errors import CacheError
from emoclim.files import FORMULA, open_regular, require_memory

if TYPE_CHECKING:
    from emoclim.data import Texts  # loads numpy, which listing what there is does without

State = Literal["committed", "failed", "missing", "left out"]
STATES: tuple[State, ...] = get_args(State)
FIELDS = ("id", "state", "key", "reason")
ROWS = 4096  # that are Python objects at once
BLOCK = 1 << 20  # bytes that are columns at once
ODD = (b'"', b"'", b"\\", b"\r", b"\0")  # signs with a meaning, of which lines are read row by row
ESCAPED = re.compile(r"(\\+)(x[0-9a-f]{2})")


class Statuses(NamedTuple):
    """What some rows of a table say."""

    ids: "Texts"
    states: "Texts"
    keys: "Texts"


def status_rows(path: Path) -> Iterator[list[list[str]]]:
    """Yield the rows of a table, some at once; raise :class:`CacheError` for a file that is none."""
    with _opened(path) as file:
        yield from _rows(path, file, begun=False)


def status_columns(path: Path) -> Iterator[Statuses]:
    """Yield the rows of a table as :func:`status_rows` does, many at once and without an object of each."""
    from emoclim.data import Texts

    with _opened(path) as file:
        plain = file.readline() == b"%b\n" % ",".join(FIELDS).encode()
        if not plain:
            file.seek(0)
        while plain and (raw := file.read(BLOCK) + file.readline()):
            if (found := _columns(raw)) is None:
                file.seek(-len(raw), os.SEEK_CUR)
                break
            yield found
        for some in _rows(path, file, begun=plain):
            yield Statuses(*map(Texts.of, list(zip(*some, strict=True))[:3]))


def _columns(raw: bytes) -> Statuses | None:
    """Cut whole lines into columns; None where it takes a closer look at them."""
    import numpy as np

    from emoclim.data import Texts

    signs = np.frombuffer(raw, np.uint8)
    ends = np.flatnonzero((signs == ord(",")) | (signs == ord("\n")))
    rows = len(ends) // len(FIELDS)
    if any(sign in raw for sign in ODD):
        return None
    raw.decode()  # which tells of what is no text
    at_end = signs[ends] == ord("\n")
    if len(ends) != rows * len(FIELDS) or not at_end[len(FIELDS) - 1 :: len(FIELDS)].all() or at_end.sum() != rows:
        return None
    cells = Texts.cut(signs, ends)
    columns = Statuses(*(cells.take(np.arange(field, len(ends), len(FIELDS))) for field in range(3)))
    return columns if sum(int(columns.states.are(state).sum()) for state in STATES) == rows else None


def _rows(path: Path, file: IO[bytes], *, begun: bool) -> Iterator[list[list[str]]]:
    with io.TextIOWrapper(file, "utf-8", newline="") as lines:
        rows = csv.reader(lines)
        sound = begun or next(rows, None) == list(FIELDS)
        while sound and (some := list(islice(rows, ROWS))):
            text = "".join(chain.from_iterable(some))
            some = [list(map(_plain, row)) for row in some] if "'" in text or "\\x" in text else some
            if sound := all(len(row) == len(FIELDS) and row[1] in STATES for row in some):
                yield some
    if not sound:
        raise CacheError(f"{path} is no table of items; extract again to write it anew")


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with open_regular(path, follow=False) as file:
            require_memory(path, os.fstat(file.fileno()).st_size, CacheError)  # a line may be as long as the file
            yield file
    except (OSError, ValueError, csv.Error) as error:
        raise CacheError(f"{path} cannot be read as a table of items ({error}); extract again") from error


def _plain(cell: str) -> str:
    """Take from a cell what keeps spreadsheets and terminals from obeying it."""
    text = cell[1:] if cell.startswith("'") and FORMULA.match(cell) else cell
    return ESCAPED.sub(_unescape, text) if "\\x" in text else text


def _unescape(found: re.Match[str]) -> str:
    half, odd = divmod(len(found[1]), 2)
    return "\\" * half + (chr(int(found[2][1:], 16)) if odd else found[2])
