"""`emoclim train-heads`: train any number of pairs of heads on cached features, and choose one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from emoclim.commands.options import (
    LIBRARIES,
    RESUMED,
    Device,
    LabelMap,
    Objective,
    OwnSettings,
    Preset,
    Resume,
    Root,
    RunName,
    SettingOptions,
    ValenceArousal,
    named_libraries,
    read_list,
    refuse_useless,
)
from emoclim.commands.options import read_settings as read_named
from emoclim.commands.terminal import Table, View, command, live_table, new_app
from emoclim.config import TrainConfig, read_settings, split_settings
from emoclim.config import preset as find_preset
from emoclim.learning import SupConSettings

if TYPE_CHECKING:
    from emoclim.learning import Leaders

app = new_app()
SHOWN_LEADERS = 8
TRAINING = SettingOptions(TrainConfig)
LOSS = SettingOptions(SupConSettings, several={"temperature"})


@command(app, first=LIBRARIES, then=[*TRAINING.options(), *LOSS.options()])
def train_heads(
    context: typer.Context,
    loss_weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Weights of the terms A>B, B>A, A>A, B>B of modalities A and B, images before audio; may be repeated; "
            "default 0.25 each."
        ),
    ] = None,
    sweep: Annotated[
        int | None,
        typer.Option(min=1, help="Loss weights to try, evenly spread, or trials in a round of --optuna; default none."),
    ] = None,
    sweep_file: Annotated[
        Path | None, typer.Option(help="TOML file of settings to try, each with a list of values; default none.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds to try everything with, from --seed on.")] = 1,
    optuna: Annotated[
        str | None, typer.Option(help="URL or file of a study of Optuna that chooses what to try; default none.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Name of the study; default one made from the data.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Number of times the study is asked what to try.")] = 4,
    select: Annotated[
        Literal["mean", "p5", "mrr", "loss"],
        typer.Option(help="What heads are chosen by on validation; mean is that of P@5 and MRR."),
    ] = "mean",
    keep: Annotated[int | None, typer.Option(min=1, help="Number of the best heads to keep; default all.")] = None,
    objective: Objective = None,
    own: OwnSettings = None,
    vad: ValenceArousal = None,
    vad_width: Annotated[
        float | None,
        typer.Option(help="Distance in valence and arousal at which emotions attract 0.6 times as much; default 0.05."),
    ] = None,
    preset: Preset = "default",
    config: Annotated[Path | None, typer.Option(help="TOML file with settings above the preset; default none.")] = None,
    *,
    label_map: LabelMap = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write event files for TensorBoard, too.")] = False,
    name: RunName = None,
    resume: Resume = None,
    device: Device = "auto",
    workspace: Root = Path(),
    **given: Any,
) -> View:
    """Train heads on cached features.

    Any number of pairs of heads at once, for each of the --loss-weights, or for --sweep N of them; the pair that does
    best on validation is chosen. Ctrl-C ends with what is done so far.
    """
    from emoclim.pipeline import (
        HeadsConfig,
        LabelledConfig,
        Means,
        StudyConfig,
        TrainHeads,
        Workspace,
        start,
        what_to_try,
    )
    from emoclim.pipeline import resume as go_on

    if resume is not None:
        refuse_useless(context, why=RESUMED, beside={"resume", "device", "workspace"})
    if optuna is None:
        refuse_useless(context, {"study", "rounds"}, "they need --optuna")
    if vad is None:
        refuse_useless(context, {"vad_width"}, "it needs --vad")
    with live_table() as (track, show_table):

        def show_leaders(leaders: "Leaders") -> None:
            show_table(leaders.table_rows(SHOWN_LEADERS))

        means = Means(Workspace(workspace), device, track=track, watch=show_leaders)
        if resume is not None:
            result = go_on(TrainHeads(), resume, means)
        else:
            labelled = LabelledConfig(objective=objective, vad=vad)
            kind = labelled.make_objective()
            settings, told = find_preset(preset), dict[str, Any]()
            if config is not None:
                of_training, told = read_settings(config, lambda data: split_settings(data, TrainConfig, kind.Settings))
                settings = settings.updated(**of_training)
            said = LOSS.given(given)
            temperatures = said.pop("temperature", ())
            told |= said | read_named(own, "temperature=0.1") | ({} if vad_width is None else {"width": vad_width})
            kind = kind.of([kind.Settings(**told)])
            space = what_to_try(
                settings.updated(**TRAINING.given(given)),
                kind,
                [read_list(text, "--loss-weights", float) for text in loss_weights or ()],
                sweep if optuna is None else None,
                temperatures,
                seeds,
                sweep_file,
            )
            proposed = None
            if optuna is not None:
                trials = StudyConfig.model_fields["trials"].default if sweep is None else sweep
                proposed = StudyConfig(storage=optuna, name=study, rounds=rounds, trials=trials)
            asked = HeadsConfig(
                libraries=named_libraries(given),
                **space,
                study=proposed,
                select=select,
                keep=keep,
                objective=objective,
                own=told,
                vad=vad,
                label_map=label_map,
                tensorboard=tensorboard,
            )
            result = start(TrainHeads(), asked, means, name=name)
    return View(result.to_dict(), [Table(result.table_rows())], result.summary())
