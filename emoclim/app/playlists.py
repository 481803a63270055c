"""Write hits as a playlist, M3U8 or CSV. Used by the service."""

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from emoclim.app.libraries import Opened
from emoclim.app.searching import Body
from emoclim.data import Item, is_remote, shown_path
from emoclim.errors import on_one_line
from emoclim.files import csv_bytes, shielded

MOST = 10_000  # entries
TYPES = {"m3u8": "application/vnd.apple.mpegurl", "csv": "text/csv; charset=utf-8"}

router = APIRouter(prefix="/api")


class Entry(Body):
    """A hit."""

    row: int = Field(ge=0, description="Row of an item")
    start: float | None = Field(default=None, ge=0, description="Second at which to begin")


class Playlist(Body):
    """What is to be listed."""

    library: str
    items: Annotated[list[Entry], Field(max_length=MOST)]
    format: Literal["m3u8", "csv"]


@router.post("/playlist", response_class=Response)
def playlist(asked: Playlist, opened: Opened) -> Response:
    """Return a playlist of items as a file."""
    library = opened[asked.library]
    entries = [(library.item(entry.row), entry.start) for entry in asked.items]
    lengths = [library.items.length(entry.row) for entry in asked.items]
    content = _m3u8(entries, lengths) if asked.format == "m3u8" else _csv(entries)
    headers = {"Content-Disposition": f'attachment; filename="{library.id}.{asked.format}"'}
    return Response(content, media_type=TYPES[asked.format], headers=headers)


def _m3u8(entries: list[tuple[Item, float | None]], lengths: list[float | None]) -> bytes:
    lines = ["#EXTM3U"]
    for (item, start), length in zip(entries, lengths, strict=True):
        if item.path is None:
            continue  # words alone, which nothing plays
        begin = (item.start or 0.0) + (start or 0.0)
        lines.append(f"#EXTINF:{-1 if length is None else round(length)},{on_one_line(item.path.stem)}")
        if begin:
            lines.append(f"#EXTVLCOPT:start-time={begin:g}")
        lines.append(on_one_line(_place(item.path)))
    return ("\n".join(lines) + "\n").encode()


def _csv(entries: list[tuple[Item, float | None]]) -> bytes:
    rows: list[tuple[Any, ...]] = [("id", "path", "label", "start")]
    for item, start in entries:
        begin = None if item.start is None and start is None else (item.start or 0.0) + (start or 0.0)
        path = "" if item.path is None else _place(item.path)
        rows.append((shielded(item.id), path, shielded(item.label or ""), "" if begin is None else f"{begin:g}"))
    return csv_bytes(rows)


def _place(path: Path) -> str:
    return shown_path(path) if is_remote(path) else str(path.absolute())
