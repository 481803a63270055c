"""Train the candidates of a cross-validation without each fold in turn: what `cross-validate` and its workers do."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from emoclim.data import Split
from emoclim.encoders import choose_device
from emoclim.learning import Heads, Space, SweepReport, TrainedCandidate, choose
from emoclim.pipeline.crossing.config import CrossConfig
from emoclim.pipeline.crossing.folds import Folds
from emoclim.pipeline.run import Work, require_finite
from emoclim.pipeline.training.inputs import Labelled
from emoclim.pipeline.training.sweep import Sweep, Trainer, read_rounds
from emoclim.pipeline.training.train_heads import first_rounds, unseen


@dataclass(frozen=True, slots=True)
class Fold:
    """What was trained for one fold."""

    name: str
    heads: Heads  # the chosen pair
    report: SweepReport  # the candidates, and the chosen one


@dataclass(frozen=True, slots=True)
class FoldTraining:
    """Trains the candidates of a run without each fold in turn, and chooses one for it."""

    config: CrossConfig
    inputs: Labelled
    split: Split  # all items
    folds: Folds
    work: Work

    def folds_in_turn(self) -> Iterator[Fold]:
        """Train what is left."""
        space, rule = self.config.space(self.inputs.objective), self.config.rule(ranked=self.inputs.ranked)
        for number, name in enumerate(self.folds.names):
            fits, several = self.inputs.objective.fits, len(space.candidates()) > 1
            sweep = self.sweep_of(number)
            lines = self._inner_lines(number, space, rule, sweep) if fits and several else sweep.lines
            require_finite(line.val_loss for line in lines)
            report = choose(lines, self.inputs.objective, rule)
            yield Fold(name, sweep.heads.select(report.chosen), report)

    def sweep_of(self, number: int) -> Sweep:
        """Train all candidates without a fold."""
        space, rule = self.config.space(self.inputs.objective), self.config.rule(ranked=self.inputs.ranked)
        rest = self.split.select(self.folds.rows(self.split, number)[0])
        halves = {"train": rest, "val": rest}
        if not self.inputs.objective.fits:
            halves = self.folds.halves(rest, self.config.base.seed)
        return self._train(halves, space, rule, f"fold-{number}")

    def _inner_lines(self, held: int, space: Space, rule: str, sweep: Sweep) -> list[TrainedCandidate]:
        """Measure each candidate on each of the other folds, by heads that were fitted without both."""
        found = []
        for number in range(len(self.folds.names)):
            if number != held:
                rest, own = self.folds.rows(self.split, number, held)
                parts = {"train": self.split.select(rest), "val": self.split.select(own)}
                found.append(self._train(parts, space, rule, f"fold-{held}/without-{number}").lines)
        return [_mean(line, [one[place] for one in found]) for place, line in enumerate(sweep.lines)]

    def _train(self, parts: Mapping[str, Split], space: Space, rule: str, folder: str) -> Sweep:
        work = replace(self.work, folder=self.work.folder / folder)
        device = choose_device(work.resources.device)
        parts = {name: self._lasting(part) for name, part in parts.items()}
        rounds = read_rounds(work.folder, space) or first_rounds(None, space, parts["train"], device)
        sweep = Trainer(parts, self.inputs.objective, device, work, unseen).train(rounds, None, rule)
        if sweep.interrupted:
            raise KeyboardInterrupt
        return sweep

    def _lasting(self, part: Split) -> Split:
        return part.lasting(self.config.min_seconds) if self.config.min_seconds else part


def _mean(line: TrainedCandidate, inner: Sequence[TrainedCandidate]) -> TrainedCandidate:
    """Average what a candidate came to on the other folds."""
    return replace(
        line,
        val_loss=fmean(one.val_loss for one in inner),
        val_terms=tuple(map(fmean, zip(*(one.val_terms for one in inner), strict=True))),
        metrics={name: fmean(one.metrics[name] for one in inner) for name in inner[0].metrics},
    )
