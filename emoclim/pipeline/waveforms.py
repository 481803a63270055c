"""`emoclim train-end-to-end --store`: recordings are decoded once, and random crops are then cut from what was kept."""

import shutil
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from emoclim.cache.waveform_writer import Piece, WaveformWriter, quantised, scale_of
from emoclim.cache.waveforms import SAMPLE_BYTES, Integers, StoredWaveform, WaveformSpec, is_store, read_waveforms
from emoclim.data.audio import RESAMPLER, Waveform, read_blocks
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Item
from emoclim.data.sound import open_sound
from emoclim.decoding import End, Event, deaths_told, decode
from emoclim.encoders.base import AudioEncoder, Encoder
from emoclim.errors import CacheError, DecodeError, EncoderError
from emoclim.pipeline.caches.inventory import shown_size
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

COMMIT_SECONDS, COMMIT_BYTES = 10.0, 2**28  # lost at most, and what is being decoded, when a run is killed
KEPT = "what was committed is kept: run again, with fewer --workers"
UNKNOWN_RATE = 16_000  # bytes per second of a file that does not state its length: 128 kbit/s


@dataclass(frozen=True, slots=True)
class StoredCrops:
    """A source of crops, see :data:`emoclim.crops.CropSource`: what was decoded into a store.

    Attributes
    ----------
    cut
        Makes a crop of a waveform.
    waveforms
        By item.
    reasons
        Why others are not among them, by item.
    path
        The store.
    recordings, size
        How many it holds, and bytes.
    """

    cut: Callable[[Waveform, torch.Generator], Tensor]
    waveforms: Mapping[str, StoredWaveform]
    reasons: Mapping[str, str]
    path: Path
    recordings: int
    size: int

    def __call__(self, item: Item, generator: torch.Generator) -> Tensor:
        """Cut the crop of an item; raise :class:`DecodeError` where it could not be decoded."""
        if item.id in self.reasons:
            raise DecodeError(self.reasons[item.id])
        return self.cut(self.waveforms[item.id], generator)

    def to_dict(self) -> dict[str, str | int]:
        """Plain values, for JSON."""
        return {"store": str(self.path), "recordings": self.recordings, "bytes": self.size}

    def told(self) -> str:
        """One sentence on what there is."""
        failed = f"; {len(self.reasons)} of this run cannot be used" if self.reasons else ""
        return f"decoded waveforms: {self.recordings} recordings, {shown_size(self.size)} in {self.path}{failed}"


def stored_crops(
    encoder: Encoder,
    items: Sequence[Item],
    workspace: Workspace,
    keys: ContentKeys,
    *,
    workers: int = 0,
    track: Track = silent,
) -> StoredCrops:
    """Decode what the store of a workspace does not hold yet of some items, and make it a source of their crops.

    Parameters
    ----------
    encoder
        Whose crops; encoders with the same sample rates share a store.
    items
        Recordings; those that cannot be decoded are left out, with the reason.
    workspace
        Where the store lies.
    keys
        Content keys of items; saved.
    workers
        Processes that decode; 0 decodes in this one.
    track
        Shows progress.

    Raises
    ------
    EncoderError
        The encoder does not take its crops from waveforms.
    CacheError
        The store is damaged, is being written, or has no room.
    """
    if not isinstance(encoder, AudioEncoder):
        raise EncoderError(f"encoder {encoder.spec.name!r} takes no segments of waveforms; train it without --store")
    spec = WaveformSpec(encoder.sample_rate, encoder.source_rate, f"soxr {RESAMPLER}")
    path = workspace.caches / spec.file_name()
    known: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for item in track(items, description="read recordings", total=len(items)):
        try:
            known[item.id] = keys(item)
        except DecodeError as error:
            reasons[item.id] = str(error)
    keys.save()
    missing = _missing(path, {known[item.id]: item for item in items if item.id in known})
    failed = _decode(missing, path, spec, workers, track) if missing or not is_store(path) else {}
    reasons |= {id_: failed[key] for id_, key in known.items() if key in failed}
    held = read_waveforms(path)
    present = {id_: key for id_, key in known.items() if key not in failed}
    waveforms = held.waveforms({key: id_ for id_, key in present.items()})
    return StoredCrops(
        replace(encoder).cut,  # of a copy without the network, for processes that are not forked
        {id_: waveforms[key] for id_, key in present.items()},
        reasons,
        path,
        len(held.entries),
        held.n_bytes,
    )


