"""`emoclim search`: find items of another modality for files, for words, or for what is between them."""

from collections.abc import Sequence
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
    parse_mix,
    parse_settings,
    refuse_useless,
)
from emoclim.commands.interface.terminal import Table, View, command, new_app, track
from emoclim.errors import ConfigError
from emoclim.index import parse_filters

app = new_app()


@command(app)
def search(
    context: typer.Context,
    queries: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="QUERY...", help="Photos, recordings, texts, or other files of what the run joins; or folders."
        ),
    ] = None,
    text: Annotated[list[str] | None, typer.Option(help="Words to search with; repeatable; default none.")] = None,
    plus: Annotated[
        list[str] | None,
        typer.Option(help="A file or words that hits are to be like, too, in one query; repeatable; default none."),
    ] = None,
    minus: Annotated[
        list[str] | None, typer.Option(help="A file or words that hits are to be unlike; repeatable; default none.")
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(help="VALENCE,AROUSAL of a feeling to search with, each from -1 to 1, as 0.8,-0.4; default none."),
    ] = None,
    vad: Annotated[
        Path | None,
        typer.Option(help="Table word,valence,arousal of emotions, for --at; default Russell's circle of words."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Number of hits to show for each query.")] = 5,
    library: Annotated[
        list[str] | None,
        typer.Option(
            "--in", help="Folder or manifest to search, or an extracted one by name; default the run's, or the newest."
        ),
    ] = None,
    run: TrainedRun = None,
    head: HeadNumber = None,
    average: Average = "embeddings",
    words: Annotated[
        bool, typer.Option("--words", help="Compare by words of emotions, without a run; so where there is none.")
    ] = False,
    mix: Annotated[
        str | None,
        typer.Option(
            help="Shares of emotion and of content in the score, as emotion=.7,content=.3; default emotion alone."
        ),
    ] = None,
    why: Annotated[
        bool, typer.Option("--why", help="Tell what each score is made of, where its dimensions have names.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="What hits must be: emotion=happy, folder=jazz, seconds=60:300, format=flac; repeatable; default any."
        ),
    ] = None,
    setting: OwnSettings = None,
    device: Device = "auto",
    workspace: Root = Path(),
) -> View:
    """Find music for photos or words, or photos for music.

    Tells for each hit its cosine with the query, the percentile of that within the library, and the emotions that are
    read in query and hit. The query itself and files equal to it are no hits. What a folder or manifest holds that was
    not extracted yet is encoded first. Nothing need be trained: without a run, words of emotions are compared.
    """
    asked = _queries([*(queries or ()), *(text or ())], plus or (), minus or (), at)
    if at is None:
        refuse_useless(context, {"vad"}, "it is of --at")
    if library and len(library) > 1:
        raise ConfigError(f"--in names {len(library)} libraries; name one, such as a folder with links to several")
    place = pipeline.Workspace(workspace)
    by_words = words or (run is None and not place.trained)
    if by_words:
        refuse_useless(context, {"run", "head"}, "words are compared, without a run")
    else:
        refuse_useless(context, {"setting"}, "it is of --words")
    shares, filters = parse_mix(mix), parse_filters(only or ())
    own = parse_settings(setting, "words=paper") if by_words else None
    searcher = pipeline.open_searcher(
        place,
        run,
        head=head,
        library=library[0] if library else None,
        average=average,
        words=own,
        vad=vad,
        device=device,
        track=track,
    )
    answers = searcher.search(asked, top=top, mix=shares, why=why, only=filters)
    tables = []
    for one in answers.results:
        tables.append(Table(one.table_rows(), one.title))
        if len(reasons := one.reason_rows()) > 1:
            tables.append(Table(reasons, "What the scores are made of"))
    empty = [one.title for one in answers.results if not one.found]
    return View(
        answers.to_dict(), tables, [*empty, *answers.failures], incomplete=bool(answers.failures), head=answers.bridges
    )


def _queries(
    alone: Sequence[Path | str], plus: Sequence[str], minus: Sequence[str], at: str | None
) -> "list[pipeline.Query]":
    """Make one query of each file and words, or of all that is added and taken away, or of a place."""
    if at is not None:
        if alone or plus or minus:
            raise ConfigError("--at is a query by itself; search with files and words without it")
        return [_point(at)]
    if plus or minus:
        added = tuple(map(pipeline.file_or_words, plus))
        return [pipeline.Blend((*alone, *added), tuple(map(pipeline.file_or_words, minus)))]
    if not alone:
        raise ConfigError("there is nothing to search with; name a file or a folder, or give words with --text")
    return list(alone)


def _point(text: str) -> "pipeline.Point":
    try:
        valence, arousal = map(float, text.split(","))
    except ValueError as error:
        raise ConfigError(f"--at {text!r} is not two numbers; write valence and arousal, as 0.8,-0.4") from error
    return pipeline.Point(valence, arousal)
