"""`emoclim app`: the page, on which files are dropped and hits are heard."""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from emoclim import app as service
from emoclim import pipeline
from emoclim.commands.interface.options import Device, OwnSettings, Root, TrainedRun, parse_settings, refuse_useless
from emoclim.commands.interface.terminal import View, command, new_app, track
from emoclim.errors import MissingLibrary

app = new_app()

HOST, PORT = "127.0.0.1", 8765
ADDRESS = f"http://{HOST}:{PORT}/"  # of the page, where nobody says otherwise
LIBRARIES = ("fastapi", "python_multipart", "uvicorn")


@command(app)
def show_page(
    context: typer.Context,
    library: Annotated[
        list[str] | None,
        typer.Option(
            "--in",
            help="Folder or manifest to search, or an extracted one by name; repeatable; default the run's, or the "
            "newest of each modality.",
        ),
    ] = None,
    run: TrainedRun = None,
    words: Annotated[
        bool, typer.Option("--words", help="Compare by words of emotions, without a run; so where there is none.")
    ] = False,
    vad: Annotated[
        Path | None,
        typer.Option(help="Table word,valence,arousal of emotions, for the pad; default Russell's circle of words."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; any but this machine's own needs a token.")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen at; 0 takes a free one.")] = PORT,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="EMOCLIM_TOKEN",
            help="What whoever asks must know, 16 letters or more; default none, with --host one that is told.",
        ),
    ] = None,
    setting: OwnSettings = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    device: Device = "auto",
    workspace: Root = Path(),
) -> View:
    """Search on a page: drop photos, recordings or words, and hear what is found.

    Serves the page, and the same to programs (see /openapi.json), until it is stopped with Ctrl-C. What a folder or
    manifest holds that was not extracted yet is encoded first; further folders are opened on the page. Only this
    machine can reach it, unless another --host is named.
    """
    place = pipeline.Workspace(workspace)
    by_words = words or (run is None and not place.trained)
    if by_words:
        refuse_useless(context, {"run"}, "words are compared, without a run")
    else:
        refuse_useless(context, {"setting"}, "it is of --words")
    require_libraries()
    settings = service.ServiceSettings(host=host, port=port, token=token)
    own = parse_settings(setting, "words=paper") if by_words else None
    page = service.open_page(place, library or [], settings, run=run, words=own, vad=vad, device=device, track=track)
    if open_:
        service.open_browser(page.address)
    return View(page.to_dict(), lines=page.lines, then=page.serve)


def require_libraries() -> None:
    """Raise :class:`MissingLibrary` where what serves the page is not installed."""
    if not all(map(find_spec, LIBRARIES)):
        raise MissingLibrary("the page needs FastAPI and what serves it: pip install 'emoclim[app]'")
