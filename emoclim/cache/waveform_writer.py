"""Writing a store of decoded recordings, see :mod:`emoclim.cache.waveforms`: by one process at a time.

A commit is: the samples, to the disk; then one line of the ledger, to the disk. What no line counts is not there, and
the next writer writes over it.
"""

import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import torch
from google_crc32c import extend
from google_crc32c import value as checksum
from torch import Tensor

from emoclim.cache.disk import MAKE_ROOM, explained
from emoclim.cache.files import Handle, sync_folder, write_at, write_whole
from emoclim.cache.lines import to_line
from emoclim.cache.waveforms import (
    BLOCK,
    FULL_SCALE,
    LEDGER,
    SAMPLE_BYTES,
    SAMPLES,
    Integers,
    Waveforms,
    WaveformSpec,
    is_store,
    read_waveforms,
)
from emoclim.cache.writer import WriterLock
from emoclim.errors import CacheError, CacheMismatch

log = logging.getLogger(__name__)


class Piece(NamedTuple):
    """Samples ``(n,)`` int16 of a recording; a piece of another scale than the last one begins the recording anew."""

    scale: float
    samples: Tensor

    @property
    def nbytes(self) -> int:
        """Bytes of the samples."""
        return self.samples.nbytes


def scale_of(block: Tensor) -> float:
    """The least scale, at least 1, at which no sample of ``(n,)`` float32, n > 0, is clipped."""
    return max(1.0, float(block.max()) * FULL_SCALE / (FULL_SCALE - 1), -float(block.min()))


def quantised(block: Tensor, scale: float) -> Piece:
    """Round a waveform ``(n,)`` float32 to 16 bits."""
    return Piece(scale, (block * (FULL_SCALE / scale)).round_().to(torch.int16))


class WaveformWriter:
    """A store that is open for writing, and made if there is none; to be used as a context manager.

    Parameters
    ----------
    path
        The folder.
    spec
        How recordings are decoded.

    Attributes
    ----------
    found
        What was committed when it was opened.

    Raises
    ------
    CacheMismatch
        The store was decoded in another way.
    CacheError
        It is damaged, another process is writing it, or it cannot be written.
    """

    def __init__(self, path: Path, spec: WaveformSpec) -> None:
        self._path = path
        self._samples, self._ledger = Handle(), Handle()
        self._waiting: list[tuple[str, int, float, list[int]]] = []
        with explained(f"the store {path} cannot be opened for writing", MAKE_ROOM):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = WriterLock(path)
            try:
                self.found = self._open(spec)
            except BaseException:
                self.close()
                raise
        self._end = self._committed = self.found.n_samples
        self._size = self.found.size

    @property
    def uncommitted(self) -> int:
        """Bytes of samples that are appended, and not committed."""
        return SAMPLE_BYTES * (self._end - self._committed)

    def append(self, key: str, scale: float, parts: Sequence[Integers]) -> None:
        """Add a recording to the next commit.

        Parameters
        ----------
        key
            Content key; not held yet.
        scale
            Of all its samples.
        parts
            ``(n,)`` each, together the recording.

        Raises
        ------
        CacheError
            It cannot be written, or belongs to the process that this one is a fork of.
        """
        if not self._lock.is_own():
            raise CacheError(f"{self._path} is written by the process that this one is a fork of; write to it there")
        end = self._end
        parts = [part.astype("<i2", copy=False) for part in parts]
        with explained(f"the store {self._path} could not be written", MAKE_ROOM):
            for part in parts:
                write_at(self._samples.number, SAMPLE_BYTES * end, part.tobytes())
                end += len(part)
        self._waiting.append((key, end - self._end, scale, _checksums(parts)))
        self._end = end

    def commit(self) -> None:
        """Make what was appended last, all or none of it; raise :class:`CacheError` where that cannot be done."""
        if not self._waiting:
            return
        with explained(f"the store {self._path} could not be written", MAKE_ROOM):
            os.fsync(self._samples.number)
            self._write_line(to_line({"first": self._committed, "items": self._waiting}))
        self._committed, self._waiting = self._end, []

    def leave_out(self, keys: Collection[str]) -> None:
        """Forget damaged recordings, so that they are decoded again; their samples stay where they are."""
        with explained(f"the store {self._path} could not be written", MAKE_ROOM):
            self._write_line(to_line({"left_out": list(keys)}))

    def close(self) -> None:
        """Let others write; what was not committed is lost. Idempotent."""
        self._samples.close()
        self._ledger.close()
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, spec: WaveformSpec) -> Waveforms:
        """Make a store if there is none, and drop what a writer left that died."""
        if not is_store(self._path):
            self._path.mkdir(exist_ok=True)
            sync_folder(self._path.parent)
            (self._path / SAMPLES).touch()
            write_whole(self._path / LEDGER, to_line(spec.header()))
        found = read_waveforms(self._path)
        if found.spec != spec:
            raise CacheMismatch(f"the store {self._path} was decoded as {found.spec}, not as {spec}; delete or move it")
        if found.lost_end:
            log.warning("the last commit of %s cannot be read and is given up: it is decoded again", self._path)
        self._samples = Handle.open(self._path / SAMPLES, os.O_RDWR)
        self._ledger = Handle.open(self._path / LEDGER, os.O_RDWR)
        os.ftruncate(self._samples.number, found.n_bytes)
        os.ftruncate(self._ledger.number, found.size)
        return found

    def _write_line(self, line: bytes) -> None:
        write_at(self._ledger.number, self._size, line)
        os.fsync(self._ledger.number)
        self._size += len(line)


def _checksums(parts: Sequence[Integers]) -> list[int]:
    """CRC-32C of each block of a recording that comes in parts, none of which is copied."""
    found: list[int] = []
    room = 0  # samples that the last block still takes
    for part in parts:
        while len(part):
            if room == 0:
                found.append(checksum(b""))
                room = BLOCK
            taken = part[:room]
            found[-1] = extend(found[-1], np.ascontiguousarray(taken))
            room -= len(taken)
            part = part[len(taken) :]
    return found
