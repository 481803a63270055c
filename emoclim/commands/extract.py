"""`emoclim extract`: encode the items of a manifest into a cache, with one command per modality."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from emoclim.commands.options import (
    Backend,
    BatchSize,
    Device,
    EncoderSettings,
    MaxFailures,
    Root,
    Workers,
    read_settings,
)
from emoclim.commands.terminal import View, command, new_app, track
from emoclim.modality import MODALITIES, Modality

app = new_app("Encode items once, into a cache of features.")


def extract_command(modality: Modality) -> Callable[..., View]:
    """Make `extract <folder>` of a modality; only those of images and sound have options for these."""
    facts = MODALITIES[modality]
    default = f"default {facts.encoder}" if facts.encoder else "there is no default"

    def extract(
        manifest: Annotated[
            Path | None,
            typer.Argument(
                help=f"CSV or Parquet table, or folder with one subfolder per label; default data/{facts.folder}.csv."
            ),
        ] = None,
        encoder: Annotated[
            str | None, typer.Option(help=f"Name of the encoder, see emoclim encoders; {default}.")
        ] = None,
        checkpoint: Annotated[
            Path | None, typer.Option(help="File of the encoder's parameters; default the published one.")
        ] = None,
        model: Annotated[
            str | None, typer.Option(help="Which published model of the encoder; see emoclim encoders NAME.")
        ] = None,
        precision: Annotated[
            str | None, typer.Option(help="Of the encoder's network: fp32 (default), bf16 or fp16.")
        ] = None,
        views: Annotated[
            int | None,
            typer.Option(hidden=modality != "image", help="Random crops to keep beside each picture; default 0."),
        ] = None,
        decoder: Annotated[
            str | None,
            typer.Option(hidden=modality != "image", help="What reads files: pillow (default), draft or torchvision."),
        ] = None,
        source_rate: Annotated[
            int | None,
            typer.Option(
                hidden=modality != "audio", help="Hz to which clap first resamples a recording; default the file's."
            ),
        ] = None,
        setting: EncoderSettings = None,
        preset: Annotated[
            str, typer.Option(help="Settings of the encoder to start from: default, paper or paper-code.")
        ] = "default",
        unlabelled: Annotated[
            bool, typer.Option("--unlabelled", help="Ignore labels: the items are only to be searched.")
        ] = False,
        segments: Annotated[
            bool, typer.Option(help="Keep the feature of each segment, too, not only the mean.")
        ] = True,
        batch_size: BatchSize = None,
        workers: Workers = None,
        backend: Backend = "h5",
        compiled: Annotated[
            bool,
            typer.Option("--compile", help="Compile the network first, for long runs; features move by millionths."),
        ] = False,
        retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try items again that failed.")] = False,
        rehash: Annotated[bool, typer.Option("--rehash", help="Read files again that look unchanged.")] = False,
        shard: Annotated[
            str | None, typer.Option(help="2/8 encodes the second of eight parts; join them with: emoclim cache merge.")
        ] = None,
        max_failures: MaxFailures = 0.01,
        seed: Annotated[int, typer.Option(min=0, help="Of random crops, and of splits if the manifest has none.")] = 42,
        device: Device = "auto",
        workspace: Root = Path(),
    ) -> View:
        from emoclim.config import encoder_preset
        from emoclim.pipeline import ExtractConfig, Shard, Workspace, extract_features

        settings = encoder_preset(preset, encoder or facts.encoder or "") | read_settings(setting)
        named = {"model": model, "precision": precision, "views": views, "decoder": decoder, "source_rate": source_rate}
        settings |= {name: value for name, value in named.items() if value is not None}
        if settings.get("views"):
            settings.setdefault("view_seed", seed)
        result = extract_features(
            modality,
            manifest,
            ExtractConfig(
                encoder=encoder,
                checkpoint=checkpoint,
                settings=settings,
                unlabelled=unlabelled,
                keep_segments=segments,
                batch_size=batch_size,
                workers=workers,
                backend=backend,
                compiled=compiled,
                retry_failed=retry_failed,
                rehash=rehash,
                seed=seed,
            ),
            workspace=Workspace(workspace),
            shard=Shard.parse(shard) if shard else None,
            device=device,
            track=track,
        )
        too_many = len(result.extraction.failures) > max_failures * result.n_items
        return View(result.to_dict(), lines=result.summary(), incomplete=too_many)

    extract.__doc__ = f"Encode {facts.nouns} that no cache holds yet."
    return extract


for one, facts in MODALITIES.items():
    command(app, facts.folder)(extract_command(one))
