"""Read files of word vectors: in word2vec's text or binary form, or GloVe's, each also packed by gzip.

Invariants: all of a file is read, or it is refused by the line or the word; no more memory is taken than its size
warrants.
"""

import codecs
import gzip
import io
import re
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoclim.encoders.checkpoints.published import require_file
from emoclim.errors import CheckpointError, reason_of
from emoclim.files import open_regular, require_memory

Stream = io.BufferedReader | gzip.GzipFile
Row = tuple[bytes, bytes | list[bytes]]  # a word, and its numbers in binary, or written out

GZIP = b"\x1f\x8b"
HEADER = re.compile(rb"(\d{1,12})[ \t]+(\d{1,6})\s*")
TEXT = re.compile(rb"[^\0-\x08\x0b\x0c\x0e-\x1f\x7f]*")
PEEKED = 512  # bytes after the header, by which text is told from binary
LONGEST_LINE, LONGEST_WORD = 2**20, 2**12  # bytes
CHECKED = 4096  # words between two checks of memory


def read_word_vectors(path: Path) -> tuple[list[str], NDArray[np.float32]]:
    r"""Read a file of word vectors; which of the forms it has is told by its content.

    Parameters
    ----------
    path
        In word2vec's text or binary form (a line ``<words> <numbers of each>`` first) or GloVe's (no such line).

    Returns
    -------
    tuple of list and ndarray
        N words as they are spelt there, and their vectors ``(N, D)`` float32, as gensim's ``KeyedVectors`` has them.

    Raises
    ------
    CheckpointError
        No such file, or none of that form; a word that is there twice, or whose numbers are too few, too many or not
        finite; more or fewer words than it says.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "small.txt"
    >>> _ = file.write_text("joy 1 0.5\nfear -1 0\n")
    >>> words, vectors = read_word_vectors(file)
    >>> words, vectors.tolist()
    (['joy', 'fear'], [[1.0, 0.5], [-1.0, 0.0]])
    """
    require_file(path)
    try:
        with open_regular(path) as file:
            packed = file.peek(2)[:2] == GZIP
            return _read(gzip.GzipFile(fileobj=file) if packed else file, path)
    except (OSError, EOFError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else "it ends early"
        raise CheckpointError(f"{path} cannot be read ({reason}); name or download another") from error


def _read(stream: Stream, path: Path) -> tuple[list[str], NDArray[np.float32]]:
    first = stream.readline(LONGEST_LINE).removeprefix(codecs.BOM_UTF8)
    header, said = HEADER.fullmatch(first), None
    if header:
        said, dim = int(header[1]), int(header[2])
        require_memory(path, 4 * said * dim, CheckpointError)
    else:
        dim = len(_fields(first)) - 1
    if dim < 1 or said == 0:
        raise CheckpointError(f"{path} holds no vectors of words; name a file of word2vec or GloVe")
    if header and not TEXT.fullmatch(stream.peek(PEEKED)[:PEEKED]):
        assert said is not None
        words, vectors = _collect(_binary_rows(stream, said, dim, path), dim, path, "word", 1)
    else:
        lines = chain([] if header else [first], _lines(stream, path))
        words, vectors = _collect(_text_rows(lines, dim), dim, path, "line", 2 if header else 1)
    if said is not None and len(words) != said:
        raise CheckpointError(f"{path} says that it holds {said} words, and holds {len(words)}; fetch it again")
    return words, vectors


def _collect(rows: Iterable[Row], dim: int, path: Path, unit: str, first: int) -> tuple[list[str], NDArray[np.float32]]:
    """Put rows into a table; `unit` and `first` say how they are counted."""
    values, places = array("f"), dict[str, int]()
    for number, (spelt, numbers) in enumerate(rows, start=first):
        where = f"{unit} {number} of {path}"
        word = _word(spelt, where)
        if (before := places.setdefault(word, number)) != number:
            raise CheckpointError(f"{where} has {word!r} again, as {unit} {before} has; leave one of the two out")
        if isinstance(numbers, bytes):
            values.frombytes(numbers)
        else:
            values.extend(_numbers(numbers, dim, word, where))
        if number % CHECKED == 0:
            require_memory(path, values.itemsize * len(values), CheckpointError)
    vectors = np.frombuffer(values, np.float32).reshape(-1, dim)
    finite = np.isfinite(vectors).all(axis=1)
    words = list(places)
    if not finite.all():
        row = int(finite.argmin())
        raise CheckpointError(
            f"{unit} {first + row} of {path} gives {words[row]!r} numbers that are not finite; mend it"
        )
    return words, vectors


def _text_rows(lines: Iterable[bytes], dim: int) -> Iterator[Row]:
    for line in lines:
        fields = _fields(line)
        # A word may have spaces in it, as some of GloVe's have; a number more is none of these
        spaced = len(fields) > dim + 1 and not _is_number(fields[-dim - 1])
        n_word = len(fields) - dim if spaced else 1
        yield b" ".join(fields[:n_word]), fields[n_word:]


def _binary_rows(stream: Stream, said: int, dim: int, path: Path) -> Iterator[Row]:
    for number in range(1, said + 1):
        word = _read_word(stream)
        numbers = stream.read(4 * dim)
        if len(numbers) < 4 * dim:
            raise CheckpointError(
                f"{path} says that it holds {said} words, and ends within word {number}; fetch it again"
            )
        yield word.lstrip(b"\n"), numbers
    if stream.read(2).strip():
        raise CheckpointError(f"{path} goes on after the {said} words that it says it holds; fetch it again")


def _read_word(stream: Stream) -> bytes:
    """Read up to a space; what is longer than any word is given back as it is."""
    word = b""
    while len(word) <= LONGEST_WORD and (ahead := stream.peek(1)):
        end = ahead.find(b" ")
        word += stream.read(end + 1 if end >= 0 else len(ahead))
        if end >= 0:
            return word[:-1]
    return word


def _word(spelt: bytes, where: str) -> str:
    try:
        word = spelt.decode()
    except UnicodeDecodeError as error:
        raise CheckpointError(
            f"{where} begins with {spelt[:40]!r}, which is no word in UTF-8; fetch it again"
        ) from error
    if not word or len(spelt) > LONGEST_WORD or "\n" in word or not TEXT.fullmatch(spelt):
        raise CheckpointError(f"{where} begins with no word ({word[:40]!r}): text in a binary file, or damaged")
    return word


def _numbers(fields: list[bytes], dim: int, word: str, where: str) -> list[float]:
    if len(fields) != dim:
        raise CheckpointError(f"{where} gives {word!r} {len(fields)} numbers, not {dim} as the others; mend it")
    try:
        return list(map(float, fields))
    except ValueError as error:
        raise CheckpointError(f"{where} gives {word!r} what is no number ({error}); mend it") from error


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _fields(line: bytes) -> list[bytes]:
    return line.strip(b" \t\r\n").replace(b"\t", b" ").split(b" ")


def _lines(stream: Stream, path: Path) -> Iterator[bytes]:
    """Yield lines, without empty ones at the end; no line is longer than any of such a file."""
    while line := stream.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise CheckpointError(f"{path} has a line of over {LONGEST_LINE} bytes, and is no file of word vectors")
        if not line.strip() and not stream.read().strip():
            return
        yield line
