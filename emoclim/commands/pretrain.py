"""`emoclim pretrain`: train an encoder of sound without labels, by itself or beside the features of videos."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from emoclim import pipeline, recipes
from emoclim.commands.interface.options import (
    RESUMED,
    Device,
    JointConfig,
    Resume,
    Root,
    RunName,
    SettingOptions,
    Workers,
    library_options,
    named_encoders,
    named_libraries,
    refuse_useless,
)
from emoclim.commands.interface.terminal import Table, View, command, live_epochs, new_app
from emoclim.config import TrainConfig
from emoclim.learning import EncoderTuning, load_joint_config

app = new_app()
LABELS = {"vad", "word_vectors", "objective", "label_map"}
OF_RUN = SettingOptions(pipeline.PretrainConfig, left_out=LABELS)
PRESET = "the preset's"
BESIDE = SettingOptions(TrainConfig, left_out={"precision", "views_per_item", "dropout"}, default=PRESET)
ENCODER = SettingOptions(
    EncoderTuning,
    {"learning_rate": "encoder_learning_rate", "weight_decay": "encoder_weight_decay"},
    default=PRESET,
)
NAMED = library_options("none, but for what is trained its manifest in data/")


@command(app, "pretrain", first=NAMED, then=[*OF_RUN.options(), *ENCODER.options(), *BESIDE.options()])
def pretrain(
    context: typer.Context,
    encoder: Annotated[
        str, typer.Option(help="Encoder to train, of sound, of which a manifest is named, not a cache.")
    ] = "sample_cnn",
    checkpoint: Annotated[
        Path | None, typer.Option(help="File of the encoder's parameters to start from; default random ones.")
    ] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the encoder, as length=59049; repeatable; default its own.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(help="Divides every cosine similarity in the loss; default 0.1.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Settings to start from, and effects on crops: paper or paper-code.")
    ] = "paper",
    config: JointConfig = None,
    *,
    name: RunName = None,
    resume: Resume = None,
    workers: Workers = None,
    device: Device = "auto",
    workspace: Root = Path(),
    **options: Any,
) -> View | None:
    """Train an encoder of sound without labels.

    Two crops of each recording, both with effects on them, are told from all others of their batch (NT-Xent). Where a
    cache of videos is named, a crop is told by what the video of the same name, or pair, shows in its seconds. The run
    keeps the encoder of its best epoch as encoder.safetensors, for: extract audio --checkpoint. Ctrl-C ends with what
    is done. Several processes share each batch: torchrun --nproc-per-node 2 -m emoclim pretrain ...
    """
    from emoclim.learning import launched

    if resume is not None:
        refuse_useless(context, why=RESUMED, beside={"resume", "workers", "device", "workspace"})
    with launched() as replicas, live_epochs(replicas.first) as (track, show_epoch):
        resources = pipeline.Resources(pipeline.Workspace(workspace), device, workers, track, show_epoch, replicas)
        if resume is not None:
            result = pipeline.resume(pipeline.Pretrain(), resume, resources)
        else:
            own = {} if temperature is None else {"temperature": temperature}
            request = _request(encoder, checkpoint, setting, preset, config, options, own)
            result = pipeline.start(pipeline.Pretrain(), request, resources, name=name)
    if not replicas.first:
        return None
    return View(result.to_dict(), [Table(result.table_rows())], result.summary())


def _request(
    encoder: str,
    checkpoint: Path | None,
    setting: list[str] | None,
    preset: str,
    file: Path | None,
    options: Mapping[str, Any],
    own: dict[str, Any],
) -> pipeline.PretrainConfig:
    """Put together what is asked for: the preset, above it the file, above that the options."""
    from emoclim.encoders import find_encoder

    libraries = named_libraries(options)
    start = recipes.pretraining_preset(preset, beside=len({*libraries, find_encoder(encoder).MODALITY}) > 1)
    files = [str(checkpoint)] if checkpoint else None
    request = pipeline.PretrainConfig(
        libraries=libraries, **named_encoders([encoder], files, setting, start), **OF_RUN.given(options)
    )
    objective = request.make_objective()
    of_encoder = EncoderTuning(**start.tuning), start.augmentations
    base, of_objective, tuning, augmentations = load_joint_config(file, start.training, objective.Settings, *of_encoder)
    return request.updated(
        base=base.updated(**BESIDE.given(options)),
        tuning=tuning.updated(**ENCODER.given(options)),
        augmentations=augmentations,
        own=request.own | of_objective | own,
    )
