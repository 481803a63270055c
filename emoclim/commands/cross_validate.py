"""`emoclim cross-validate`: train heads without each group of items in turn, and evaluate them on it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from emoclim import cluster, pipeline
from emoclim.commands.evaluate import evaluation_tables
from emoclim.commands.interface.options import (
    LIBRARIES,
    RESUMED,
    Device,
    HeadsFile,
    LossWeights,
    On,
    OwnSettings,
    Preset,
    Resume,
    Root,
    RunName,
    Seeds,
    SettingOptions,
    SweepFile,
    named_libraries,
    refuse_useless,
)
from emoclim.commands.interface.terminal import Table, View, command, new_app, track
from emoclim.commands.train import CONTRASTIVE, HEADS, with_training
from emoclim.config import EvaluateConfig

app = new_app()
CROSSED = SettingOptions(pipeline.CrossConfig, left_out={"keep", "tensorboard"})
MEASURED = SettingOptions(EvaluateConfig, {"ks": "k"}, left_out={"split", "head", "label_map"})


@command(
    app,
    "cross-validate",
    first=LIBRARIES,
    then=[*CROSSED.options(), *MEASURED.options(), *HEADS.options(), *CONTRASTIVE.options()],
)
def cross_validate(
    context: typer.Context,
    loss_weights: LossWeights = None,
    sweep: Annotated[
        int | None, typer.Option(min=1, help="Loss weights to try in each fold, evenly spread; default none.")
    ] = None,
    sweep_file: SweepFile = None,
    seeds: Seeds = 1,
    setting: OwnSettings = None,
    preset: Preset = "default",
    config: HeadsFile = None,
    *,
    name: RunName = None,
    resume: Resume = None,
    on: On = None,
    device: Device = "auto",
    workspace: Root = Path(),
    **options: Any,
) -> View:
    """Train heads without each group of items in turn, and evaluate them on it.

    Takes all items, whatever their split. Each fold, a group such as a piece or an artist, is ranked by heads that were
    trained without it; the scores of all queries are pooled. Of several settings one is chosen anew for each fold,
    within its training items.
    """
    engine = cluster.open_engine(on, device) if on else None
    resources = pipeline.Resources(pipeline.Workspace(workspace), device, track=track, engine=engine)
    if resume is not None:
        refuse_useless(context, why=RESUMED, beside={"resume", "device", "workspace", "on"})
        result = pipeline.resume(pipeline.CrossValidate(), resume, resources)
    else:
        request = pipeline.CrossConfig(
            libraries=named_libraries(options),
            evaluation=EvaluateConfig(split="all", **MEASURED.given(options)),
            **CROSSED.given(options),
        )
        request = with_training(request, options, setting, preset, config, loss_weights, sweep, sweep_file, seeds)
        result = pipeline.start(pipeline.CrossValidate(), request, resources, name=name)
    tables = [*evaluation_tables(result.evaluation), Table(result.fold_rows(), "Folds")]
    return View(result.to_dict(), tables, result.summary())
