"""`emoclim train-end-to-end`: options, and what is shown while it trains."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from emoclim.commands.options import (
    Device,
    EncoderSettings,
    Root,
    Workers,
    given_options,
    read_numbers,
    read_settings,
    refuse_useless,
)
from emoclim.commands.terminal import Table, View, command, live_table, new_app
from emoclim.errors import ConfigError

if TYPE_CHECKING:
    from emoclim.learning import Epoch

app = new_app()
SHOWN_EPOCHS = 8
WITH_RESUME = frozenset({"resume", "workers", "device", "workspace"})
HEADER = ("epoch", "training loss", "validation loss")


@command(app)
def train_end_to_end(
    context: typer.Context,
    encoder: Annotated[str | None, typer.Option(help="Name of the encoder of music to start from.")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="File of its parameters; default the published one.")] = None,
    setting: EncoderSettings = None,
    audio: Annotated[Path | None, typer.Option(help="Manifest of the music: CSV, or folder per label.")] = None,
    images: Annotated[str | None, typer.Option(help="Image cache: an encoder's or a manifest's name.")] = None,
    loss_weights: Annotated[
        str, typer.Option(help="Weights of image>audio, audio>image, image>image, audio>audio.")
    ] = "0.25,0.25,0.25,0.25",
    unfreeze: Annotated[
        str | None, typer.Option(help="What of the encoder is trained: all, last:N layers, batchnorm or none.")
    ] = None,
    batchnorm: Annotated[
        Literal["train", "frozen"] | None,
        typer.Option(help="Whether its batch normalisations work on batches, or stay as they are; default train."),
    ] = None,
    encoder_learning_rate: Annotated[float | None, typer.Option(help="Of AdamW, for the encoder.")] = None,
    encoder_weight_decay: Annotated[float | None, typer.Option(help="The same; spares norms and biases.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of AdamW, for the heads.")] = None,
    warmup_steps: Annotated[int | None, typer.Option(help="Steps over which learning rates rise.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Largest norm of all gradients together.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Batches whose gradients are averaged into a step.")] = None,
    precision: Annotated[
        Literal["fp32", "bf16", "fp16"] | None, typer.Option(help="Of the encoder's steps; parameters are fp32.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Items per modality and batch.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Of 100 batches.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs without a better one after which later ones do not count.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random.")] = None,
    gaussian_snr: Annotated[
        str | None, typer.Option(help="Adds noise to crops of training, at a random ratio in dB: 5,40, say.")
    ] = None,
    gaussian_probability: Annotated[float | None, typer.Option(help="Of noise in a crop; default 0.8.")] = None,
    background: Annotated[Path | None, typer.Option(help="Folder of sounds to mix into crops of training.")] = None,
    background_snr: Annotated[str | None, typer.Option(help="Their ratio in dB, random; default 3,30.")] = None,
    background_probability: Annotated[float | None, typer.Option(help="Of a sound in a crop; default 0.8.")] = None,
    vad: Annotated[
        Path | None, typer.Option(help="Table word,valence,arousal: similar emotions attract a little.")
    ] = None,
    preset: Annotated[str, typer.Option(help="Settings to start from: default, paper or paper-code.")] = "default",
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings; also [encoder] and [augmentations].")
    ] = None,
    label_map: Annotated[Path | None, typer.Option(help="TOML file or published map: classes of the labels.")] = None,
    store: Annotated[
        bool, typer.Option("--store", help="Decode all music once, and keep it in the workspace: quicker crops.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="Name of the run; default the next number.")] = None,
    workers: Workers = None,
    resume: Annotated[str | None, typer.Option(help="Go on with this run, which was stopped or killed.")] = None,
    device: Device = "auto",
    workspace: Root = Path(),
) -> View | None:
    """Train an encoder of music and heads together.

    Random crops of the recordings go through the encoder itself; pictures come from their cache. The run keeps the
    encoder of its best epoch as encoder.safetensors, for: extract audio --checkpoint. Ctrl-C ends with what is done.
    Several processes share each batch: torchrun --nproc-per-node 2 -m emoclim train-end-to-end ...; with them, Ctrl-C
    keeps what is done for --resume only.
    """
    from emoclim.config import encoder_preset
    from emoclim.config import preset as find_preset
    from emoclim.learning import Augmentations, EncoderTuning, launched, load_joint_config
    from emoclim.pipeline import Workspace, resume_encoder, train_encoder

    if resume is not None:
        beside = given_options(context) - WITH_RESUME
        refuse_useless(context, beside, "--resume goes on with what the run was begun with")
    place = Workspace(workspace)
    with launched() as replicas, live_table(replicas.first) as (track, show_table):
        rows: list[tuple[str, ...]] = []

        def show_epoch(epoch: "Epoch") -> None:
            losses = (float(epoch.train_loss[0]), float(epoch.val_loss[0]))
            rows.append((str(epoch.number + 1), *(f"{loss:.4f}" for loss in losses)))
            show_table([HEADER, *rows[-SHOWN_EPOCHS:]])

        if resume is not None:
            result = resume_encoder(
                resume,
                workers=workers,
                workspace=place,
                device=device,
                track=track,
                show=show_epoch,
                replicas=replicas,
            )
        else:
            if encoder is None:
                raise ConfigError("name the encoder to train with --encoder; see: emoclim encoders")
            base = find_preset(preset)
            given = load_joint_config(config, base) if config else (base, EncoderTuning(), Augmentations())
            settings, tuning, augmentations = given
            result = train_encoder(
                encoder,
                checkpoint=checkpoint,
                settings=encoder_preset(preset, encoder) | read_settings(setting),
                images=images,
                audio=audio,
                weights=read_numbers(loss_weights, "--loss-weights", float),
                config=settings.updated(
                    **_said(
                        learning_rate=learning_rate,
                        batch_size=batch_size,
                        epochs=epochs,
                        patience=patience,
                        seed=seed,
                    ),
                ),
                tuning=tuning.updated(
                    **_said(
                        unfreeze=unfreeze,
                        batchnorm=batchnorm,
                        learning_rate=encoder_learning_rate,
                        weight_decay=encoder_weight_decay,
                        warmup_steps=warmup_steps,
                        clip_norm=clip_norm,
                        accumulate=accumulate,
                        precision=precision,
                    )
                ),
                augmentations=augmentations.updated(
                    **_said(
                        gaussian_snr=_range(gaussian_snr, "--gaussian-snr"),
                        gaussian_probability=gaussian_probability,
                        background=background,
                        background_snr=_range(background_snr, "--background-snr"),
                        background_probability=background_probability,
                    )
                ),
                valence_arousal=vad,
                label_map=label_map,
                store=store,
                name=name,
                workers=workers,
                workspace=place,
                device=device,
                track=track,
                show=show_epoch,
                replicas=replicas,
            )

    if not replicas.first:
        return None
    return View(result.to_dict(), [Table(result.table_rows())], result.summary())


def _said(**options: Any) -> dict[str, Any]:
    """Options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def _range(text: str | None, option: str) -> tuple[float, ...] | None:
    return None if text is None else read_numbers(text, option, float)
