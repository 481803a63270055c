"""Hold very many texts in columns, for ids and keys: their bytes one behind the other, and where each begins.

Used wherever a library may have millions of items. Invariant: texts are what was given, lone surrogates too; no Python
object is kept of each.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from operator import eq
from typing import Any, Self, overload

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view as windows
from numpy.typing import NDArray

BLOCK = 1 << 14  # texts that are Python objects at once
CODEC = ("utf-8", "surrogatepass")
WORD, MASK = 8, 2**64 - 1  # bytes that are hashed at once
SEED, ODD = (int.from_bytes(os.urandom(WORD), "little") | 1 for _ in range(2))  # so that nobody can choose equal hashes


class Texts(Sequence[str]):
    """N texts, each made when it is asked for; slices share their bytes.

    Examples
    --------
    >>> texts = Texts.of(f"song {n}" for n in range(4))
    >>> texts[1], list(texts[2:]), texts.take([3, 0]) == ("song 3", "song 0")
    ('song 1', ['song 2', 'song 3'], True)
    """

    __slots__ = ("data", "offsets")

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        self.data = data  # UTF-8, but for lone surrogates, which have three bytes as well
        self.offsets = offsets  # (N + 1,): text n is data[offsets[n]:offsets[n + 1]]

    @classmethod
    def of(cls, texts: Iterable[str]) -> Self:
        """Keep texts in columns; those of an Arrow array of strings are taken as they lie there."""
        if isinstance(texts, cls):
            return texts
        if "pyarrow" in sys.modules and hasattr(texts, "type"):
            return cls._of_arrow(texts)
        rest, parts = iter(texts), list[Self]()
        while some := list(islice(rest, BLOCK)):
            parts.append(cls._of_block(some))
        return cls.join(parts)

    @classmethod
    def split(cls, text: str, between: str) -> Self:
        """Cut a text where a sign of ASCII stands."""
        raw = np.frombuffer(f"{text}{between}".encode(), np.uint8)
        return cls.cut(raw, np.flatnonzero(raw == ord(between)))

    @classmethod
    def cut(cls, raw: NDArray[np.uint8], ends: NDArray[np.int64]) -> Self:
        """Cut bytes into texts that end before the signs at `ends` ``(N,)``, of which the last is the last sign."""
        return cls(np.delete(raw, ends), _offsets(np.diff(ends, prepend=-1) - 1))

    def joined(self, between: str) -> str | None:
        """Join the texts by a sign of ASCII, for :meth:`split`; None where that would not give them back."""
        raw = self.bytes()
        if not len(self) or (raw == ord(between)).any():
            return None
        try:
            return str(np.insert(raw, self.offsets[1:-1] - self.offsets[0], ord(between)).tobytes(), "utf-8")
        except UnicodeDecodeError:  # a lone surrogate
            return None

    @classmethod
    def join(cls, parts: Sequence["Texts"]) -> Self:
        """Put texts behind each other."""
        if len(parts) == 1:
            return cls(parts[0].data, parts[0].offsets)
        lengths = np.concatenate([np.zeros(1, np.int64), *(np.diff(part.offsets) for part in parts)])
        data = np.concatenate([np.empty(0, np.uint8), *(part.bytes() for part in parts)])
        return cls(data, lengths.cumsum(out=lengths))

    @classmethod
    def _of_block(cls, texts: Sequence[str]) -> Self:
        joined = "".join(texts)
        pieces: Sequence[str | bytes] = texts if joined.isascii() else [text.encode(*CODEC) for text in texts]
        data = joined.encode() if joined.isascii() else b"".join(pieces)  # type: ignore[arg-type]
        return cls(np.frombuffer(data, np.uint8), _offsets(np.fromiter(map(len, pieces), np.int64, len(pieces))))

    @classmethod
    def _of_arrow(cls, column: Any) -> Self:
        import pyarrow as pa

        if isinstance(column, pa.ChunkedArray):
            return cls.join([cls._of_arrow(chunk) for chunk in column.chunks])
        if column.null_count:
            raise ValueError("a text is missing")
        column = column.cast(pa.large_string())
        _, offsets, data = column.buffers()
        whole = np.empty(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
        found = np.zeros(1, np.int64) if offsets is None else np.frombuffer(offsets, np.int64)
        return cls(whole, found[column.offset : column.offset + len(column) + 1])

    def arrow(self) -> Any:
        """Return an Arrow array of large strings, which shares the bytes."""
        import pyarrow as pa

        return pa.LargeStringArray.from_buffers(
            len(self), pa.py_buffer(np.ascontiguousarray(self.offsets)), pa.py_buffer(self.data)
        )

    def take(self, rows: Sequence[int] | NDArray[np.integer[Any]]) -> "Texts":
        """Select the texts of rows ``(n,)``, in that order."""
        rows = np.asarray(rows, np.int64)
        starts = self.offsets[:-1][rows]
        lengths = self.offsets[1:][rows] - starts
        offsets = _offsets(lengths)
        data = np.empty(offsets[-1], np.uint8)
        for same, length in _by_length(lengths):
            windows(data, length, writeable=True)[offsets[same]] = windows(self.data, length)[starts[same]]
        return Texts(data, offsets)

    def bytes(self) -> NDArray[np.uint8]:
        """Return the bytes of all texts."""
        return self.data[self.offsets[0] : self.offsets[-1]]

    def lengths(self) -> NDArray[np.int64]:
        """Count the bytes of each text ``(N,)``."""
        return np.diff(self.offsets)

    def hashes(self) -> NDArray[np.int64]:
        """Hash each text ``(N,)``, in a way of this process; :func:`hash_of` does it with one."""
        found = np.full(len(self), _mixed((), 0), np.uint64)
        for same, length in _by_length(self.lengths()):
            words = np.zeros((len(same), -(-length // WORD) * WORD), np.uint8)
            words[:, :length] = windows(self.data, length)[self.offsets[same]]
            found[same] = _mixed(words.view("<u8").T, length)
        return found.view(np.int64)

    def are(self, text: str) -> NDArray[np.bool_]:
        """Tell of each text ``(N,)`` whether it is this one."""
        raw = np.frombuffer(text.encode(*CODEC), np.uint8)
        found = self.lengths() == len(raw)
        if len(raw) and found.any():
            found[found] = (windows(self.data, len(raw))[self.offsets[:-1][found]] == raw).all(axis=1)
        return np.asarray(found, np.bool_)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and bool(self.are(text).any())

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> "Texts": ...
    def __getitem__(self, place: int | slice) -> "str | Texts":
        if isinstance(place, int | np.integer):
            row = range(len(self))[place]
            return str(self.data[self.offsets[row] : self.offsets[row + 1]].tobytes(), *CODEC)
        first, last, step = place.indices(len(self))
        if step == 1:
            return Texts(self.data, self.offsets[first : max(first, last) + 1])
        return self.take(range(first, last, step))

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), BLOCK):
            bounds = self.offsets[first : first + BLOCK + 1]
            raw = self.data[bounds[0] : bounds[-1]].tobytes()
            ends = (bounds - bounds[0]).tolist()
            cuts = map(slice, ends, ends[1:])
            if raw.isascii():
                yield from map(str(raw, "ascii").__getitem__, cuts)
            else:
                yield from (str(raw[cut], *CODEC) for cut in cuts)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Texts):
            return np.array_equal(self.lengths(), other.lengths()) and np.array_equal(self.bytes(), other.bytes())
        if isinstance(other, str) or not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        some = ", ".join(map(repr, self[:3]))
        return f"<{len(self)} texts: {some}{', ...' if len(self) > 3 else ''}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the own bytes, not those that a slice was cut from."""
        return type(self), (self.bytes().copy(), self.offsets - self.offsets[0])


