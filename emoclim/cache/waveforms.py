"""Store of decoded recordings, for training on random parts of them: a folder with one mono WAV file per content key.

`emoclim train-end-to-end --store` uses it. Each file appears whole, so that several processes may fill it at once. A
recording is kept in 16 bits; one that goes beyond full scale as float32 instead, so that nothing is clipped. Listing
stores loads neither torch nor soundfile.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from emoclim.errors import CacheError
from emoclim.files import atomic, open_regular

if TYPE_CHECKING:
    import soundfile
    from torch import Tensor

WAVEFORMS, WAV = ".waveforms", ".wav"  # of a store, and of a recording in it
VERSION = 2
FULL_SCALE = 32_768  # of 16 bits


def store_name(modality: str, sample_rate: int, source_rate: int | None) -> str:
    """Name the store of recordings at a sample rate, with 12 hex digits of everything that changes a number.

    `source_rate` is what recordings are first brought to, in Hz; None for each file's own.
    """
    from emoclim.data import RESAMPLER

    digest = hashlib.sha256(f"{VERSION} {sample_rate} {source_rate} soxr {RESAMPLER}".encode()).hexdigest()
    return f"{modality}-{sample_rate}hz-{digest[:12]}{WAVEFORMS}"


class StoreSize(NamedTuple):
    """Number of recordings in a store, and bytes of their files."""

    recordings: int
    n_bytes: int

    @classmethod
    def of(cls, store: Path) -> "StoreSize":
        """Count the files of a store, which need not exist."""
        sizes = [file.lstat().st_size for file in store.glob(f"*{WAV}")]
        return cls(len(sizes), sum(sizes))


@dataclass(frozen=True, slots=True)
class StoredWaveform:
    """A waveform ``(n,)`` in an open file, of which any part ``(m,)`` is read by seeking to it."""

    file: "soundfile.SoundFile"

    def __len__(self) -> int:
        frames: int = self.file.frames
        return frames

    def __getitem__(self, part: slice, /) -> "Tensor":
        import torch

        first, last, _ = part.indices(len(self))
        self.file.seek(first)
        return torch.from_numpy(self.file.read(last - first, dtype="float32"))


@contextmanager
def open_waveform(path: Path) -> Iterator[StoredWaveform]:
    """Open a recording of a store; raise :class:`CacheError` where it, or a part of it, cannot be read."""
    import soundfile

    try:
        open_regular(path, follow=False).close()  # the library would wait for a pipe
        with soundfile.SoundFile(path) as file:
            yield StoredWaveform(file)
    except (OSError, soundfile.LibsndfileError) as error:
        raise CacheError(f"{path} cannot be read ({error}); delete it, and its recording is decoded again") from error


def write_waveform(path: Path, decode: Callable[[], Iterable["Tensor"]], sample_rate: int) -> int:
    """Write the blocks ``(n,)`` that `decode` yields, whole or not at all; return the number of samples.

    They are decoded again, as float32, where they turn out to go beyond full scale.
    """
    import soundfile

    try:
        with atomic(path) as partial:
            sixteen_bits = _write(partial, decode(), sample_rate, "PCM_16")
            return sixteen_bits or _write(partial, decode(), sample_rate, "FLOAT")
    except (OSError, soundfile.LibsndfileError) as error:
        told = f"the store {path.parent} could not be written ({error})"
        raise CacheError(f"{told}; see that its disk has room and lets you write") from error


def _write(path: Path, blocks: Iterable["Tensor"], sample_rate: int, subtype: str) -> int:
    """Write a WAV file; return the number of its samples, or 0 as soon as 16 bits do not hold one of them."""
    import soundfile

    samples = 0  # RF64 is WAV that may be longer than 4 GB
    with soundfile.SoundFile(path, "w", sample_rate, 1, subtype, format="RF64") as file:
        for block in blocks:
            array = block.numpy()
            if subtype == "PCM_16":
                scaled = (array * FULL_SCALE).round()
                if scaled.max() >= FULL_SCALE or scaled.min() < -FULL_SCALE:
                    return 0
                array = scaled.astype("int16")
            file.write(array)
            samples += len(array)
    return samples
