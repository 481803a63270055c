"""Read texts of people, in whatever code they are kept, and tell what is odd about them.

Used by encoders of text, by content keys and by pages. Convention: a text is what a reader sees of it: its letters are
composed (Unicode's NFC), its lines end in one way, and no space is before or after it. However it is kept, it is one.
"""

import codecs
import re
from pathlib import Path

from emoclim.data.items.item import Item
from emoclim.data.listing import composed
from emoclim.data.media.checks import Remark, file_errors, file_of, stat_file
from emoclim.data.media.text import unmarked
from emoclim.errors import DecodeError
from emoclim.files import read_regular
from emoclim.modality import MODALITIES, WRITTEN

MARKS = (  # the longer before those that begin as they do
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
OTHERS = {
    b"%PDF": "a PDF file",
    b"{\\rtf": "an RTF file",
    b"PK\3\4": "a Word, OpenDocument or zip file",
    b"\xd0\xcf\x11\xe0": "an old Word file",
    b"\x1f\x8b": "packed by gzip",
}
MARKUP = re.compile(rb"\s*<(!doctype|!--|\?xml|html|head|body|div|p|svg)\b", re.IGNORECASE)
LINE_END = re.compile("\r\n?|[\v\f\x85\u2028]")
PARAGRAPH_END = "\u2029"
CONTROL = re.compile("[\0-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
OLD_CODE = "cp1252"  # of Windows in the west, which holds Latin-1's letters
BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
UTF8_LETTER = re.compile(rb"[\xc3-\xf4][\x80-\xbf]+")
MOST_ACCENTS = 0.5  # of letters; of French, less than a tenth have accents, of Greek in a code of its own, all do
READ_OLD = "are in no Unicode and were read as Windows-1252; save them in UTF-8 if that is wrong"


def read_prose(item: Item) -> tuple[str, tuple[Remark, ...]]:
    """Return the text of an item as a reader sees it, and what is odd about how it is kept.

    Raises
    ------
    DecodeError
        There is nothing to read, or it is no text.

    Examples
    --------
    >>> read_prose(Item("1", text=" A sunny day "))
    ('A sunny day', ())
    """
    if item.path is None:
        text, remarks = item.text or "", tuple[Remark, ...]()
    else:
        text, remarks = _decoded(read_bytes(file_of(item)))
    if found := CONTROL.search(text):
        raise DecodeError(
            f"the text holds the control character U+{ord(found[0]):04X}, as binary files and damaged texts do; "
            "remove it, or fetch the text again"
        )
    if not (text := as_seen(text)):
        raise DecodeError("the text is empty; write something, or leave it out")
    return text, remarks


def as_seen(text: str) -> str:
    """Bring a text to the one form of all that look the same."""
    return composed(LINE_END.sub("\n", text).replace(PARAGRAPH_END, "\n\n"))


def is_text(item: Item) -> bool:
    """Whether an item is a text, which it holds itself or in a file that is called like one."""
    return item.path is None or item.path.suffix.lower() in MODALITIES[WRITTEN].suffixes


def read_bytes(path: Path) -> bytes:
    """Read the whole file of a text."""
    stat_file(path)
    with file_errors():
        return read_regular(path, DecodeError, follow=True)


def _decoded(content: bytes) -> tuple[str, tuple[Remark, ...]]:
    kind = next((what for beginning, what in OTHERS.items() if content.startswith(beginning)), None)
    if kind or MARKUP.match(content.removeprefix(codecs.BOM_UTF8)):
        raise DecodeError(f"this is {kind or 'a web page or other markup'}, no plain text; save it as text in UTF-8")
    if wide := unmarked(content):
        raise DecodeError(f"the text is {wide}")
    code = next((code for mark, code in MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(code), ()
    except UnicodeDecodeError as error:
        if code != "utf-8":
            raise DecodeError(
                f"the file begins as {code} does, and is damaged ({error.reason}); save it again"
            ) from error
        return _decoded_old(content, error), (Remark(READ_OLD),)


def _decoded_old(content: bytes, fault: UnicodeDecodeError) -> str:
    """Decode a text of Windows; refuse what is more likely damaged UTF-8, or in a code of another script."""
    beyond = len(BEYOND_ASCII.findall(content))
    if 2 * sum(map(len, UTF8_LETTER.findall(content))) > beyond:
        raise DecodeError(f"the text is damaged UTF-8 (byte {fault.start}: {fault.reason}); save or fetch it again")
    try:
        text = content.decode(OLD_CODE)
    except UnicodeDecodeError as error:
        raise DecodeError("the file is no text in UTF-8 or Windows-1252; save it as text in UTF-8") from error
    letters = list(filter(str.isalpha, text))
    if sum(not letter.isascii() for letter in letters) > MOST_ACCENTS * len(letters):
        raise DecodeError("the text is in an old code of another script than Latin; save it in UTF-8")
    return text
