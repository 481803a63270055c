"""`emoclim encoders`: which encoders there are, or all that is known of one."""

from typing import Annotated

import typer

from emoclim import pipeline
from emoclim.commands.terminal import Table, View, command, new_app

app = new_app()


@command(app, computing=False)
def encoders(
    name: Annotated[str | None, typer.Argument(help="Show all that is known of this encoder.")] = None,
) -> View:
    """Show the encoders: what each takes and gives, and which checkpoints are here."""
    if name is None:
        found = pipeline.describe_encoders()
        return View({"encoders": [one.to_dict() for one in found]}, [Table(pipeline.encoder_rows(found))])
    one = pipeline.describe_encoder(name)
    return View(one.to_dict(), [Table(one.settings_rows())], head=one.summary())
