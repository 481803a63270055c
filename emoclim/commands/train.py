"""`emoclim train-heads` and `train-end-to-end`: train heads on cached features, or encoders and heads together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from emoclim import cluster, pipeline, recipes
from emoclim.commands.interface.options import (
    LIBRARIES,
    RESUMED,
    Device,
    HeadsFile,
    JointConfig,
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
    Workers,
    named_encoders,
    named_libraries,
    parse_settings,
    read_list,
    refuse_useless,
)
from emoclim.commands.interface.terminal import Table, View, command, live_epochs, live_table, new_app
from emoclim.config import Settings, TrainConfig, read_settings_file, split_settings
from emoclim.errors import ConfigError
from emoclim.learning import EFFECTS, Augmentations, EncoderTuning, SupConSettings, load_joint_config

if TYPE_CHECKING:
    from emoclim.learning import Leaders

app = new_app()
SHOWN = 8  # rows of the table that is shown meanwhile
HEADS, CONTRASTIVE = SettingOptions(TrainConfig), SettingOptions(SupConSettings, several={"temperature"})
BESIDE = SettingOptions(TrainConfig, left_out={"precision"})  # the encoders' is what counts
ENCODER = SettingOptions(
    EncoderTuning, {"learning_rate": "encoder_learning_rate", "weight_decay": "encoder_weight_decay"}
)
LOSS = SettingOptions(SupConSettings)
OF_HEADS, OF_ALL = SettingOptions(pipeline.HeadsConfig), SettingOptions(pipeline.EndToEndConfig)
STUDY = SettingOptions(pipeline.StudyConfig, {"storage": "optuna", "name": "study"})
CROPS = SettingOptions(Augmentations, left_out={*EFFECTS, *EFFECTS.values()})
Request = TypeVar("Request", bound="pipeline.HeadsConfig")


@command(
    app,
    "train-heads",
    first=LIBRARIES,
    then=[*STUDY.options(), *OF_HEADS.options(), *HEADS.options(), *CONTRASTIVE.options()],
)
def train_heads(
    context: typer.Context,
    loss_weights: LossWeights = None,
    sweep: Annotated[
        int | None,
        typer.Option(min=1, help="Loss weights to try, evenly spread, or trials in a round of --optuna; default none."),
    ] = None,
    sweep_file: SweepFile = None,
    seeds: Seeds = 1,
    list_: Annotated[
        bool, typer.Option("--list", help="Show the objectives and what they take; train nothing.")
    ] = False,
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
    """Train heads on cached features.

    Any number of pairs of heads at once, for each of the --loss-weights, or for --sweep N of them; the pair that does
    best on validation is chosen. Ctrl-C ends with what is done so far.
    """
    if list_:
        return _objectives()
    if resume is not None:
        refuse_useless(context, why=RESUMED, beside={"resume", "device", "workspace", "on"})
    study = STUDY.given(options)
    if "storage" not in study:
        refuse_useless(context, {"study", "rounds"}, "they need --optuna")
    engine = cluster.open_engine(on, device) if on else None
    with live_table() as (track, show_table):

        def show_leaders(leaders: "Leaders") -> None:
            show_table(leaders.table_rows(SHOWN))

        place = pipeline.Workspace(workspace)
        resources = pipeline.Resources(place, device, track=track, watch=show_leaders, engine=engine)
        if resume is not None:
            result = pipeline.resume(pipeline.TrainHeads(), resume, resources)
        else:
            request = pipeline.HeadsConfig(libraries=named_libraries(options), **OF_HEADS.given(options))
            request = with_training(
                request, options, setting, preset, config, loss_weights, None if study else sweep, sweep_file, seeds
            )
            if study:
                trials: dict[str, Any] = {} if sweep is None else {"trials": sweep}
                request = request.updated(study=pipeline.StudyConfig(**study, **trials))
            result = pipeline.start(pipeline.TrainHeads(), request, resources, name=name)
    return View(result.to_dict(), [Table(result.table_rows())], result.summary())


def with_training(
    request: Request,
    options: Mapping[str, Any],
    setting: Sequence[str] | None,
    preset: str,
    config: Path | None,
    loss_weights: Sequence[str] | None,
    sweep: int | None,
    sweep_file: Path | None,
    seeds: int,
) -> Request:
    """Add to a request how heads are trained and what is tried, by the options of the command."""
    objective = request.make_objective()
    training = recipes.find_preset(preset).training.updated(**objective.preset)
    training, of_file = _read_config(config, training, objective.Settings)
    of_options, temperatures = _objective_settings(options, setting)
    of_objective = of_file | of_options
    space = pipeline.what_to_try(
        training.updated(**HEADS.given(options)),
        objective.of([objective.Settings(**of_objective)]),
        [read_list(text, "--loss-weights", float) for text in loss_weights or ()],
        sweep,
        temperatures,
        seeds,
        sweep_file,
    )
    return request.updated(**space, own=of_objective)


def _read_config(
    path: Path | None, training: TrainConfig, objective: type[Settings]
) -> tuple[TrainConfig, dict[str, Any]]:
    """Read a TOML file, if any, into the settings of the training, and those of the objective as they stand."""
    if path is None:
        return training, {}
    of_training, of_objective = read_settings_file(path, lambda data: split_settings(data, TrainConfig, objective))
    return training.updated(**of_training), of_objective


def _objective_settings(options: Mapping[str, Any], pairs: Sequence[str] | None) -> tuple[dict[str, Any], list[float]]:
    """Return what the command line says of the objective's settings, and the temperatures to try."""
    by_option, by_pair = CONTRASTIVE.given(options), parse_settings(pairs, "temperature=0.1")
    if twice := sorted(by_option.keys() & by_pair.keys()):
        raise ConfigError(f"{', '.join(twice)} is given twice, by --setting too; leave one out")
    temperatures = by_option.pop("temperature", [])
    return by_option | by_pair, temperatures


