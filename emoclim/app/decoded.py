"""Make of an item's sound what a page plays and draws, and keep what was made last. Used by the routes of media."""

import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable
from concurrent.futures import Future
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import soundfile

from emoclim.app.guard.decoding import Decoders
from emoclim.data import Item, read_blocks
from emoclim.processes import own_prefix, remove_left

T = TypeVar("T")
PEAKS = 400  # of a waveform
PEAK_RATE, PLAYED_RATE = 8_000, 32_000  # Hz
STEPS = 20  # of a second, in each of which the loudest moment is found
KEPT_PEAKS, KEPT_FILES = 2_000, 32  # of items

Peaks = tuple[float, list[float]]


class Decoded:
    """Waveforms and WAV files of items; each is made once, by whoever asks first."""

    def __init__(self, decoders: Decoders) -> None:
        self._decoders = decoders
        remove_left()
        self._folder = Path(tempfile.mkdtemp(prefix=own_prefix()))
        self._peaks = Kept[Peaks](KEPT_PEAKS)
        self._files = Kept[Path](KEPT_FILES, lambda path: path.unlink(missing_ok=True))
        self._numbers = iter(range(2**62))

    def peaks(self, item: Item, file: Path) -> Peaks:
        """Return the seconds of an item's sound, and the loudest moment of each of some even parts, from 0 to 1."""
        return self._peaks.get(_key(item, file), lambda: self._decoders.call(find_peaks, item))

    def wav(self, item: Item, file: Path) -> Path:
        """Return a WAV file of an item's sound, mono."""

        def make() -> Path:
            place = self._folder / f"{next(self._numbers)}.wav"
            self._decoders.call(write_wav, item, place)
            return place

        return self._files.get(_key(item, file), make)

    def close(self) -> None:
        """Remove the files."""
        shutil.rmtree(self._folder, ignore_errors=True)


class Kept(Generic[T]):
    """What was made last, by key; what fails is not kept, and is made anew."""

    def __init__(self, most: int, drop: Callable[[T], None] = lambda _: None) -> None:
        self._most, self._drop = most, drop
        self._made: OrderedDict[Hashable, Future[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is kept, or make it, once also where several ask at a time."""
        with self._lock:
            future, is_first = self._made.get(key), key not in self._made
            if future is None:
                future = self._made[key] = Future()
            self._made.move_to_end(key)
        if is_first:
            try:
                future.set_result(make())
            except BaseException as error:
                with self._lock:
                    self._made.pop(key, None)
                future.set_exception(error)
                raise
            self._shrink()
        return future.result()

    def _shrink(self) -> None:
        """Let go of what was asked for longest ago, but for what is being made."""
        with self._lock:
            done = [key for key, future in self._made.items() if future.done()]
            gone = [self._made.pop(key) for key in done[: max(0, len(self._made) - self._most)]]
        for future in gone:
            self._drop(future.result())


def _key(item: Item, file: Path) -> Hashable:
    status = file.stat()
    return str(file), status.st_mtime_ns, status.st_size, item.start, item.duration


def find_peaks(item: Item) -> Generator[None, None, Peaks]:
    """Return what :meth:`Decoded.peaks` does; yields nothing."""
    step = PEAK_RATE // STEPS
    loudest, samples, rest = [np.zeros(0, np.float32)], 0, np.zeros(0, np.float32)
    for block in read_blocks(item, PEAK_RATE):
        samples += len(block)
        sound = np.concatenate([rest, np.abs(block.numpy())])
        whole = len(sound) // step * step
        loudest.append(sound[:whole].reshape(-1, step).max(axis=1))
        rest = sound[whole:]
    loudest.append(rest.max(initial=0, keepdims=True))
    moments = np.concatenate(loudest)
    firsts = np.arange(PEAKS) * len(moments) // PEAKS
    lasts = np.maximum(firsts + 1, np.arange(1, PEAKS + 1) * len(moments) // PEAKS)
    peaks = [min(1.0, round(float(moments[first:last].max()), 4)) for first, last in zip(firsts, lasts, strict=True)]
    return samples / PEAK_RATE, peaks
    yield


def write_wav(item: Item, place: Path) -> Generator[None, None, None]:
    """Write a WAV file; yields nothing."""
    with soundfile.SoundFile(place, "w", PLAYED_RATE, 1, "PCM_16") as file:
        for block in read_blocks(item, PLAYED_RATE):
            file.write(block.numpy())
    return
    yield
