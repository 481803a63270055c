"""Read files of plain text, such as tables and sentences."""

import codecs
from pathlib import Path

from emoclim.errors import ManifestError, reason_of
from emoclim.files import read_regular


def read_text(path: Path, *, old: bool = False) -> str:
    """Read a file in UTF-8, with a byte order mark or without; an `old` one may be in Latin-1 and does not say so."""
    try:
        content = read_regular(path, ManifestError, follow=True)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({reason_of(error)}); make it readable, or name another") from error
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ManifestError(f"{path} begins with the byte order mark of UTF-16; save it in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if old:
            return content.decode("latin-1")
        raise ManifestError(f"{path} cannot be read as text in UTF-8 ({error}); save it so") from error
