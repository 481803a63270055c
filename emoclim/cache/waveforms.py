"""Decoded recordings on the disk, for training on random parts of them: 16-bit samples, and a ledger of what is there.

Layout of a store, the folder ``<name>.waveforms``:

* ``samples.s16le``: the samples of all recordings, one after the other, little-endian;
* ``ledger.jsonl``: lines as in :mod:`emoclim.cache.lines`. The first one says how recordings were decoded; others are

  * ``{"first": n, "items": [[key, length, scale, [crc32c, ...]], ...]}``: these recordings are the samples from n on,
    in order; each checksum is of the bytes of :data:`BLOCK` samples, the last one of what is left;
  * ``{"left_out": [key, ...]}``: these are damaged, and there no more.

Convention: a sample is the stored integer times scale / 32768. The scale is 1 where nothing goes beyond full scale, so
that a 16-bit file at the sample rate is kept as it is; nothing is clipped. Recordings are keyed by content.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from google_crc32c import value as checksum
from numpy.typing import NDArray
from torch import Tensor

from emoclim.cache.checks import repair_with
from emoclim.cache.disk import explained
from emoclim.cache.lines import from_line, split_lines
from emoclim.errors import CacheError

SUFFIX = ".waveforms"
SAMPLES, LEDGER = "samples.s16le", "ledger.jsonl"
FORMAT = "emoclim-waveforms"
VERSION = 1
FULL_SCALE = 32_768  # of 16 bits
SAMPLE_BYTES = 2
BLOCK = 2**16  # samples under one checksum; little more than a segment is read to check one
MAKE_ANEW = "delete it, and it is made again when it is needed"

Integers = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class WaveformSpec:
    """How recordings were decoded: what must be equal for one store to serve two encoders.

    Attributes
    ----------
    sample_rate
        Hz of the waveforms.
    source_rate
        Hz that recordings were first brought to; None for each file's own.
    resampler
        What brought them there.
    """

    sample_rate: int
    source_rate: int | None
    resampler: str

    def header(self) -> dict[str, Any]:
        """First line of a ledger."""
        return {"format": FORMAT, "version": VERSION, "spec": asdict(self)}

    def file_name(self) -> str:
        """Name of the store, with 12 hex digits of everything that changes a number."""
        canonical = json.dumps(self.header(), sort_keys=True, separators=(",", ":"))
        return f"audio-{self.sample_rate}hz-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}{SUFFIX}"


class Entry(NamedTuple):
    """Where a recording is among all samples, and what its checksums and its scale are."""

    first: int
    length: int
    scale: float
    checksums: tuple[int, ...]


class SampleFile:
    """All samples of a store, mapped into memory by each process for itself when it first reads some."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mapped: Integers = np.empty(0, np.int16)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_mapped": np.empty(0, np.int16)}

    def read(self, first: int, last: int) -> Integers:
        """Samples from `first` up to `last` ``(n,)``, as they lie there; fewer where the file is too short."""
        if last > len(self._mapped):
            size = self.path.stat().st_size // SAMPLE_BYTES
            if size:
                self._mapped = np.asarray(np.memmap(self.path, "<i2", "r", shape=(size,)))
        return self._mapped[first:last]


@dataclass(frozen=True, slots=True)
class StoredWaveform:
    """A recording in a store, as a waveform ``(n,)`` of which any part ``(m,)`` can be had.

    A part is compared with its checksums each time; one that was not written so raises :class:`CacheError`.
    """

    name: str
    samples: SampleFile
    entry: Entry

    def __len__(self) -> int:
        return self.entry.length

    def __getitem__(self, part: slice, /) -> Tensor:
        begin, end, _ = part.indices(len(self))
        first, last = begin // BLOCK, -(-end // BLOCK)
        stored = self._blocks(first, last)
        if stored is None:
            store = self.samples.path.parent
            raise CacheError(
                f"{store} is damaged: the samples of {self.name} are not what was written; "
                f"leave them out, to be decoded again, with: {repair_with(store)}"
            )
        waveform = stored[begin - first * BLOCK : end - first * BLOCK].astype(np.float32)
        waveform *= np.float32(self.entry.scale / FULL_SCALE)
        return torch.from_numpy(waveform)

    def is_sound(self) -> bool:
        """Whether all samples are what was written."""
        return all(self._blocks(number, number + 1) is not None for number in range(len(self.entry.checksums)))

    def _blocks(self, first: int, last: int) -> Integers | None:
        """Samples of the blocks from `first` up to `last`; None if they do not match their checksums."""
        begin = self.entry.first
        with explained(f"{self.name} cannot be read from {self.samples.path}", MAKE_ANEW):
            stored = self.samples.read(begin + first * BLOCK, begin + min(last * BLOCK, len(self)))
        return stored if checksums_of(stored) == self.entry.checksums[first:last] else None


