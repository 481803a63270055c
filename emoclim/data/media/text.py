"""Read files of plain text, such as sentences, whatever they were written with."""

from pathlib import Path

from emoclim.errors import ManifestError, reason_of


def read_text(path: Path) -> str:
    """Read a file in UTF-8, or else in Latin-1: corpora that are older than UTF-8 do not say which it is."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path} cannot be read ({reason_of(error)}); make it readable") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")