def _missing(path: Path, items: dict[str, Item]) -> dict[str, Item]:
    """Those of some items by key that a store, if there is one, does not hold."""
    held = read_waveforms(path).entries if is_store(path) else {}
    return {key: item for key, item in items.items() if key not in held}


def _decode(items: dict[str, Item], path: Path, spec: WaveformSpec, workers: int, track: Track) -> dict[str, str]:
    """Decode recordings into a store; return the reasons of those that cannot be, by key."""
    _require_room(path, spec, list(items.values()), track)
    reasons: dict[str, str] = {}
    with WaveformWriter(path, spec) as writer:
        todo = _missing(path, items)  # another process may have been at it
        events = decode(_Decoding(spec), list(todo.values()), workers)
        with deaths_told(KEPT), closing(_written(events, list(todo), writer, reasons)) as written:
            for _ in track(written, description=f"decode {len(todo)} recordings", total=len(todo)):
                pass
        writer.commit()
    return reasons


@dataclass(frozen=True, slots=True)
class _Decoding:
    """Makes pieces of 16 bits; a recording that turns out to be too loud for its scale is begun anew."""

    spec: WaveformSpec

    def prepare(self, item: Item) -> Generator[Piece, None, float]:
        needed = 1.0
        while True:
            scale, samples = needed, 0
            for block in read_blocks(item, self.spec.sample_rate, source_rate=self.spec.source_rate):
                samples += len(block)
                needed = max(needed, scale_of(block))
                if needed == scale:
                    yield quantised(block, scale)
            if needed == scale:
                return samples / self.spec.sample_rate


@dataclass(slots=True)
class _Open:
    """A recording on its way from a worker."""

    scale: float = 1.0
    parts: list[Integers] = field(default_factory=list)

    def take(self, piece: Piece) -> None:
        if piece.scale != self.scale:
            self.scale, self.parts = piece.scale, []
        self.parts.append(piece.samples.numpy().copy())  # gives the memory shared with a worker back


def _written(
    events: Iterable[Event[Piece]], keys: Sequence[str], writer: WaveformWriter, reasons: dict[str, str]
) -> Generator[str, None, None]:
    """Write what is decoded, now and then for good; yield the key of each recording that is done."""
    on_the_way: dict[int, _Open] = {}
    last = time.monotonic()
    for position, event in events:
        if not isinstance(event, End):
            on_the_way.setdefault(position, _Open()).take(event)
            continue
        recording = on_the_way.pop(position, _Open())
        if event.reason is None:
            writer.append(keys[position], recording.scale, recording.parts)
        else:
            reasons[keys[position]] = event.reason
        if writer.uncommitted >= COMMIT_BYTES or time.monotonic() - last >= COMMIT_SECONDS:
            writer.commit()
            last = time.monotonic()
        yield keys[position]


def _require_room(path: Path, spec: WaveformSpec, items: Sequence[Item], track: Track) -> None:
    """Raise :class:`CacheError` if recordings will hardly fit where a store lies."""
    watched = track(items, description="measure recordings", total=len(items))
    needed = SAMPLE_BYTES * spec.sample_rate * sum(map(_seconds, watched))
    folder = next(folder for folder in path.resolve().parents if folder.exists())
    if needed > (free := shutil.disk_usage(folder).free):
        raise CacheError(
            f"{len(items)} recordings that are yet to be decoded need some {shown_size(needed)}, and {folder} has "
            f"{shown_size(free)} free; make room there, or train without --store"
        )


def _seconds(item: Item) -> float:
    """What the header of a file promises; a guess where it promises nothing, and 0 where it cannot be read."""
    try:
        with open_sound(item) as sound:
            whole = None if sound.frames is None else sound.frames / sound.sample_rate
    except DecodeError:
        return 0.0
    if whole is None and item.path is not None:
        whole = item.path.stat().st_size / UNKNOWN_RATE
    left = max(0.0, (whole or 0.0) - (item.start or 0.0))
    return left if item.duration is None else min(left, item.duration)
