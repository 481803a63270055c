"""`emoclim extract`: encode the items of a manifest into a cache, with one command per modality."""

from pathlib import Path
from typing import Annotated, Any

import typer

from emoclim import encoders, pipeline, recipes
from emoclim.commands.interface.options import (
    Device,
    EncoderSettings,
    MaxFailures,
    On,
    Preset,
    Root,
    SettingOptions,
    parse_settings,
)
from emoclim.commands.interface.terminal import View, command, new_app, option, track
from emoclim.config import ExtractConfig
from emoclim.errors import ConfigError
from emoclim.modality import MODALITIES, Modality

app = new_app("Encode items once, into a cache of features.")
CONFIG = SettingOptions(ExtractConfig, {"keep_segments": "segments", "compiled": "compile"})
# Settings of encoders that have an option to themselves, some only with the modality that they are of
MODEL = option("model", str | None, "Published model of the encoder, see emoclim encoders NAME; default its first.")
PRECISION = option("precision", str | None, "Precision of the encoder's network: fp32, bf16 or fp16; default fp32.")
FRAMES = "frames"
OF_MODALITY = {
    "image": [
        option("views", int | None, "Random crops to keep beside each picture; default 0."),
        option("decoder", str | None, "What reads files: pillow, draft or torchvision; default pillow."),
    ],
    "audio": [
        option("source_rate", int | None, "Hz to which clap first resamples a recording; default the file's own."),
    ],
    "video": [
        option(FRAMES, str | None, "Encoder of pictures for the frames, as clip or colour; default --encoder."),
    ],
}


def _add(modality: Modality) -> None:
    """Add `extract <folder>` of a modality."""
    facts = MODALITIES[modality]

    def extract(
        manifest: Annotated[
            Path | None,
            typer.Argument(
                help=f"CSV or Parquet table, or folder with one subfolder per label; default data/{facts.folder}.csv."
            ),
        ] = None,
        setting: EncoderSettings = None,
        preset: Preset = "default",
        *,
        shard: Annotated[
            str | None,
            typer.Option(help="Part to encode, 2/8 for the second of eight, to be joined by cache merge; default all."),
        ] = None,
        on: On = None,
        max_failures: MaxFailures = 0.01,
        device: Device = "auto",
        workspace: Root = Path(),
        **options: Any,
    ) -> View:
        asked = CONFIG.given(options)
        if frames := options.pop(FRAMES, None):
            if "encoder" in asked:
                raise ConfigError("--frames names an encoder, and so does --encoder; leave out one of the two")
            asked["encoder"] = frames + encoders.OF_FRAMES
        name = facts.encoder_named(asked.get("encoder")) or ""
        settings = recipes.find_preset(preset).encoder(name) | parse_settings(setting)
        settings |= {one.name: value for one in own if (value := options.get(one.name)) is not None}
        config = ExtractConfig(**asked)
        if settings.get("views"):
            settings.setdefault("view_seed", config.seed)
        result = pipeline.extract_features(
            modality,
            manifest,
            config.updated(settings=settings),
            workspace=pipeline.Workspace(workspace),
            shard=pipeline.Shard.parse(shard) if shard else None,
            on=on,
            device=device,
            track=track,
        )
        too_many = len(result.extraction.failures) > max_failures * result.n_items
        return View(result.to_dict(), lines=result.summary(), incomplete=too_many)

    own = [MODEL, PRECISION, *OF_MODALITY.get(modality, ())]
    extract.__doc__ = f"Encode {facts.nouns} that no cache holds yet."
    # Where nothing is to be encoded, torch is not loaded, which would take most of the time
    command(app, facts.folder, computing=False, first=CONFIG.options(), then=own)(extract)


for one in MODALITIES:
    _add(one)
