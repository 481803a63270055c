"""`emoclim train-end-to-end`: train an encoder and heads together."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emoclim.commands.options import (
    LIBRARIES,
    RESUMED,
    Device,
    EncoderSettings,
    JointConfig,
    LabelMap,
    Objective,
    Preset,
    Resume,
    Root,
    RunName,
    SettingOptions,
    Store,
    ValenceArousal,
    Workers,
    named_libraries,
    read_list,
    read_settings,
    refuse_useless,
)
from emoclim.commands.terminal import Table, View, command, live_table, new_app
from emoclim.config import TrainConfig, encoder_preset
from emoclim.config import preset as find_preset
from emoclim.errors import ConfigError
from emoclim.learning import Augmentations, EncoderTuning, SupConSettings, load_joint_config

if TYPE_CHECKING:
    from emoclim.learning import Epoch

app = new_app()
SHOWN_EPOCHS = 8
HEADER = ("epoch", "training loss", "validation loss")
HEADS = SettingOptions(TrainConfig, left_out={"precision"})  # the encoder's is what counts
ENCODER = SettingOptions(
    EncoderTuning, {"learning_rate": "encoder_learning_rate", "weight_decay": "encoder_weight_decay"}
)
LOSS = SettingOptions(SupConSettings)
CROPS = SettingOptions(Augmentations)


@command(app, first=LIBRARIES, then=[*ENCODER.options(), *HEADS.options(), *LOSS.options(), *CROPS.options()])
def train_end_to_end(
    context: typer.Context,
    encoder: Annotated[
        str | None,
        typer.Option(help="Encoder to train, by name, of whose modality a manifest is named, not a cache; no default."),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File of the encoder's parameters to start from; default the published one.")
    ] = None,
    setting: EncoderSettings = None,
    loss_weights: Annotated[
        str, typer.Option(help="Weights of the terms image>audio, audio>image, image>image, audio>audio.")
    ] = "0.25,0.25,0.25,0.25",
    objective: Objective = None,
    vad: ValenceArousal = None,
    preset: Preset = "default",
    config: JointConfig = None,
    *,
    label_map: LabelMap = None,
    store: Store = False,
    name: RunName = None,
    resume: Resume = None,
    workers: Workers = None,
    device: Device = "auto",
    workspace: Root = Path(),
    **given: Any,
) -> View | None:
    """Train an encoder of music and heads together.

    Random crops of the recordings go through the encoder itself; pictures come from their cache. The run keeps the
    encoder of its best epoch as encoder.safetensors, for: extract audio --checkpoint. Ctrl-C ends with what is done.
    Several processes share each batch: torchrun --nproc-per-node 2 -m emoclim train-end-to-end ...; with them, Ctrl-C
    keeps what is done for --resume only.
    """
    from emoclim.learning import launched
    from emoclim.pipeline import EndToEndConfig, LabelledConfig, Means, TrainEndToEnd, Workspace, start
    from emoclim.pipeline import resume as go_on

    if resume is not None:
        refuse_useless(context, why=RESUMED, beside={"resume", "workers", "device", "workspace"})
    with launched() as replicas, live_table(replicas.first) as (track, show_table):
        rows: list[tuple[str, ...]] = []

        def show_epoch(epoch: "Epoch") -> None:
            losses = (float(epoch.train_loss[0]), float(epoch.val_loss[0]))
            rows.append((str(epoch.number + 1), *(f"{loss:.4f}" for loss in losses)))
            show_table([HEADER, *rows[-SHOWN_EPOCHS:]])

        means = Means(Workspace(workspace), device, workers, track, show_epoch, replicas)
        if resume is not None:
            result = go_on(TrainEndToEnd(), resume, means)
        else:
            if encoder is None:
                raise ConfigError("name the encoder to train with --encoder; see: emoclim encoders")
            base = find_preset(preset)
            kind = LabelledConfig(objective=objective, vad=vad).make_objective().Settings
            settings, own, tuning, augmentations = base, dict[str, Any](), EncoderTuning(), Augmentations()
            if config:
                settings, own, tuning, augmentations = load_joint_config(config, base, kind)
            asked = EndToEndConfig(
                encoder=encoder,
                checkpoint=checkpoint,
                encoder_settings=encoder_preset(preset, encoder) | read_settings(setting),
                libraries=named_libraries(given),
                weights=read_list(loss_weights, "--loss-weights", float),
                base=settings.updated(**HEADS.given(given)),
                tuning=tuning.updated(**ENCODER.given(given)),
                augmentations=augmentations.updated(**CROPS.given(given)),
                objective=objective,
                own=own | LOSS.given(given),
                vad=vad,
                label_map=label_map,
                store=store,
            )
            result = start(TrainEndToEnd(), asked, means, name=name)
    if not replicas.first:
        return None
    return View(result.to_dict(), [Table(result.table_rows())], result.summary())
