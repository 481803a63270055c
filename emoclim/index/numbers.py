"""Keep what items are compared by in files that only grow. Used by indexes.

Invariant: a file counts as far as a note says that was written when its bytes were on the disk; whatever lies behind is
of a writer that died, is never read, and is cut off by the next one.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from google_crc32c import extend
from torch import Tensor

from emoclim.errors import CacheError
from emoclim.files import open_regular
from emoclim.stages import Embedded, Segments

TYPES = {"vectors": np.float32, "segments": np.float32, "offsets": np.int64, "starts": np.float32}
CHECKED = 2**24  # bytes that are read at once


@dataclass(frozen=True, slots=True)
class FileNote:
    """How much of a file counts."""

    name: str
    size: int = 0  # bytes
    checksum: int = 0  # CRC-32C of these


class NumberWriter:
    """Appends embedded items to files of a folder, whose notes are those of :meth:`close`."""

    def __init__(self, folder: Path, generation: int, before: Mapping[str, FileNote]) -> None:
        self._folder, self._files = folder, dict[str, int]()
        self.notes = {name: before.get(name, FileNote(f"{name}-{generation}.bin")) for name in TYPES}
        self._end = 0
        try:
            for name, note in self.notes.items():
                file = self._files[name] = os.open(
                    folder / note.name, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
                )
                os.ftruncate(file, note.size)
                os.lseek(file, 0, os.SEEK_END)
            if size := self.notes["offsets"].size:
                self._end = int(np.fromfile(folder / self.notes["offsets"].name, np.int64, offset=size - 8)[0])
            else:
                self._write("offsets", torch.zeros(1, dtype=torch.int64))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def append(self, items: Embedded) -> None:
        """Write some items behind those before."""
        self._write("vectors", items.vectors)
        if items.segments is None:
            self._write("offsets", torch.full((len(items),), self._end))
            return
        self._write("offsets", items.segments.offsets[1:] + self._end)
        self._write("segments", items.segments.vectors)
        self._write("starts", items.segments.starts.float())
        self._end += len(items.segments.starts)

    def sync(self) -> None:
        """Bring all to the disk, so that its notes may be kept."""
        for file in self._files.values():
            os.fsync(file)

    def close(self) -> None:
        """Close the files; idempotent."""
        while self._files:
            os.close(self._files.popitem()[1])

    def _write(self, name: str, rows: Tensor) -> None:
        content, note = np.ascontiguousarray(rows.numpy(), TYPES[name]).tobytes(), self.notes[name]
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._files[name], rest) :]
        self.notes[name] = FileNote(note.name, note.size + len(content), extend(note.checksum, content))


def map_numbers(folder: Path, notes: Mapping[str, FileNote], width: int) -> tuple[Tensor, Segments | None]:
    """Return the vectors of items and of their segments as they lie on the disk."""
    vectors, segments, offsets, starts = (_mapped(folder, notes[name], TYPES[name]) for name in TYPES)
    several = Segments(segments.view(-1, width), offsets, starts) if len(starts) else None
    return vectors.view(-1, width), several


def _mapped(folder: Path, note: FileNote, kind: type) -> Tensor:
    path, count = folder / note.name, note.size // np.dtype(kind).itemsize
    if not count:
        return torch.from_numpy(np.empty(0, kind))
    with open_regular(path, follow=False) as file:
        if os.fstat(file.fileno()).st_size < note.size:
            raise CacheError(f"{path} is shorter than was noted; delete {folder}, and it is made anew")
        return torch.from_numpy(np.memmap(file, kind, "c", shape=(count,)))  # written to by nobody


def is_sound(folder: Path, note: FileNote) -> bool:
    """Tell whether the bytes of a file that count are those that were written."""
    found, left = 0, note.size
    with open_regular(folder / note.name, follow=False) as file:
        while left and (block := file.read(min(left, CHECKED))):
            found, left = extend(found, block), left - len(block)
    return not left and found == note.checksum


def select(items: Embedded, rows: Tensor) -> Embedded:
    """Select some items, with their segments."""
    found = None
    if (own := items.segments) is not None:
        counts = own.offsets[rows + 1] - own.offsets[rows]
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        places = (own.offsets[rows] - offsets[:-1]).repeat_interleave(counts) + torch.arange(int(offsets[-1]))
        found = Segments(own.vectors[places], offsets, own.starts[places])
    ids = [items.ids[row] for row in rows.tolist()]
    return Embedded(items.modality, ids, items.vectors[rows], items.metric, items.names, found)
