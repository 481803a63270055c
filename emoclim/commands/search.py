"""`emoclim search`: find items of another modality for a file or for words."""

from pathlib import Path
from typing import Annotated

import typer

from emoclim import pipeline
from emoclim.commands.options import Average, Device, Root
from emoclim.commands.terminal import Table, View, command, new_app, track
from emoclim.errors import ConfigError

app = new_app()


@command(app)
def search(
    queries: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="QUERY...", help="Photos, recordings, texts, or other files of what the run joins; or folders."
        ),
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="Words to search with; repeatable; default none.")] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of hits to show for each query.")] = 5,
    library: Annotated[
        str | None, typer.Option("--in", help="Extracted manifest to search, by name; default the run's own.")
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(help="Run whose heads to use, by name; default the newest (but for those of reproduce)."),
    ] = None,
    head: Annotated[int | None, typer.Option(help="Number of the heads to use; default the run's best.")] = None,
    average: Average = "embeddings",
    device: Device = "auto",
    workspace: Root = Path(),
) -> View:
    """Find music for photos or words, or photos for music.

    Tells for each hit its cosine with the query, the percentile of that within the library, and the emotions that are
    read in query and hit. The query itself and files equal to it are no hits.
    """
    if not queries and not text:
        raise ConfigError("there is nothing to search with; name a file or a folder, or give words with --text")
    place = pipeline.Workspace(workspace)
    searcher = pipeline.Searcher(place, run, head=head, library=library, average=average, device=device, track=track)
    answers = searcher.search([*(queries or ()), *(text or ())], top=top)
    tables = [Table(one.table_rows(), one.title) for one in answers.results]
    empty = [one.title for one in answers.results if not one.found]
    return View(answers.to_dict(), tables, [*empty, *answers.failures], incomplete=bool(answers.failures))
