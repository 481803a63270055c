"""Run the epochs of a training: losses by epoch, snapshots, and resuming from one.

Conventions: epochs count from 0; histories lead with the epoch, everything else with K, the number of heads. Whatever
must survive a kill is a mapping of tensors by name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from emoclim.progress import Track, silent, uninterrupted

Snapshot = Mapping[str, Tensor]  # all that a training needs to go on after an epoch
Losses = tuple[Tensor, Tensor, Tensor]  # of one epoch: the columns of a History


@dataclass(frozen=True, slots=True)
class History:
    """Losses by epoch."""

    train_loss: Tensor  # `(T, K)`: mean over the epoch's batches, each before its update, with dropout
    val_loss: Tensor  # `(T, K)`: on the held validation batches, after the epoch
    val_terms: Tensor  # `(T, K, number of terms)`: the same before weighting


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to."""

    number: int  # from 0
    train_loss: Tensor  # (K,), as the next: its row of a History
    val_loss: Tensor  # (K,)
    val_terms: Tensor  # (K, number of terms)


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What is told of a training while it runs."""

    track: Track = silent  # shows progress
    # is given all that is needed to go on, after each epoch; on the CPU or not, and not to be held on to
    keep: Callable[[Snapshot], None] | None = None
    watch: Callable[[Epoch], None] | None = None  # is told of each epoch, also of those before a stop; on the CPU


class Checkpointed(Protocol):
    """A part of a training whose state is saved in snapshots and restored from them."""

    def state(self) -> dict[str, Tensor]:
        """Return all that it needs to be resumed, by name; not copied."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state, which may hold more than its own."""


class CheckpointedBest(Checkpointed, Protocol):
    """Keep the best epoch."""

    def update(self, epoch: int, loss: Tensor) -> bool:
        """Take in the validation losses ``(K,)`` of an epoch; tell whether a later one may still be better."""

    def may_improve(self, epoch: int) -> bool:
        """Tell whether a later epoch may still be better."""


class Epochs:
    """Run the epochs of a training, save a snapshot after each, and resume from one."""

    def __init__(
        self,
        count: int,
        run_epoch: Callable[[int], Losses],
        best: CheckpointedBest,
        parts: Sequence[Checkpointed],
        draws: Mapping[str, torch.Generator],
        callbacks: Callbacks,
    ) -> None:
        self._count, self._run_epoch, self._best, self._callbacks = count, run_epoch, best, callbacks
        self._parts, self._draws = (*parts, best), draws
        self._done: list[Losses] = []

    def run(self, description: str) -> bool:
        """Run the epochs that are left; tell whether that was interrupted.

        A ``KeyboardInterrupt`` before the first epoch was done is raised.
        """
        first, last, keep = len(self._done), self._count, self._callbacks.keep
        if first and not self._best.may_improve(first - 1):
            return False
        for epoch in self._callbacks.track(range(first, last), description=description, total=last - first):
            try:
                losses = self._run_epoch(epoch)
                with uninterrupted():
                    self._done.append(losses)
                    goes_on = self._best.update(epoch, losses[1])
                    self._tell(epoch)
                    if keep is not None:
                        keep(self._snapshot())
            except KeyboardInterrupt:
                if not self._done:
                    raise
                return True
            if not goes_on:
                break
        return False

    def restore(self, snapshot: Snapshot, device: torch.device) -> None:
        """Restore a snapshot, with losses on `device`."""
        for part in self._parts:
            part.restore(snapshot)
        for purpose, generator in self._draws.items():
            generator.set_state(snapshot[f"generator.{purpose}"])
        columns = [snapshot[f"history.{number}"].to(device) for number in range(3)]
        self._done = list(zip(*(column.unbind() for column in columns), strict=True))
        for number in range(len(self._done)):
            self._tell(number)

    def history(self) -> History:
        """Return the losses of the epochs that are done, at least one, on the CPU."""
        return History(*(torch.stack(column).cpu() for column in zip(*self._done, strict=True)))

    def _tell(self, number: int) -> None:
        if self._callbacks.watch is not None:
            self._callbacks.watch(Epoch(number, *(column.cpu() for column in self._done[number])))

    def _snapshot(self) -> Snapshot:
        snapshot = {
            f"history.{number}": torch.stack(column) for number, column in enumerate(zip(*self._done, strict=True))
        }
        snapshot |= {f"generator.{purpose}": generator.get_state() for purpose, generator in self._draws.items()}
        for part in self._parts:
            snapshot |= part.state()
        return snapshot


def mean_loss(losses: Sequence[Tensor]) -> Tensor:
    """Average losses ``(K,)``, added in order: a reduction may add in another order for another K."""
    return sum(losses[1:], losses[0]) / len(losses)
