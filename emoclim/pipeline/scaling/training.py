"""Train one part of a run: what a worker does, again and again, with inputs that it loads once."""

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from emoclim.encoders import flushed_denormals
from emoclim.pipeline.crossing.cross_validate import CrossValidate
from emoclim.pipeline.run import Resources, reopen
from emoclim.pipeline.training.train_heads import TrainHeads
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track

Shared = TrainHeads | CrossValidate
STEPS: Mapping[str, type[Shared]] = {step.name: step for step in (TrainHeads, CrossValidate)}


def train_part(task: Mapping[str, Any], common: Mapping[str, Any], _: Track) -> dict[str, Any]:
    """Train a part to its end, from the last snapshot that there is."""
    with flushed_denormals():
        step, opened = _opened(json.dumps(common))
        step.train_part(*opened, task["part"])
    return {}


@lru_cache(1)
def _opened(told: str) -> tuple[Shared, tuple[Any, Any, Any]]:
    common = json.loads(told)
    step: Any = STEPS[common["step"]]()
    return step, reopen(step, common["run"], Resources(Workspace(Path(common["workspace"])), common["device"]))
