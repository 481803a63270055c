"""Serve the files of opened libraries: as they are, or decoded where a browser would not play them, and their waveform.

Invariant: a file is served only if an item of an opened library names it, and it lies where that library is, after
links are resolved.
"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from emoclim.app.libraries import Opened, ServedLibrary
from emoclim.data import Item, is_text, read_prose, shown_path
from emoclim.files import require_regular
from emoclim.modality import MODALITIES

PLAYED = {  # formats that browsers know, by suffix
    ".aac": "audio/aac",
    ".flac": "audio/flac",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".mp4": "video/mp4",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".png": "image/png",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
}
UNKNOWN = "application/octet-stream"
POLICY = {"Content-Security-Policy": "default-src 'none'; sandbox", "Cache-Control": "private, no-cache"}

router = APIRouter(prefix="/api/libraries/{id}/items/{row}")
As = Literal["wav"]


def of_row(library: ServedLibrary, row: int) -> dict[str, Any]:
    """Return plain values: what a page needs to show an item, and to play it in a form that browsers know."""
    item, place = library.item(row), f"/api/libraries/{library.id}/items/{row}"
    timed = MODALITIES[library.modality].timed
    partly = item.start is not None or item.duration is not None
    decoded = timed and (partly or _suffix(item) not in PLAYED)
    return {
        "item": row,
        "media": f"{place}/media?as=wav" if decoded else f"{place}/media",
        "waveform": f"{place}/waveform" if timed else None,
        "seconds": library.items.length(row),
        "folder": library.items.folder(row),
        "format": library.format(row),
    }


@router.get("")
def describe(id: str, row: int, opened: Opened) -> dict[str, Any]:  # noqa: A002
    """Tell what an item is, and where its media are."""
    library = opened[id]
    item = library.item(row)
    return {"id": item.id, "path": item.path and shown_path(item.path), "label": item.label, **of_row(library, row)}


@router.get("/media", response_class=FileResponse)
def media(id: str, row: int, opened: Opened, form: Annotated[As | None, Query(alias="as")] = None) -> Response:  # noqa: A002
    """Return an item's file, or its sound as WAV; parts of it by ranges."""
    library = opened[id]
    item = library.item(row)
    if is_text(item):
        return Response(read_prose(item)[0], media_type="text/plain; charset=utf-8", headers=POLICY)
    path = _file(library, item)
    if form is None:
        return FileResponse(path, media_type=PLAYED.get(path.suffix.lower(), UNKNOWN), headers=POLICY)
    _require_sound(library, item)
    return FileResponse(opened.decoded.wav(replace(item, path=path), path), media_type="audio/wav", headers=POLICY)


@router.get("/waveform")
def waveform(id: str, row: int, opened: Opened) -> dict[str, Any]:  # noqa: A002
    """Return an item's length in seconds, and its loudest moments in even steps over it, from 0 to 1."""
    library = opened[id]
    path = _file(library, item := library.item(row))
    _require_sound(library, item)
    seconds, peaks = opened.decoded.peaks(replace(item, path=path), path)
    return {"seconds": seconds, "peaks": peaks}


def _require_sound(library: ServedLibrary, item: Item) -> None:
    if not MODALITIES[library.modality].timed:
        raise HTTPException(415, f"{item.id!r:.80} has no sound; ask for its media")


def _suffix(item: Item) -> str:
    return item.path.suffix.lower() if item.path else ""


def _file(library: ServedLibrary, item: Item) -> Path:
    """Return the place of an item's file without links in it, if it may be served."""
    refused = HTTPException(
        403, f"the file of {item.id!r:.80} lies outside of library {library.name!r:.80}; open its folder, too"
    )
    try:
        path = item.path.resolve(strict=True) if item.path else None
        if path is None or path.suffix.lower() not in MODALITIES[library.modality].suffixes:
            raise refused
        if library.roots and not any(path.is_relative_to(root) for root in library.roots):
            raise refused
        require_regular(path)
    except (OSError, RuntimeError, ValueError) as error:  # it is gone; its links lead in a circle; its name is none
        raise HTTPException(
            404, f"the file of {item.id!r:.80} is not there, or cannot be read; scan the library again"
        ) from error
    return path
