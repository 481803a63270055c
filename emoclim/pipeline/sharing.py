"""Share the parts of a training out to the workers of an engine, which leave the snapshots that the run goes on from.

A part is trained by the process of a worker as by that of the run, which then finds each at its end; so the bytes of
the result are those of one process.
"""

from collections.abc import Sequence
from dataclasses import asdict

from emoclim.cluster import Job, TaskFolder, run_tasks
from emoclim.errors import RunError
from emoclim.pipeline.machine import digest_of
from emoclim.pipeline.run import Work

CALL = "emoclim.pipeline.scaling.training:train_part"


def share_out(work: Work, parts: Sequence[str]) -> None:
    """Have parts of a run trained, by their names; without an engine, or of one part alone, do nothing.

    Raises
    ------
    RunError
        A part cannot be trained; what the others left is kept.
    """
    engine = work.resources.engine
    if engine is None or len(parts) < 2:
        return
    tasks = TaskFolder(work.folder / "tasks")
    common = {
        "step": work.plan.step,
        "workspace": str(work.resources.workspace.root),
        "run": str(work.run),
        "device": work.resources.device.partition(":")[0],
    }
    job = Job(digest_of([asdict(work.plan), list(parts)]), CALL, common, [1] * len(parts))
    there = tasks.job()
    if there is not None and there.key == job.key:
        tasks.go_on_with(job)
    else:
        tasks.write(job, [{"part": part} for part in parts])
    run_tasks(tasks, engine, track=work.resources.track, description=f"train on {engine.name}")
    for number, part in enumerate(parts, start=1):
        if error := tasks.read(number, ".done").get("error"):
            raise RunError(f"part {part} of run {work.run} could not be trained on {engine.name}: {error}")
