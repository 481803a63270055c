"""Read files of plain text, such as tables and sentences."""

import codecs
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from emoclim.errors import ManifestError, reason_of
from emoclim.files import read_regular

LINE_END = re.compile("\r\n?|\n")
NO_TEXT = re.compile("[\0\x1a]")
SAVE = "; save it in UTF-8"
BEGINNINGS = {
    codecs.BOM_UTF32_LE: f"in UTF-32{SAVE}",  # which begins as UTF-16 does
    codecs.BOM_UTF32_BE: f"in UTF-32{SAVE}",
    codecs.BOM_UTF16_LE: f"in UTF-16{SAVE}",
    codecs.BOM_UTF16_BE: f"in UTF-16{SAVE}",
    b"PK\3\4": "a zip or Excel file; unpack it, or save it as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel file; save it as CSV",
    b"PAR1": "a Parquet file; name it so (.parquet)",
    b"\x1f\x8b": "packed by gzip; unpack it",
    b"%PDF": "a PDF file; save it as CSV",
}
NULLS = {  # which of the first bytes are not null, in text without a byte order mark
    b"\1\0\1\0": f"in UTF-16{SAVE}",
    b"\0\1\0\1": f"in UTF-16{SAVE}",
    b"\1\0\0\0": f"in UTF-32{SAVE}",
    b"\0\0\0\1": f"in UTF-32{SAVE}",
}
ENDING = re.compile(r"\.[^\W\d]\w{0,4}$")  # of the name of a file


def read_text(path: Path, *, old: bool = False) -> str:
    """Read a file in UTF-8, with a byte order mark or without; an `old` one may be in Latin-1 and does not say so."""
    try:
        content = read_regular(path, ManifestError, follow=True)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({reason_of(error)}); make it readable, or name another") from error
    if foreign := _foreign(content):
        raise ManifestError(f"{path} is no text in UTF-8 but {foreign}")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if not old:
            raise ManifestError(f"{path} cannot be read as text in UTF-8 ({error}); save it so") from error
        text = content.decode("latin-1")
    if found := NO_TEXT.search(text):
        row = 1 + sum(1 for _ in LINE_END.finditer(text, 0, found.start()))
        what = "null characters" if found[0] == "\0" else "an end-of-file mark (Ctrl-Z)"
        raise ManifestError(f"row {row} of {path} holds {what}, as damaged files do; remove them or fetch it again")
    return text


def _foreign(content: bytes) -> str:
    """Say what a file is that is no text in UTF-8, and what to do; nothing if it may be one."""
    found = [what for beginning, what in BEGINNINGS.items() if content.startswith(beginning)]
    return (found or [unmarked(content)])[0]


def unmarked(content: bytes) -> str:
    """Say that a text is in UTF-16 or UTF-32 without a byte order mark, by its nulls, and what to do; or nothing."""
    return NULLS.get(bytes(map(bool, content[:4])), "")


def swallowed_rows(
    folder: Path, columns: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]], delimiter: str
) -> Iterator[tuple[int, str]]:
    """Yield the row and column of each cell that seems to hold the rest of its row, rows, and part of another.

    Its last line leads to its own column, and its first ends a row or one between is whole; or, since any row may be
    blank or lack cells, one of its lines names a file, as the rows of the table do.
    """
    width = len(columns)
    kinds = [Counter(_kind_of_name(row[place]) for _, row in rows if place < len(row)) for place in range(width)]
    path = max(range(width), key=lambda place: kinds[place].total() - kinds[place][None], default=0)

    def names_file(line: str, place: int) -> bool:
        cells = line.split(delimiter)
        name = cells[path].strip().strip('"') if path < len(cells) else ""
        if len(cells) == 1 and place == path:
            return False  # a path may have a line end in it
        alike = (kind := _kind_of_name(name)) is not None and len(cells) > 1 and kind in kinds[path]
        return alike or os.path.isfile(folder / name)  # noqa: PTH113 - Path.is_file raises for a name that is too long

    for number, row in rows:
        for place, cell in enumerate(row[:width]):
            if "\n" in cell or "\r" in cell:
                first, *lines = LINE_END.split(cell)
                counts = [line.count(delimiter) for line in lines]
                ends = first.count(delimiter) == width - 1 - place or width - 1 in counts[:-1]
                if (ends and counts[-1] == place) or any(names_file(line, place) for line in lines):
                    yield number, columns[place]


def _kind_of_name(path: str) -> tuple[str, bool] | None:
    """Tell names of files from other text: how one ends, and whether there are spaces in it; None if it is none."""
    path = path.strip()
    ending = ENDING.search(path)
    return (ending[0].lower(), " " in path) if ending else None