@dataclass(frozen=True, slots=True)
class Waveforms:
    """What a store held when it was read.

    Attributes
    ----------
    path
        The folder.
    spec
        How it was decoded.
    entries
        By content key, in the order of commit.
    n_samples
        Samples of the file that are taken.
    size
        Bytes of the sound lines of the ledger.
    lost_end
        See :func:`emoclim.cache.lines.split_lines`.
    """

    path: Path
    spec: WaveformSpec
    entries: Mapping[str, Entry]
    n_samples: int
    size: int
    lost_end: bool

    @property
    def n_bytes(self) -> int:
        """Bytes of all samples."""
        return SAMPLE_BYTES * self.n_samples

    def waveforms(self, names: Mapping[str, str]) -> dict[str, StoredWaveform]:
        """Recordings by content key, with the names that messages shall call them by."""
        samples = SampleFile(self.path / SAMPLES)
        return {key: StoredWaveform(name, samples, self.entries[key]) for key, name in names.items()}


def is_store(path: Path) -> bool:
    """Whether there is a store, which may be damaged."""
    return (path / LEDGER).is_file()


def read_waveforms(path: Path) -> Waveforms:
    """Read what a store holds; samples are read when they are needed.

    Raises
    ------
    CacheError
        There is no store, it is damaged, or of another version.
    """
    if not is_store(path):
        raise CacheError(f"{path} is no store of waveforms; train-end-to-end --store makes one")
    with explained(f"the store {path} cannot be read", MAKE_ANEW):
        raw = (path / LEDGER).read_bytes()
        size = (path / SAMPLES).stat().st_size
    try:
        found = _replay(path, raw)
    except (ValueError, TypeError, KeyError) as error:
        raise CacheError(f"the store {path} is damaged: its ledger cannot be used ({error}); {MAKE_ANEW}") from error
    if size < found.n_bytes:
        raise CacheError(f"the store {path} is damaged: its ledger counts more samples than there are; {MAKE_ANEW}")
    return found


def checksums_of(samples: Integers) -> tuple[int, ...]:
    """CRC-32C of each block of samples ``(n,)``."""
    return tuple(checksum(block) for block in blocks_of(samples))


def blocks_of(samples: Integers) -> Iterator[Integers]:
    """Cut samples ``(n,)`` into blocks; the last holds what is left."""
    return (samples[first : first + BLOCK] for first in range(0, len(samples), BLOCK))


def _replay(path: Path, raw: bytes) -> Waveforms:
    """Add up the lines of a ledger."""
    lines, lost_end = split_lines(raw)
    header = from_line(lines[0]) if lines else {}
    if header.get("format") != FORMAT:
        raise ValueError("it does not begin as one")
    if header["version"] != VERSION:
        raise ValueError(f"it is of version {header['version']}, and only {VERSION} can be read")
    entries: dict[str, Entry] = {}
    n_samples = 0
    for line in lines[1:]:
        match from_line(line):
            case {"first": first, "items": items}:
                if first != n_samples:
                    raise ValueError("a line does not follow those before it")
                for key, length, scale, checksums in items:
                    entries[key] = Entry(n_samples, length, scale, tuple(checksums))
                    n_samples += length
            case {"left_out": keys}:
                for key in keys:
                    entries.pop(key, None)
            case _:
                raise ValueError("a line is no record of this version")
    return Waveforms(path, WaveformSpec(**header["spec"]), entries, n_samples, sum(map(len, lines)), lost_end)
