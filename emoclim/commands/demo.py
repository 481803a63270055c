"""`emoclim demo`: every step, on real photos, music by a model and a computed corpus."""

from pathlib import Path
from typing import Annotated

import typer

from emoclim import app as service
from emoclim import pipeline
from emoclim.commands.app import ADDRESS, require_libraries
from emoclim.commands.evaluate import evaluation_tables
from emoclim.commands.interface.options import Workers
from emoclim.commands.interface.terminal import Table, View, command, new_app, print_lines, track

app = new_app()


@command(app)
def demo(
    folder: Annotated[Path, typer.Argument(help="Folder to put everything in.")] = Path("demo"),
    pictures: Annotated[int, typer.Option(min=4, help="Computed pictures per emotion.")] = 40,
    pieces: Annotated[int, typer.Option(min=8, help="Computed pieces of music per emotion.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the computed corpus and of the training.")] = 42,
    workers: Workers = None,
    open_: Annotated[bool, typer.Option("--open", help="Then open the page on all this in a browser.")] = False,
) -> View:
    """Search photos for music without training, then train, evaluate and search on a computed corpus."""
    if open_:
        require_libraries()
    print_lines([f"Filling {folder}: two real photos, music by a model, and computed pictures and music."], err=True)
    result = pipeline.run_demo(folder, pictures=pictures, pieces=pieces, seed=seed, workers=workers, track=track)
    by_words = result.by_words.results if result.by_words else []
    shown = [Table(one.table_rows(), one.title) for one in (*by_words, *result.answers.results)]
    tables = [*shown[: len(by_words)], *evaluation_tables(result.evaluation), *shown[len(by_words) :]]
    lines = [*result.evaluation.summary(), *result.notes()]
    data, tables = result.to_dict(), [*tables, Table(result.step_rows())]
    if not open_:
        lines += [
            "",
            f"To drop photos and hear the music, open the page at {ADDRESS}:",
            "",
            f"    {result.page_command}",
        ]
        return View(data, tables, lines, head=result.head())
    place, settings = pipeline.Workspace(folder), service.ServiceSettings(port=0)
    page = service.open_page(place, result.libraries, settings, words=result.words, track=track)
    service.open_browser(page.address)
    return View(data, tables, [*lines, "", *page.lines], head=result.head(), then=page.serve)
