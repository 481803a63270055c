"""`emoclim index`: what libraries are searched by, kept beside the caches."""

from pathlib import Path
from typing import Annotated

import typer

from emoclim import pipeline
from emoclim.commands.interface.options import (
    Average,
    Device,
    HeadNumber,
    OwnSettings,
    Root,
    TrainedRun,
    parse_settings,
    refuse_useless,
)
from emoclim.commands.interface.terminal import Table, View, command, new_app, track
from emoclim.errors import ConfigError

app = new_app()


@command(app)
def index(
    context: typer.Context,
    library: Annotated[
        str | None,
        typer.Option("--in", help="Folder or manifest to index, or an extracted one by name; default the run's."),
    ] = None,
    run: TrainedRun = None,
    head: HeadNumber = None,
    average: Average = "embeddings",
    words: Annotated[
        bool, typer.Option("--words", help="Index for words of emotions, without a run; so where there is none.")
    ] = False,
    setting: OwnSettings = None,
    approximate: Annotated[
        bool | None,
        typer.Option(
            "--approximate/--exact",
            help="Make lists (faiss) to search millions without reading all, or delete them; default no change.",
        ),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all of it with checksums, and compare it with what the cache gives.")
    ] = False,
    there: Annotated[bool, typer.Option("--list", help="Only tell what there is.")] = False,
    clean: Annotated[bool, typer.Option("--clean", help="Only delete indexes whose run or cache is gone.")] = False,
    device: Device = "auto",
    workspace: Root = Path(),
) -> View:
    """Make what libraries are searched by, tell what there is, and check it.

    A search does so by itself; this does it beforehand, or brings it up to date. What a folder or manifest
    holds that was not extracted yet is encoded first.
    """
    place = pipeline.Workspace(workspace)
    if there or clean:
        refuse_useless(context, beside={"there", "clean", "workspace"}, why="nothing is made")
        if there and clean:
            raise ConfigError("--list and --clean are two things; give one of them")
        report = pipeline.list_indexes(place) if there else pipeline.remove_useless(place)
    else:
        by_words = words or (run is None and not place.trained)
        refuse_useless(
            context, *(({"run", "head"}, "words are compared") if by_words else ({"setting"}, "it is of --words"))
        )
        own = parse_settings(setting, "words=paper") if by_words else None
        searcher = pipeline.open_searcher(
            place, run, head=head, library=library, average=average, words=own, device=device, track=track
        )
        report = pipeline.index_libraries(searcher, approximate=approximate, verify=verify, track=track)
    lines = report.summary() if report.indexes else ["there is no index" if there else "no index is of no use"]
    return View(report.to_dict(), [Table(report.table_rows())], lines, incomplete=not report.sound)
