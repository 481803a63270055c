"""Open libraries, take a port, and serve the page there until stopped. Used by `emoclim app` and the demo."""

import errno
import logging
import socket
import threading
import webbrowser
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn

from emoclim.app.libraries import Libraries, Limit
from emoclim.app.service import create_app, server_config
from emoclim.app.settings import ServiceSettings
from emoclim.data import Setting
from emoclim.errors import CacheError, ConfigError, ManifestError, reason_of
from emoclim.modality import MODALITIES
from emoclim.pipeline import Searcher, Workspace, open_searcher
from emoclim.progress import Track, silent

log = logging.getLogger(__name__)

BACKLOG = 128  # connections that wait to be taken
GRACE = 5  # seconds that requests are given to end when the service is stopped
EVERYWHERE = ("0.0.0.0", "::", "")
REMEDIES = {
    errno.EADDRINUSE: "another program is there, perhaps the same page; name another with --port, or 0 for a free one",
    errno.EACCES: "only an administrator may take it; name one from 1024 on with --port",
}
NO_ADDRESS = "this machine has no such address; name one that it has with --host, or 0.0.0.0 for all"


@dataclass(frozen=True, slots=True)
class Page:
    """A page that is ready to be served."""

    libraries: Libraries
    settings: ServiceSettings
    taken: socket.socket
    lacking: str  # why no library is open; empty where one is

    @property
    def address(self) -> str:
        """Where a browser opens it, with the token that it needs."""
        host = self.settings.host
        name = socket.gethostname() if host in EVERYWHERE else host
        shown = f"[{name}]" if ":" in name else name
        token = f"?token={self.settings.token}" if self.settings.token else ""
        return f"http://{shown}:{self.taken.getsockname()[1]}/{token}"

    @property
    def lines(self) -> list[str]:
        """Say what is open and where."""
        told = [f"{one.name}: {len(one.items):,} {MODALITIES[one.modality].nouns}" for one in self.libraries]
        lacking = [f"No library is open ({self.lacking}); open a folder on the page."] if self.lacking else []
        return [*told, *lacking, f"The page is at {self.address} until you press Ctrl-C."]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {"address": self.address, "libraries": [one.about() for one in self.libraries], "lacking": self.lacking}

    def serve(self) -> None:
        """Serve until interrupted, which ends a service as it should."""
        app = create_app(self.libraries, self.settings)
        config = server_config(
            app, self.settings, log_config=None, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE
        )
        with self.taken, suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[self.taken])


def open_page(
    workspace: Workspace,
    names: Sequence[str],
    settings: ServiceSettings,
    *,
    run: str | None = None,
    words: Mapping[str, Setting] | None = None,
    vad: Path | None = None,
    device: str = "auto",
    track: Track = silent,
) -> Page:
    """Open libraries by name or path, or those that suggest themselves, and take the port of a page that shows them.

    All are compared by one run, or by words with some settings, also those that are opened later.
    """
    if words is None and run is None and not workspace.trained:
        words = {}
    taken = take_port(settings)  # first: opening may take long
    with ExitStack() as opened:
        opened.callback(taken.close)
        chosen = None if words is not None else str(workspace.run(run))
        opener = partial(open_searcher, workspace, chosen, words=words, vad=vad, device=device)

        def make(name: str | None, track: Track, limit: Limit) -> Searcher:
            return opener(library=name, track=track, limit=limit)

        libraries = Libraries(make, settings)
        opened.callback(libraries.close)
        lacking = _open_libraries(libraries, names, track)
        opened.pop_all()
    return Page(libraries, settings, taken, lacking)


def _open_libraries(libraries: Libraries, names: Sequence[str], track: Track) -> str:
    """Open libraries; say why none is open where none is named, and none suggests itself."""
    try:
        for name in names or libraries.suggested(track):
            libraries.open(name, track)
    except (CacheError, ManifestError) as error:
        if names:
            raise
        return str(error)
    return ""


def take_port(settings: ServiceSettings) -> socket.socket:
    """Listen at the address of the settings; raise :class:`ConfigError` if that cannot be, or another program does."""
    host, port = settings.host, settings.port
    try:
        family, *_, place = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server((str(place[0]), port), family=family, backlog=BACKLOG)
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, NO_ADDRESS)
        raise ConfigError(f"port {port} of {host} cannot be taken ({reason_of(error)}): {remedy}") from error


def open_browser(address: str, show: Callable[[str], bool] = webbrowser.open) -> None:
    """Show an address in the user's browser; a browser of the terminal would hold up whoever waits for it."""

    def show_or_tell() -> None:
        if not show(address):
            log.warning("no browser could be started here; open the address in one yourself")

    threading.Thread(target=show_or_tell, name="browser", daemon=True).start()
