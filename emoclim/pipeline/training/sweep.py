"""Train the candidates of a run, round by round and bank by bank, so that a kill costs at most one epoch.

A plain run has one round, which it is given; a study proposes each round from what the earlier ones came to. While the
run is unfinished, ``candidates.json`` beside its plan holds the rounds so far, and ``<round>-<bank>.safetensors`` what
a bank needs to go on after its last epoch.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from emoclim.config import TrainConfig
from emoclim.data import Split
from emoclim.errors import RunError
from emoclim.files import read_json, write_json
from emoclim.learning import (
    PRECISION_AT,
    Callbacks,
    Candidate,
    Epoch,
    Heads,
    History,
    Objective,
    Space,
    TrainedCandidate,
    groups,
    own_score,
    stack_heads,
)
from emoclim.pipeline.machine import available_memory, limit_threads
from emoclim.pipeline.run import Work
from emoclim.pipeline.sharing import share_out
from emoclim.pipeline.training.studies import Study
from emoclim.progress import uninterrupted
from emoclim.reports import directions
from emoclim.stages import Training, evaluate_each, train_heads

log = logging.getLogger(__name__)

HEADS_PER_THREAD = 4  # fewer do not repay a thread of their own
CANDIDATES = "candidates.json"
COPIES = 7  # of a head's parameters: its own, gradients, two moments, the best, and two in the making of a snapshot
MEMORY_SHARE = 0.5  # of what is free, for the heads

Round = tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Rounds:
    """What is trained, a round at a time, as kept while a run is unfinished."""

    rounds: tuple[Round, ...]  # with a study, those that it has proposed so far
    max_heads: int  # to be trained as one bank
    token: str = ""  # what tells the run from all others in a study

    def save(self, folder: Path) -> None:
        """Write the file."""
        rounds = [[{"loss_weights": one.loss_weights, **one.all_settings} for one in each] for each in self.rounds]
        write_json(folder / CANDIDATES, {"rounds": rounds, "max_heads": self.max_heads, "token": self.token})


def read_rounds(folder: Path, space: Space) -> Rounds | None:
    """Read what was to be trained in a run that was begun already."""
    path = folder / CANDIDATES
    if not path.exists():
        return None
    found: dict[str, Any] = read_json(path, RunError, "delete the run and train again")
    try:
        rounds = tuple(
            tuple(Candidate(tuple(one.pop("loss_weights")), *space.chosen(one)) for one in each)
            for each in found["rounds"]
        )
        return Rounds(rounds, found["max_heads"], found["token"])
    except (LookupError, TypeError, AttributeError) as error:
        raise RunError(f"{path} is of another kind ({error!r}); delete the run and train again") from error


@dataclass(frozen=True, slots=True)
class Sweep:
    """What training gave, candidate by candidate."""

    lines: tuple[TrainedCandidate, ...]
    heads: Heads
    histories: tuple[History, ...]  # losses by epoch, in the same order; K = 1 each
    interrupted: bool  # whether it was stopped early, so that candidates or epochs are missing


@dataclass(frozen=True, slots=True)
class Trainer:
    """Trains banks of heads on the splits of a run."""

    splits: Mapping[str, Split]
    objective: Objective
    device: torch.device
    work: Work
    watch: Callable[[str, Sequence[int], Sequence[Candidate], Epoch], None]  # is told of each epoch of a bank

    def train(self, rounds: Rounds, study: Study | None, rule: str) -> Sweep:
        """Train what is left of all rounds; with a study, ask for each and tell what it came to."""
        sweeps: list[Sweep] = []
        n_rounds = study.config.rounds if study else len(rounds.rounds)
        try:
            for number in range(n_rounds):
                first = sum(map(len, rounds.rounds[:number]))
                if study and number == len(rounds.rounds):
                    rounds = replace(rounds, rounds=(*rounds.rounds, tuple(study.ask(study.config.trials, first))))
                rounds.save(self.work.folder)
                sweeps.append(sweep := self._train_round(rounds, number, first))
                if sweep.interrupted:
                    break
                if study:
                    study.tell({line.number: own_score(line, rule) for line in sweep.lines})
        except KeyboardInterrupt:  # before the first epoch of a round was done
            if not sweeps:
                raise
            sweeps[-1] = replace(sweeps[-1], interrupted=True)
        return _join(sweeps)

    def _train_round(self, rounds: Rounds, number: int, first: int) -> Sweep:
        """Train the candidates of a round, and measure each on validation."""
        candidates = rounds.rounds[number]
        trainings: list[Training] = []
        found: dict[int, tuple[Training, int]] = {}  # by place of a candidate: its bank, and its place there
        metrics: list[dict[str, float]] = []
        interrupted = False
        banks = groups(candidates, rounds.max_heads)
        share_out(self.work, [f"{number}-{bank}" for bank in range(len(banks))])
        try:
            for bank, places in enumerate(banks):
                trainings.append(training := self._train_bank(f"{number}-{bank}", candidates, places, first))
                found |= {place: (training, k) for k, place in enumerate(places)}
                if interrupted := training.interrupted:
                    break
        except KeyboardInterrupt:  # before the first epoch of a bank was done
            if not trainings:
                raise
            interrupted = True
        trained = list(found)
        heads = stack_heads([training.heads for training in trainings])
        heads = heads.select(*sorted(range(len(trained)), key=trained.__getitem__))
        try:
            with uninterrupted():
                validated = validate(self.splits["val"], heads, self.device)
                metrics += self.work.resources.track(validated, "Validating heads", len(trained))
        except KeyboardInterrupt:
            interrupted = True
        lines, histories = [], []
        for place, measured in zip(sorted(trained), metrics, strict=True):
            training, k = found[place]
            histories.append(_history(training, k))
            best = int(training.best_epoch[k]), float(training.best_loss[k])
            lines.append(trained_candidate(first + place, candidates[place], histories[-1], *best, measured))
        return Sweep(tuple(lines), heads, tuple(histories), interrupted)

    def train_named(self, rounds: Rounds, name: str) -> None:
        """Train one bank, which is called ``<round>-<bank>``, and leave its snapshot."""
        number, bank = map(int, name.split("-"))
        candidates = rounds.rounds[number]
        first = sum(map(len, rounds.rounds[:number]))
        self._train_bank(name, candidates, groups(candidates, rounds.max_heads)[bank], first)

    def _train_bank(self, name: str, candidates: Round, places: Sequence[int], first: int) -> Training:
        part, numbers = [candidates[place] for place in places], [first + place for place in places]
        with limit_threads(max(1, len(part) // HEADS_PER_THREAD)):
            return train_heads(
                self.splits["train"],
                self.splits["val"],
                self.objective.of([candidate.settings for candidate in part]),
                [candidate.loss_weights for candidate in part],
                part[0].config,
                device=self.device,
                resume=self.work.read(name),
                callbacks=Callbacks(
                    self.work.resources.track, self.work.keep(name), partial(self.watch, name, numbers, part)
                ),
            )


def validate(split: Split, heads: Heads, device: torch.device) -> Iterator[dict[str, float]]:
    """Yield precision and reciprocal rank across modalities, by metric and direction, of each of K pairs of heads.

    There are none where fewer than two modalities have labels.
    """
    split = split.labelled()
    across = [pair for pair in directions(split.features) if pair[0] != pair[1]]
    if not across:
        yield from ({} for _ in range(heads.n_heads))
        return
    for report in evaluate_each(split, heads, ks=(PRECISION_AT,), measures=("MRR",), pairs=across, device=device):
        yield {
            f"{metric} {name}": direction.metrics[metric]
            for metric in (f"P@{PRECISION_AT}", "MRR")
            for name, direction in report.directions.items()
        }


def _join(parts: Sequence[Sweep]) -> Sweep:
    """Join the rounds of a run."""
    return Sweep(
        tuple(line for part in parts for line in part.lines),
        stack_heads([part.heads for part in parts]),
        tuple(history for part in parts for history in part.histories),
        any(part.interrupted for part in parts),
    )


def trained_candidate(
    number: int,
    candidate: Candidate,
    history: History,
    best_epoch: int,
    best_loss: float,
    metrics: Mapping[str, float],
) -> TrainedCandidate:
    """Describe one candidate by its history, which is of K = 1."""
    terms = tuple(history.val_terms[best_epoch, 0].tolist())
    return TrainedCandidate(number, candidate, best_epoch, len(history.val_loss), best_loss, terms, metrics)


def _history(training: Training, k: int) -> History:
    part = slice(k, k + 1)
    history = training.history
    return History(history.train_loss[:, part], history.val_loss[:, part], history.val_terms[:, part])


def max_heads(train: Split, configs: Iterable[TrainConfig], largest: int, device: torch.device) -> int:
    """Return how many pairs of heads, at least 1, fit into half of the memory that is free now."""
    bytes_per_head = max(_bytes_per_head(train, config) for config in set(configs))
    most = max(1, int(MEMORY_SHARE * _free_memory(device) / bytes_per_head))
    if most < largest:
        log.warning("%d pairs of heads do not fit into memory at once; they are trained %d at a time", largest, most)
    return most


def _bytes_per_head(train: Split, config: TrainConfig) -> int:
    """Estimate what training a pair of heads takes: copies of its parameters, and the rows of a batch."""
    parameters = rows = 0
    for features in train.features.values():
        parameters += config.hidden_dim * (features.spec.dim + config.embedding_dim + 6) + config.embedding_dim
        rows += config.rows * (6 * config.hidden_dim + 4 * config.embedding_dim + 12 * config.rows)
    return 4 * (COPIES * parameters + rows)


def _free_memory(device: torch.device) -> int:
    """Return the bytes that can still be taken on a device."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else available_memory()
