"""Load random crops of files for training, decoded in worker processes ahead of their use.

Convention: the crop at one place of one batch has a generator of its own, made from seed, purpose, batch and place, so
that it is the same whoever decodes it and whatever came before.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from emoclim.data import Features, Item
from emoclim.encoders import Encoder
from emoclim.errors import DecodeError, EmoclimError, ManifestError, MissingLibrary
from emoclim.extraction import plain_loader
from emoclim.learning.end_to_end.distributed import ALONE, Replicas
from emoclim.learning.sampling import Batch
from emoclim.modality import Modality
from emoclim.seeding import generator_for

log = logging.getLogger(__name__)

PREFETCHED = 2  # batches that each worker is ahead
FEWEST = 2  # rows of a batch, or of the part of a process: batch normalisation needs them

CropSource = Callable[[Item, torch.Generator], Tensor]  # one random segment (*input_shape), or DecodeError
Augment = Callable[[Tensor, torch.Generator], Tensor]  # a crop and its generator, which has drawn the crop, to a crop
Place = tuple[int, str, bool]  # row number of an item, purpose of the generator of its crop, whether it is augmented


class _Read(NamedTuple):
    """Crops ``(b, *input_shape)`` of the places that could be read, and why others could not, by item.

    An error that is not an item's is for the process that asked to raise.
    """

    crops: Tensor | None
    places: tuple[int, ...]
    reasons: Mapping[int, str]
    error: EmoclimError | None = None


class _Crops(Dataset[_Read]):
    """Data set whose index is a whole batch of places."""

    def __init__(self, source: CropSource, items: Sequence[Item], seed: int, augment: Augment | None) -> None:
        self._source, self._items, self._seed, self._augment = source, items, seed, augment

    def __getitem__(self, asked: Sequence[Place]) -> _Read:
        crops: list[Tensor] = []
        places: list[int] = []
        reasons: dict[int, str] = {}
        for place, (number, purpose, augmented) in enumerate(asked):
            generator = generator_for(purpose, self._seed)
            try:
                crop = self._source(self._items[number], generator)
                crops.append(self._augment(crop, generator) if augmented and self._augment else crop)
                places.append(place)
            except (DecodeError, MissingLibrary) as error:
                reasons[number] = str(error)
            except EmoclimError as error:
                return _Read(None, (), {}, error)
        return _Read(torch.stack(crops) if crops else None, tuple(places), reasons)


class _Asked:
    """Sample the places of each batch, and keep the batches until their crops are loaded."""

    def __init__(self, modality: Modality, replicas: Replicas) -> None:
        self._modality, self._replicas = modality, replicas
        self.source: tuple[Iterable[Batch], str, bool] = ((), "", False)
        self.waiting: deque[Batch] = deque()

    def __iter__(self) -> Iterator[list[Place]]:
        self.waiting.clear()
        batches, purpose, augmented = self.source
        for number, batch in enumerate(batches):
            self.waiting.append(batch)
            rows = batch.rows[self._modality][:, 0].tolist()
            places = range(len(rows))[self._replicas.part(len(rows))]
            yield [(rows[place], f"{purpose}/{number}/{place}", augmented) for place in places]


class CropLoader:
    """Fill batches with random crops of files."""

    def __init__(
        self,
        encoder: Encoder,
        items: Sequence[Item],
        *,
        seed: int,
        workers: int,
        device: torch.device,
        replicas: Replicas = ALONE,
        source: CropSource | None = None,
        augment: Augment | None = None,
    ) -> None:
        # a worker that is not forked gets a copy of the encoder, which is to be without the network
        source = source or cast(Encoder, replace(cast(Any, encoder))).crop
        self._modality, self._items, self._device = encoder.spec.modality, items, device
        self._replicas = replicas
        self._asked = _Asked(self._modality, replicas)
        self.failures: dict[str, str] = {}
        self._loader = plain_loader(
            _Crops(source, items, seed, augment),
            workers,
            sampler=self._asked,
            prefetch_factor=PREFETCHED if workers else None,
            persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )

    def fill(self, batches: Iterable[Batch], purpose: str, *, augmented: bool = False) -> Iterator[Batch]:
        """Yield the batches with waveforms ``(B, *input_shape)`` in place of row numbers: the part of this process.

        Notes
        -----
        Use it within :func:`emoclim.extraction.workers.explain_worker_death`.
        """
        self._asked.source = batches, purpose, augmented
        for read in self._loader:
            if read.error is not None:
                raise read.error
            yield self._filled(self._asked.waiting.popleft(), read)

    def _filled(self, batch: Batch, read: _Read) -> Batch:
        for number, reason in read.reasons.items():
            if (id_ := self._items[number].id) not in self.failures:
                log.warning("%s cannot be used and is left out: %s", id_, reason)
                self.failures[id_] = reason
        if read.crops is None or len(read.places) < FEWEST:
            first = self._items[next(iter(read.reasons))] if read.reasons else None
            told = f" ({first.id}: {next(iter(read.reasons.values()))})" if first else ""
            raise ManifestError(f"fewer than {FEWEST} files of a batch can be used{told}; mend or remove such files")
        places = list(read.places)

        def read_part(table: Tensor) -> Tensor:
            part = table[self._replicas.part(len(table))]
            return part[places].to(self._device, non_blocking=True)

        return batch.with_rows(self._modality, read.crops.to(self._device, non_blocking=True), read_part)


def numbered(encoder: Encoder, items: Sequence[Item], first: int) -> Features:
    """Make placeholder features: the value of item n is its row number ``first + n``, int64."""
    values = torch.arange(first, first + len(items))[:, None]
    return Features(encoder.spec, tuple(item.id for item in items), values)