def different(texts: Sequence[Sequence[str]]) -> Sequence[str]:
    """Return each of some lists of texts once, in order: a list of few, Texts of many."""
    if not any(isinstance(one, Texts) for one in texts):
        return sorted(set().union(*texts))
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.unique(Texts.join([Texts.of(one) for one in texts]).arrow())
    found = Texts.of(found.take(pc.sort_indices(found)))  # by bytes of UTF-8, so by characters
    pa.default_memory_pool().release_unused()
    return found


def _offsets(lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    found = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=found[1:])
    return found


def hash_of(text: str) -> int:
    """Hash one text, as :meth:`Texts.hashes` does."""
    raw = text.encode(*CODEC)
    words = (int.from_bytes(raw[first : first + WORD], "little") for first in range(0, len(raw), WORD))
    found = _mixed(words, len(raw))
    return int(found - ((found >> 63) << 64))


def _mixed(words: Iterable[Any], length: int) -> Any:
    """Mix words of 64 bits, which are numbers or arrays; each step can be undone, so that no bit is lost."""
    state: Any = SEED ^ length
    for word in words:
        state = ((state ^ word) * ODD) & MASK
        state = state ^ (state >> 29)
    return (state * ODD) & MASK


def _by_length(lengths: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], int]]:
    """Yield the places of all texts of a length, and that, but for empty ones."""
    order = np.argsort(lengths, kind="stable")
    for same in np.split(order, np.flatnonzero(np.diff(lengths[order])) + 1):
        if len(same) and lengths[same[0]]:
            yield same, int(lengths[same[0]])