def _objectives() -> View:
    from emoclim.learning import describe_objectives

    found = describe_objectives()
    rows = [("objective", "what heads are trained for", "terms", "needs", "settings")]
    for one in found:
        settings = [f"{name}={facts['default']}" for name, facts in one["settings"].items()]
        rows.append((one["name"], one["about"], *(" ".join(part) for part in (one["terms"], one["needs"], settings))))
    return View({"objectives": found}, [Table(rows)])


@command(
    app,
    "train-end-to-end",
    first=LIBRARIES,
    then=[*OF_ALL.options(), *ENCODER.options(), *BESIDE.options(), *LOSS.options(), *CROPS.options()],
)
def train_end_to_end(
    context: typer.Context,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="Encoder to train, by name, of whose modality a manifest is named, not a cache; may be repeated, to "
            "train those of two modalities; no default."
        ),
    ] = None,
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="FILE of the encoder's parameters to start from, of several ENCODER=FILE; default the published one, "
            "or random ones where nobody published any."
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=VALUE of the encoder, as overlap=0.5, of several ENCODER.NAME=VALUE; repeatable; default its "
            "own."
        ),
    ] = None,
    loss_weights: Annotated[
        str | None,
        typer.Option(
            help="Weights of the objective's terms, of emo_clim A>B,B>A,A>A,B>B for modalities A and B; "
            "default the objective's own, or equal."
        ),
    ] = None,
    preset: Preset = "default",
    config: JointConfig = None,
    *,
    name: RunName = None,
    resume: Resume = None,
    workers: Workers = None,
    device: Device = "auto",
    workspace: Root = Path(),
    **options: Any,
) -> View | None:
    """Train encoders and heads together.

    Random crops of the files, of texts their passages, go through the encoders themselves; of a modality whose encoder
    is not named, features come from their cache. The run keeps an encoder of its best epoch as encoder.safetensors, of
    two as encoder-audio.safetensors and so on, for: extract audio --checkpoint. Ctrl-C ends with what is done. Several
    processes share each batch: torchrun --nproc-per-node 2 -m emoclim train-end-to-end ...; with them, Ctrl-C keeps
    what is done for --resume only.
    """
    from emoclim.learning import launched

    if resume is not None:
        refuse_useless(context, why=RESUMED, beside={"resume", "workers", "device", "workspace"})
    with launched() as replicas, live_epochs(replicas.first) as (track, show_epoch):
        resources = pipeline.Resources(pipeline.Workspace(workspace), device, workers, track, show_epoch, replicas)
        if resume is not None:
            result = pipeline.resume(pipeline.TrainEndToEnd(), resume, resources)
        else:
            start = recipes.find_preset(preset)
            request = pipeline.EndToEndConfig(
                libraries=named_libraries(options),
                **named_encoders(encoder, checkpoint, setting, start),
                **OF_ALL.given(options),
            )
            objective = request.make_objective()
            base = start.training.updated(**objective.preset)
            base, of_objective, tuning, augmentations = load_joint_config(config, base, objective.Settings)
            request = request.updated(
                weights=read_list(loss_weights, "--loss-weights", float) if loss_weights else (),
                base=base.updated(**BESIDE.given(options)),
                tuning=tuning.updated(**ENCODER.given(options)),
                augmentations=augmentations.updated(**CROPS.given(options)),
                own=of_objective | LOSS.given(options),
            )
            result = pipeline.start(pipeline.TrainEndToEnd(), request, resources, name=name)
    if not replicas.first:
        return None
    return View(result.to_dict(), [Table(result.table_rows())], result.summary())
