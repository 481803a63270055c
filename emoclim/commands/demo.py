"""`emoclim demo`: every stage on a corpus that is generated for it."""

from pathlib import Path
from typing import Annotated

import typer

from emoclim import pipeline
from emoclim.commands.evaluate import evaluation_tables
from emoclim.commands.options import Workers
from emoclim.commands.terminal import Table, View, command, new_app, print_lines, track

app = new_app()


@command(app)
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to put everything in.")] = Path("demo"),
    pictures: Annotated[int, typer.Option(min=4, help="Generated pictures per emotion.")] = 40,
    pieces: Annotated[int, typer.Option(min=8, help="Generated pieces of music per emotion.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the generated corpus and of the training.")] = 42,
    workers: Workers = None,
) -> View:
    """Run everything on a generated corpus."""
    print_lines([f"Generating pictures and music in {folder}; nothing here is a real photo or recording."], err=True)
    result = pipeline.run_demo(folder, pictures=pictures, pieces=pieces, seed=seed, workers=workers, track=track)
    searches = [Table(one.table_rows(), one.title) for one in result.answers.results]
    lines = [*result.evaluation.summary(), *result.notes()]
    return View(result.to_dict(), [*evaluation_tables(result.evaluation), *searches], lines)
