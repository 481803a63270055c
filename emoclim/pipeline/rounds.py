"""Train a run round by round: a plain run has one, a study proposes each from what the earlier ones came to."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from emoclim.data import Split
from emoclim.files import write_json
from emoclim.learning import EMO_CLIM, own_score
from emoclim.pipeline.plans import Plan
from emoclim.pipeline.snapshots import PLAN
from emoclim.pipeline.studies import Study
from emoclim.pipeline.sweeping import Sweep, Watch, join_sweeps, train_candidates
from emoclim.progress import Track


def train_rounds(
    splits: Mapping[str, Split],
    plan: Plan,
    work: Path,
    *,
    device: torch.device,
    track: Track,
    watch: Watch | None,
) -> tuple[Plan, Sweep]:
    """Train what is left of a plan, and return it with all that was proposed."""
    study = _open_study(plan)
    write_json(work / PLAN, plan.to_dict())
    try:
        return _train(splits, plan, work, study, device=device, track=track, watch=watch)
    except BaseException:
        if study and not any(work.glob("*.safetensors")):  # nothing to go on from
            study.give_up()
        raise


def _train(
    splits: Mapping[str, Split],
    plan: Plan,
    work: Path,
    study: Study | None,
    *,
    device: torch.device,
    track: Track,
    watch: Watch | None,
) -> tuple[Plan, Sweep]:
    sweeps: list[Sweep] = []
    for number in range(plan.n_rounds):
        first = sum(len(candidates) for candidates in plan.rounds[:number])
        if study and plan.study and number == len(plan.rounds):
            plan = replace(plan, rounds=(*plan.rounds, tuple(study.ask(plan.study.trials, first))))
            write_json(work / PLAN, plan.to_dict())
        try:
            sweep = train_candidates(
                splits,
                plan.rounds[number],
                work,
                round_number=number,
                first=first,
                most=plan.most,
                similarity=torch.tensor(plan.similarity["table"]) if plan.similarity else None,
                device=device,
                track=track,
                watch=watch,
            )
        except KeyboardInterrupt:  # before the first epoch of this round was done
            if not sweeps:
                raise
            sweeps[-1] = replace(sweeps[-1], interrupted=True)
            break
        sweeps.append(sweep)
        if sweep.interrupted:
            break
        if study:
            study.tell({line.number: own_score(line, plan.rule) for line in sweep.lines})
    return plan, join_sweeps(sweeps)


def _open_study(plan: Plan) -> Study | None:
    if plan.study is None:
        return None
    return Study(
        plan.study.storage,
        plan.study_name,
        plan.study.space,
        run=plan.token,
        experiment=plan.experiment(),
        terms=EMO_CLIM,
        there=bool(plan.rounds),
    )
