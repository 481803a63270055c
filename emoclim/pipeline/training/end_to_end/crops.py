"""Where `emoclim train-end-to-end` takes its crops of sound from, and what is added to them.

With ``--store``, recordings are decoded once, and random crops are cut from what was kept. A note of augmentations is
of plain values: the settings, with the place of the background sounds as in the notes of caches, and a digest of their
contents.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emoclim.cache import WAV, StoreSize, located, open_waveform, portable_path, store_name, write_waveform
from emoclim.data import ContentKeys, Item, Waveform, read_blocks
from emoclim.encoders import AudioEncoder, Encoder
from emoclim.errors import CacheError, ConfigError, DecodeError
from emoclim.extraction import Event, ItemEnd, decode, explain_worker_death
from emoclim.learning import Augmentations, Augmenter, Backgrounds, load_library, read_backgrounds
from emoclim.modality import Modality
from emoclim.pipeline.caches.inventory import shown_size
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

DIGEST, CHANCE = "background_digest", "_probability"
Note = Mapping[str, Any]
KEPT = "what was decoded is kept: run again, with fewer --workers"


@dataclass(frozen=True, slots=True)
class StoredCrops:
    """A source of crops, see :data:`emoclim.learning.end_to_end.crops.CropSource`: the recordings of a store."""

    cut: Callable[[Waveform, torch.Generator], Tensor]  # makes a crop of a waveform
    files: Mapping[str, Path]  # by item
    reasons: Mapping[str, str]  # why others are not among them, by item
    path: Path
    held: StoreSize  # of the whole store

    def __call__(self, item: Item, generator: torch.Generator) -> Tensor:
        """Cut the crop of an item; raise :class:`DecodeError` where it could not be decoded."""
        if item.id in self.reasons:
            raise DecodeError(self.reasons[item.id])
        with open_waveform(self.files[item.id]) as waveform:
            return self.cut(waveform, generator)

    def to_dict(self) -> dict[str, str | int]:
        """Return plain values, for JSON."""
        return {"store": str(self.path), "recordings": self.held.recordings, "bytes": self.held.n_bytes}

    def told(self) -> str:
        """Describe the store in one sentence."""
        failed = f"; {len(self.reasons)} of this run cannot be used" if self.reasons else ""
        recordings, size = self.held
        return f"decoded waveforms: {recordings} recordings, {shown_size(size)} in {self.path}{failed}"


def stored_crops(
    encoder: AudioEncoder,
    items: Sequence[Item],
    workspace: Workspace,
    keys: ContentKeys,
    *,
    workers: int = 0,
    track: Track = silent,
) -> StoredCrops:
    """Decode what the store of a workspace does not hold yet of some items, and make it a source of their crops."""
    store = workspace.caches / store_name(encoder.spec.modality, encoder.sample_rate, encoder.source_rate)
    files: dict[str, Path] = {}
    reasons: dict[str, str] = {}
    for item in track(items, description="read recordings", total=len(items)):
        try:
            files[item.id] = store / f"{keys(item)}{WAV}"
        except DecodeError as error:
            reasons[item.id] = str(error)
    keys.save()
    missing = {path: item for item in items if (path := files.get(item.id)) and not path.exists()}
    failed = _fill(missing, encoder.sample_rate, encoder.source_rate, workers, track)
    reasons |= {id_: failed[path] for id_, path in files.items() if path in failed}
    present = {id_: path for id_, path in files.items() if path not in failed}
    cut = replace(encoder).cut  # of a copy without the network, for processes that are not forked
    return StoredCrops(cut, present, reasons, store, StoreSize.of(store))


def _fill(
    missing: Mapping[Path, Item], sample_rate: int, source_rate: int | None, workers: int, track: Track
) -> dict[Path, str]:
    """Write the files of recordings; return why some cannot be."""
    if not missing:
        return {}
    paths, items, reasons = list(missing), list(missing.values()), dict[Path, str]()
    decoder = _WritingDecoder(sample_rate, source_rate, {item.id: path for path, item in missing.items()})
    with explain_worker_death(KEPT), closing(_ends(decode(decoder, items, workers))) as ends:
        for position, end in track(ends, description=f"decode {len(items)} recordings", total=len(items)):
            if end.reason is not None:
                reasons[paths[position]] = end.reason
    return reasons


@dataclass(frozen=True, slots=True)
class _WritingDecoder:
    """Decodes a recording into its file; yields nothing but what kept it from writing."""

    sample_rate: int
    source_rate: int | None
    files: Mapping[str, Path]  # by item

    def prepare(self, item: Item) -> Generator[CacheError, None, float]:
        path = self.files[item.id]
        if path.exists():  # another process has been at it meanwhile
            return 0.0
        blocks = partial(read_blocks, item, self.sample_rate, source_rate=self.source_rate)
        try:
            return write_waveform(path, blocks, self.sample_rate) / self.sample_rate
        except CacheError as error:
            yield error
            return 0.0


def _ends(events: Iterable[Event[CacheError]]) -> Generator[tuple[int, ItemEnd], None, None]:
    """Yield the end of each recording; raise what kept one from being written."""
    for position, event in events:
        if isinstance(event, CacheError):
            raise event
        yield position, event


def make_augmenters(
    settings: Augmentations,
    encoders: Mapping[Modality, Encoder],
    workspace: Workspace,
    track: Track,
    known: Note | None = None,
) -> tuple[Note | None, dict[Modality, Augmenter]]:
    """Make augmentations for the encoders that take waveforms, and the note of them.

    `known` is the note of a resumed run, which says where sounds lie.
    """
    settings.require_switches()
    note: Note | None = None
    found: dict[Modality, Augmenter] = {}
    takers = of_waveforms(encoders, "to add sounds to; leave augmentations out") if settings else {}
    for modality, encoder in takers.items():
        note, found[modality] = _make_augmenter(settings, encoder, workspace, track, known)
    return note, found


def of_waveforms(encoders: Mapping[Modality, Encoder], purpose: str) -> dict[Modality, AudioEncoder]:
    """Select the encoders that take waveforms; raise if there are none."""
    found = {modality: one for modality, one in encoders.items() if isinstance(one, AudioEncoder)}
    if not found:
        names = " or ".join(repr(one.spec.name) for one in encoders.values())
        raise ConfigError(f"encoder {names} takes no waveforms {purpose}")
    return found


def _make_augmenter(
    settings: Augmentations, encoder: AudioEncoder, workspace: Workspace, track: Track, known: Note | None
) -> tuple[Note, Augmenter]:
    """Make those of one encoder; the note is the same for each."""
    load_library()  # whoever lacks it is not to wait for the sounds first
    folder = located(known["background"], workspace.caches) if known and known["background"] else settings.background
    rate, sounds, note = encoder.sample_rate, Backgrounds((), ""), settings.model_dump(mode="json")
    if folder is not None:
        keys = workspace.content_keys()
        sounds = read_backgrounds(folder.resolve(), encoder.spec.modality, rate, encoder.segment_seconds, keys, track)
        keys.save()
        note |= {"background": portable_path(folder, workspace.caches), DIGEST: sounds.digest}
    return note, Augmenter(settings, sounds.files, rate, encoder.length)


def without_place(note: Note | None) -> Note | None:
    """Return what of a note the bytes of a run depend on."""
    return note and {name: value for name, value in note.items() if name != "background"}


def describe(note: Note) -> str:
    """Describe the augmentations of a note to a reader."""
    added = {"background": f"sounds of {Path(note['background'] or '').name}", "gaussian_snr": "Gaussian noise"}
    parts = []
    for switch, what in added.items():
        if note[switch] is not None:
            name = switch.removesuffix("_snr")
            (low, high), probability = note[f"{name}_snr"], note[f"{name}_probability"]
            parts.append(f"{what} at {low:g} to {high:g} dB ({probability:.0%} of them)")
    effects = {name.removesuffix(CHANCE): share for name, share in note.items() if name.endswith(CHANCE)}
    parts += [
        f"{name} ({share:.0%})" for name, share in effects.items() if share and name not in ("background", "gaussian")
    ]
    return ", ".join(parts)
