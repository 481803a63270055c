"""Load random crops of files for training, decoded in worker processes ahead of their use.

Convention: the crop at one place of one batch has a generator of its own, made from seed, purpose, batch and place, so
that it is the same whoever decodes it and whatever came before. Where several modalities have crops, the purpose names
the modality, unless items of one place belong together: then all have equal generators, for the same seconds.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from emoclim.data import Features, Item
from emoclim.errors import DecodeError, EmoclimError, ManifestError, MissingLibrary
from emoclim.extraction import plain_loader, shared
from emoclim.learning.end_to_end.distributed import ALONE, Replicas
from emoclim.learning.end_to_end.windows import LiveEncoder
from emoclim.learning.sampling import Batch
from emoclim.modality import Modality
from emoclim.seeding import generator_for

log = logging.getLogger(__name__)

PREFETCHED = 2  # batches that each worker is ahead
FEWEST = 2  # rows of a batch, or of the part of a process: batch normalisation needs them

CropSource = Callable[[Item, torch.Generator], Tensor]  # one random segment (*input_shape), or DecodeError
Augment = Callable[[Tensor, torch.Generator], Tensor]  # a crop and its generator, which has drawn the crop, to a crop
Place = tuple[int, str, bool]  # row number of an item, purpose of the generator of its crop, whether it is augmented


@dataclass(frozen=True, slots=True)
class CropMaker:
    """The items of a modality, and how crops of them are made."""

    encoder: LiveEncoder
    items: Sequence[Item]  # in the order of their row numbers
    source: CropSource | None = None  # None: the encoder, from the files
    augment: Augment | None = None  # what is done to crops of training, never of validation, after they are drawn


class _Read(NamedTuple):
    """Crops ``(b, *input_shape)`` of the places that could be read, and why others could not, by item.

    An error that is not an item's is for the process that asked to raise.
    """

    crops: Tensor | None
    places: tuple[int, ...]
    reasons: Mapping[int, str]
    error: EmoclimError | None = None


class _Crops(Dataset[dict[Modality, _Read]]):
    """Data set whose index is a whole batch of places, by modality."""

    def __init__(self, makers: Mapping[Modality, tuple[CropSource, Sequence[Item], Augment | None]], seed: int) -> None:
        self._makers, self._seed = makers, seed

    def __getitem__(self, asked: Mapping[Modality, Sequence[Place]]) -> dict[Modality, _Read]:
        return {modality: self._read(places, *self._makers[modality]) for modality, places in asked.items()}

    def _read(
        self, asked: Sequence[Place], source: CropSource, items: Sequence[Item], augment: Augment | None
    ) -> _Read:
        crops: list[Tensor] = []
        places: list[int] = []
        reasons: dict[int, str] = {}
        for place, (number, purpose, augmented) in enumerate(asked):
            generator = generator_for(purpose, self._seed)
            try:
                crop = source(items[number], generator)
                crops.append(augment(crop, generator) if augmented and augment else crop)
                places.append(place)
            except (DecodeError, MissingLibrary) as error:
                reasons[number] = str(error)
            except EmoclimError as error:
                return _Read(None, (), {}, error)
        return _Read(shared(torch.stack(crops)) if crops else None, tuple(places), reasons)


class _Asked:
    """Sample the places of each batch, and keep the batches until their crops are loaded."""

    def __init__(self, modalities: Sequence[Modality], replicas: Replicas, paired: bool) -> None:
        apart = len(modalities) > 1 and not paired
        self._owners = {name: f"{name} " if apart else "" for name in modalities}
        self._replicas = replicas
        self.source: tuple[Iterable[Batch], str, bool] = ((), "", False)
        self.waiting: deque[Batch] = deque()

    def __iter__(self) -> Iterator[dict[Modality, list[Place]]]:
        self.waiting.clear()
        batches, purpose, augmented = self.source
        for number, batch in enumerate(batches):
            self.waiting.append(batch)
            asked = {}
            for modality, owner in self._owners.items():
                rows = batch.rows[modality][:, 0].tolist()
                places = range(len(rows))[self._replicas.part(len(rows))]
                asked[modality] = [(rows[at], f"{owner}{purpose}/{number}/{at}", augmented) for at in places]
            yield asked


class CropLoader:
    """Fill batches with random crops of files."""

    def __init__(
        self,
        makers: Sequence[CropMaker],
        *,
        seed: int,
        workers: int,
        device: torch.device,
        replicas: Replicas = ALONE,
        paired: bool = False,  # whether items of all modalities at one place of a batch are of the same seconds
    ) -> None:
        # a worker that is not forked gets a copy of the encoder, which is to be without the network
        sources = [one.source or cast(LiveEncoder, replace(cast(Any, one.encoder))).crop for one in makers]
        self._items = {one.encoder.spec.modality: one.items for one in makers}
        self._device, self._replicas = device, replicas
        self._asked = _Asked(tuple(self._items), replicas, paired)
        self.failures: dict[str, str] = {}
        parts = zip(sources, makers, strict=True)
        self._loader = plain_loader(
            _Crops({one.encoder.spec.modality: (source, one.items, one.augment) for source, one in parts}, seed),
            workers,
            sampler=self._asked,
            prefetch_factor=PREFETCHED if workers else None,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )

    def fill(self, batches: Iterable[Batch], purpose: str, *, augmented: bool = False) -> Iterator[Batch]:
        """Yield the batches with crops ``(B, *input_shape)`` in place of row numbers: the part of this process.

        Notes
        -----
        Use it within :func:`emoclim.extraction.workers.explain_worker_death`.
        """
        self._asked.source = batches, purpose, augmented
        for by_modality in self._loader:
            batch = self._asked.waiting.popleft()
            for modality, read in by_modality.items():
                if read.error is not None:
                    raise read.error
                batch = self._filled(batch, modality, read)
            yield batch.to(self._device)

    def _filled(self, batch: Batch, modality: Modality, read: _Read) -> Batch:
        items = self._items[modality]
        for number, reason in read.reasons.items():
            if (id_ := items[number].id) not in self.failures:
                log.warning("%s cannot be used and is left out: %s", id_, reason)
                self.failures[id_] = reason
        if read.crops is None or len(read.places) < FEWEST:
            first = items[next(iter(read.reasons))] if read.reasons else None
            told = f" ({first.id}: {next(iter(read.reasons.values()))})" if first else ""
            raise ManifestError(f"fewer than {FEWEST} files of a batch can be used{told}; mend or remove such files")
        places = list(read.places)

        def read_part(table: Tensor) -> Tensor:
            return table[self._replicas.part(len(table))][places]

        return batch.with_rows(modality, read.crops, read_part)


def numbered(encoder: LiveEncoder, items: Sequence[Item], first: int) -> Features:
    """Make placeholder features: the value of item n is its row number ``first + n``, int64."""
    values = torch.arange(first, first + len(items))[:, None]
    return Features(encoder.spec, tuple(item.id for item in items), values)
