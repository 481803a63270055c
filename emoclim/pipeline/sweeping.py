"""Train the candidates of a round, one bank after the other, so that a kill costs at most one epoch.

While a run is unfinished, its folder has another one, ``unfinished/``: ``plan.json``, what is to be done, and for each
round and bank ``<round>-<bank>.safetensors``, all that it needs to go on after its last epoch.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.data import Split
from emoclim.learning import (
    EMO_CLIM,
    PRECISION_AT,
    Candidate,
    Epoch,
    Heads,
    History,
    TrainedCandidate,
    groups,
    stack_heads,
)
from emoclim.pipeline.memory import available_memory
from emoclim.pipeline.snapshots import read_snapshot, write_snapshot
from emoclim.pipeline.workspace import few_threads
from emoclim.progress import Track, silent, uninterrupted
from emoclim.reports import directions
from emoclim.stages import Training, evaluate_each, train_heads

log = logging.getLogger(__name__)

HEADS_PER_THREAD = 4  # fewer do not repay a thread of their own
COPIES = 7  # of a head's parameters: its own, gradients, two moments, the best, and two in the making of a snapshot
MEMORY_SHARE = 0.5  # of what is free, for the heads


@dataclass(frozen=True, slots=True)
class BankEpoch:
    """An epoch of a bank."""

    round: int  # which bank it is, both from 0
    bank: int  # which bank it is, both from 0
    numbers: Sequence[int]
    candidates: Sequence[Candidate]
    losses: Epoch


Watch = Callable[[BankEpoch], None]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What training gave, candidate by candidate."""

    lines: tuple[TrainedCandidate, ...]
    heads: Heads
    histories: tuple[History, ...]  # losses by epoch, in the same order; K = 1 each
    interrupted: bool  # whether it was stopped early, so that candidates or epochs are missing


def train_candidates(
    splits: Mapping[str, Split],
    candidates: Sequence[Candidate],
    work: Path,
    *,
    round_number: int = 0,
    first: int = 0,
    most: int,
    similarity: Tensor | None,
    device: torch.device,
    track: Track = silent,
    watch: Watch | None = None,
) -> Sweep:
    """Train the candidates of a round, going on from what `work` holds, and measure each on validation."""
    banks = groups(candidates, most)
    done: list[tuple[list[int], Training]] = []
    interrupted = False
    for bank, numbers in enumerate(banks):
        path, part = work / f"{round_number}-{bank}.safetensors", [candidates[number] for number in numbers]
        whole = [first + number for number in numbers]
        try:
            with few_threads(max(1, len(part) // HEADS_PER_THREAD)):
                training = train_heads(
                    splits["train"],
                    splits["val"],
                    EMO_CLIM,
                    [candidate.loss_weights for candidate in part],
                    part[0].config,
                    temperature=[candidate.config.temperature for candidate in part],
                    similarity=similarity,
                    device=device,
                    track=track,
                    resume=read_snapshot(path),
                    keep=partial(write_snapshot, path=path),
                    watch=partial(_tell, watch, round_number, bank, whole, part) if watch else None,
                )
        except KeyboardInterrupt:  # before the first epoch of this bank was done
            if not done:
                raise
            interrupted = True
            break
        done.append((numbers, training))
        interrupted = training.interrupted
        if interrupted:
            break
    order = torch.tensor([number for numbers, _ in done for number in numbers]).argsort().tolist()
    heads = stack_heads([training.heads for _, training in done]).select(*order)
    found = [(number, training, k) for numbers, training in done for k, number in enumerate(numbers)]
    chosen = [found[place] for place in order]
    metrics: list[dict[str, float]] = []
    try:
        with uninterrupted():
            metrics += track(validate(splits["val"], heads, device), "Validating heads", len(order))
    except KeyboardInterrupt:
        interrupted = True
    lines = tuple(
        _line(first + number, candidates[number], training, k, measured)
        for (number, training, k), measured in zip(chosen, metrics, strict=True)
    )
    return Sweep(lines, heads, tuple(_history(training, k) for _, training, k in chosen), interrupted)


def join_sweeps(parts: Sequence[Sweep]) -> Sweep:
    """The rounds of a run as one."""
    return Sweep(
        tuple(line for part in parts for line in part.lines),
        stack_heads([part.heads for part in parts]),
        tuple(history for part in parts for history in part.histories),
        any(part.interrupted for part in parts),
    )


def _tell(
    watch: Watch, round_number: int, bank: int, numbers: Sequence[int], part: Sequence[Candidate], losses: Epoch
) -> None:
    watch(BankEpoch(round_number, bank, numbers, part, losses))


def validate(split: Split, heads: Heads, device: torch.device) -> Iterator[dict[str, float]]:
    """Precision and reciprocal rank across modalities, by metric and direction, of each of K pairs of heads."""
    across = [pair for pair in directions(split.features) if pair[0] != pair[1]]
    for report in evaluate_each(split, heads, ks=(PRECISION_AT,), measures=("MRR",), pairs=across, device=device):
        yield {
            f"{metric} {name}": direction.metrics[metric]
            for metric in (f"P@{PRECISION_AT}", "MRR")
            for name, direction in report.directions.items()
        }


def _line(
    number: int, candidate: Candidate, training: Training, k: int, metrics: Mapping[str, float]
) -> TrainedCandidate:
    epoch = int(training.best_epoch[k])
    return TrainedCandidate(
        number=number,
        loss_weights=candidate.loss_weights,
        config=candidate.config,
        best_epoch=epoch,
        epochs=len(training.history.val_loss),
        val_loss=float(training.best_loss[k]),
        val_terms=tuple(training.history.val_terms[epoch, k].tolist()),
        metrics=metrics,
    )


def _history(training: Training, k: int) -> History:
    part = slice(k, k + 1)
    history = training.history
    return History(history.train_loss[:, part], history.val_loss[:, part], history.val_terms[:, part])


def most_heads(train: Split, configs: Iterable[TrainConfig], largest: int, device: torch.device) -> int:
    """How many pairs of heads, at least 1, fit into half of the memory that is free now."""
    bytes_per_head = max(_bytes_per_head(train, config) for config in set(configs))
    most = max(1, int(MEMORY_SHARE * _free_memory(device) / bytes_per_head))
    if most < largest:
        log.warning("%d pairs of heads do not fit into memory at once; they are trained %d at a time", largest, most)
    return most


def _bytes_per_head(train: Split, config: TrainConfig) -> int:
    """What a pair of heads takes while it is trained: copies of its parameters, and the rows of a batch."""
    parameters = rows = 0
    for features in train.features.values():
        parameters += config.hidden_dim * (features.spec.dim + config.embedding_dim + 6) + config.embedding_dim
        rows += config.batch_size * (6 * config.hidden_dim + 4 * config.embedding_dim + 12 * config.batch_size)
    return 4 * (COPIES * parameters + rows)


def _free_memory(device: torch.device) -> int:
    """Bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory()
