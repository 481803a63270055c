"""`emoclim search`: find items of another modality for a file."""

from pathlib import Path
from typing import Annotated

import typer

from emoclim import pipeline
from emoclim.commands.options import Average, Device, Root
from emoclim.commands.terminal import Table, View, command, new_app, track

app = new_app()


@command(app)
def search(
    query: Annotated[Path, typer.Argument(help="A photo, a recording, or another file of what the run joins.")],
    top: Annotated[int, typer.Option(min=1, help="Number of hits to show.")] = 5,
    library: Annotated[
        str | None, typer.Option("--in", help="Extracted manifest to search, by name; default the run's own.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="Run whose heads to use, by name; default the newest.")] = None,
    average: Average = "embeddings",
    device: Device = "auto",
    workspace: Root = Path(),
) -> View:
    """Find music for a photo, or photos for music."""
    result = pipeline.search_file(
        query,
        top=top,
        library=library,
        run=run,
        average=average,
        workspace=pipeline.Workspace(workspace),
        device=device,
        track=track,
    )
    return View(result.to_dict(), [Table(result.table_rows(), str(query))])
