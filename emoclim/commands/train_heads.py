"""`emoclim train-heads`: options, and what is shown while it trains."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from emoclim.commands.options import Device, Root, given_options, read_numbers, refuse_useless
from emoclim.commands.terminal import Table, View, command, live_table, new_app

if TYPE_CHECKING:
    from emoclim.learning import Leaders

app = new_app()
SHOWN_LEADERS = 8
WITH_RESUME = frozenset({"resume", "device", "workspace"})


@command(app)
def train_heads(
    context: typer.Context,
    images: Annotated[str | None, typer.Option(help="Image cache: an encoder's or a manifest's name.")] = None,
    audio: Annotated[str | None, typer.Option(help="Music cache: an encoder's or a manifest's name.")] = None,
    loss_weights: Annotated[
        list[str] | None,
        typer.Option(help="Weights of image>audio, audio>image, image>image, audio>audio; may be repeated."),
    ] = None,
    sweep: Annotated[
        int | None, typer.Option(min=1, help="Try so many loss weights; with --optuna, so many in a round.")
    ] = None,
    sweep_file: Annotated[Path | None, typer.Option(help="TOML file: settings, each with a list to try.")] = None,
    temperature: Annotated[list[float] | None, typer.Option(help="Of the contrastive loss; may be repeated.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Repeat all with so many seeds, from --seed on.")] = 1,
    optuna: Annotated[
        str | None, typer.Option(help="URL or file of a study of Optuna, which chooses what to try.")
    ] = None,
    study: Annotated[str | None, typer.Option(help="Its name; the default fits the data.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often it is asked.")] = 4,
    select: Annotated[
        Literal["mean", "p5", "mrr", "loss"],
        typer.Option(help="What to choose by on validation: mean is of P@5 and MRR."),
    ] = "mean",
    keep: Annotated[int | None, typer.Option(min=1, help="Keep so many of the best heads; default all.")] = None,
    vad: Annotated[
        Path | None, typer.Option(help="Table word,valence,arousal: similar emotions attract a little.")
    ] = None,
    vad_width: Annotated[float, typer.Option(help="Distance at which that has fallen to 0.6.")] = 0.05,
    no_positive: Annotated[
        Literal["count", "skip"] | None, typer.Option(help="What an anchor without positives does in the mean.")
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this run, which was stopped or killed.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better one after which a head's later ones do not count.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write event files too.")] = False,
    preset: Annotated[str, typer.Option(help="Settings to start from: default, paper or paper-code.")] = "default",
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of AdamW.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Items per modality and batch.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of 100 batches.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    precision: Annotated[
        Literal["fp32", "bf16"] | None, typer.Option(help="Of the matrix products; parameters are fp32.")
    ] = None,
    label_map: Annotated[Path | None, typer.Option(help="TOML file or published map: classes of the labels.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run; default the next number.")] = None,
    device: Device = "auto",
    workspace: Root = Path(),
) -> View:
    """Train heads on cached features.

    Any number of pairs of heads at once, for each of the --loss-weights, or for --sweep N of them; the pair that does
    best on validation is chosen. Ctrl-C ends with what is done so far.
    """
    from emoclim.config import preset as find_preset
    from emoclim.config import read_settings
    from emoclim.pipeline import TRIALS, StudyPlan, Workspace, resume_heads, start_heads, what_to_try

    if resume is not None:
        beside = given_options(context) - WITH_RESUME
        refuse_useless(context, beside, "--resume goes on with what the run was begun with")
    if optuna is None:
        refuse_useless(context, {"study", "rounds"}, "they need --optuna")
    if vad is None:
        refuse_useless(context, {"vad_width"}, "it needs --vad")
    place = Workspace(workspace)
    with live_table() as (track, show_table):

        def show_leaders(leaders: "Leaders") -> None:
            show_table(leaders.table_rows(SHOWN_LEADERS))

        if resume is not None:
            result = resume_heads(resume, workspace=place, device=device, track=track, show=show_leaders)
        else:
            settings = find_preset(preset)
            if config is not None:
                settings = read_settings(config, lambda told: find_preset(preset).updated(**told))
            given = {
                "learning_rate": learning_rate,
                "batch_size": batch_size,
                "epochs": epochs,
                "patience": patience,
                "seed": seed,
                "no_positive": no_positive,
                "precision": precision,
            }
            settings = settings.updated(**{key: value for key, value in given.items() if value is not None})
            weights = [read_numbers(text, "--loss-weights", float) for text in loss_weights or []]
            points = sweep if optuna is None else None
            space = what_to_try(settings, weights, points, temperature or (), seeds, sweep_file)
            trials = sweep or TRIALS
            result = start_heads(
                images=images,
                audio=audio,
                candidates=space if optuna is None else StudyPlan(optuna, study, rounds, trials, space),
                select=select,
                keep=keep,
                valence_arousal=vad,
                similarity_width=vad_width,
                label_map=label_map,
                name=name,
                workspace=place,
                device=device,
                track=track,
                show=show_leaders,
                tensorboard=tensorboard,
            )

    return View(result.to_dict(), [Table(result.table_rows())], result.summary())
