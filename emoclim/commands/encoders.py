"""`emoclim encoders`: which encoders there are, all that is known of one, or whether it is sound."""

from pathlib import Path
from typing import Annotated

import typer

from emoclim import pipeline
from emoclim.commands.interface.options import Device, EncoderSettings, parse_settings
from emoclim.commands.interface.terminal import Table, View, command, new_app, track
from emoclim.errors import ConfigError

app = new_app()


@command(app, computing=False)
def encoders(
    name: Annotated[str | None, typer.Argument(help="Show all that is known of this encoder.")] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Encode known inputs with the encoder named: features as on record, collapse, denormals, speed; "
            "exit code 3 if something is wrong.",
        ),
    ] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File of parameters to check; default the published one.")
    ] = None,
    setting: EncoderSettings = None,
    device: Device = "auto",
) -> View:
    """Show the encoders: what each takes and gives, and which checkpoints are here."""
    if not check and (checkpoint or setting):
        raise ConfigError("--checkpoint and --setting are for --check; add that, or leave them out")
    if name is None:
        if check:
            raise ConfigError("--check is of one encoder; name it, as in: emoclim encoders timbre --check")
        found = pipeline.describe_encoders()
        note = (
            "box: from packages alone, no hub; hub: from the Hugging Face hub; web: from another host (encoders NAME)."
        )
        return View({"encoders": [one.to_dict() for one in found]}, [Table(pipeline.encoder_rows(found))], [note])
    if check:
        settings = parse_settings(setting)
        health = pipeline.check_encoder(name, checkpoint=checkpoint, settings=settings, device=device, track=track)
        return View(health.to_dict(), [Table(health.rows())], health.summary(), incomplete=bool(health.faults))
    one = pipeline.describe_encoder(name)
    return View(one.to_dict(), [Table(one.settings_rows())], head=one.summary())
