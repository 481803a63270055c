"""Assemble the service: what guards it, its routes, its page, and how it tells errors. Used by `emoclim app`."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache, partial
from importlib import resources
from pathlib import Path
from typing import Any

import uvicorn
from anyio import CapacityLimiter
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from emoclim import __version__
from emoclim.app import mapping, media, opening, playlists, searching
from emoclim.app.guard.decoding import Busy
from emoclim.app.guard.requests import MOST_HEADERS, Guard, error_response
from emoclim.app.jobs import Jobs
from emoclim.app.libraries import Libraries
from emoclim.app.settings import ServiceSettings
from emoclim.errors import EmoclimError, user_message

log = logging.getLogger(__name__)

TYPES = {".css": "text/css", ".html": "text/html", ".ico": "image/x-icon", ".js": "text/javascript"}
TYPES |= {".png": "image/png", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json"}
MOST_AT_ONCE = 512  # connections
IDLE_SECONDS = 15


def create_app(libraries: Libraries, settings: ServiceSettings = ServiceSettings()) -> FastAPI:  # noqa: B008
    """Make the service.

    Parameters
    ----------
    libraries
        What is searched; more may be opened while it runs.
    settings
        Where it listens, who may ask, and what a request takes at most.

    Returns
    -------
    FastAPI
        An ASGI application; `state.libraries` and `state.settings` are what it was made of.
    """

    @asynccontextmanager
    async def closing(_: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(app.state.jobs.close)
        libraries.close()

    app = FastAPI(lifespan=closing, title="emoclim", version=__version__, docs_url=None, redoc_url=None)
    app.state.libraries, app.state.settings = libraries, settings
    app.state.jobs = Jobs(partial(opening.open_and_tell, libraries))
    app.state.searches = CapacityLimiter(searching.AT_ONCE)
    for room in (searching, media, mapping, opening, playlists):
        app.include_router(room.router)
    app.add_api_route("/", _page, include_in_schema=False)
    app.add_api_route("/static/{name:path}", _static, include_in_schema=False)
    app.add_exception_handler(EmoclimError, _tell_ours)
    app.add_exception_handler(RequestValidationError, _tell_invalid)
    app.add_exception_handler(HTTPException, _tell_http)
    app.add_exception_handler(Exception, _tell_fault)
    app.add_middleware(Guard, settings=settings)
    return app


def server_config(app: FastAPI, settings: ServiceSettings, **options: Any) -> uvicorn.Config:
    """Say how the service is run: with bounds on headers and connections, and no belief in headers of proxies."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="h11",
        ws="none",
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=MOST_HEADERS,
        limit_concurrency=MOST_AT_ONCE,
        timeout_keep_alive=IDLE_SECONDS,
        **options,
    )


@cache
def page_files() -> Mapping[str, bytes]:
    """Read the files of the page, by their path in its folder: what is no key of this is not served."""
    folder = Path(str(resources.files("emoclim.app"))) / "page"
    return {one.relative_to(folder).as_posix(): one.read_bytes() for one in folder.rglob("*") if one.is_file()}


def _page() -> Response:
    return _static("index.html")


def _static(name: str) -> Response:
    content, kind = page_files().get(name), TYPES.get(name[name.rfind(".") :])
    if content is None or kind is None:
        raise HTTPException(404, f"the page has no file {name!r:.80}; open /")
    return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})


def _tell_ours(_: Request, error: Exception) -> Response:
    return error_response(503 if isinstance(error, Busy) else 400, str(error), type(error).__name__)


def _tell_invalid(_: Request, error: Exception) -> Response:
    """Tell the first fault of a request, and where it is."""
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": str(error)}
    place = ".".join(str(part) for part in first["loc"][1:]) or "the request"
    return error_response(400, f"{place:.200} cannot be used: {first['msg']:.400}; see /openapi.json", "ConfigError")


def _tell_http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return error_response(error.status_code, str(error.detail))


def _tell_fault(_: Request, error: Exception) -> Response:
    """Tell what the machine lacks; of a bug, no more than that it is one."""
    if (told := user_message(error)) is None:
        log.exception("a request failed", exc_info=error)
        told = "the service failed at this, by a fault of its own; where it was started tells more"
    return error_response(500, told)
