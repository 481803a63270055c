"""Answer queries, and tell what can be asked. Used by the service."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, File, Form, Request, UploadFile
from pydantic import BaseModel, ConfigDict, Field, Json
from starlette.exceptions import HTTPException

from emoclim import __version__, pipeline
from emoclim.app.guard.uploads import keep_uploads
from emoclim.app.libraries import Opened, ServedLibrary
from emoclim.app.libraries import about as about_space
from emoclim.app.media import of_row
from emoclim.errors import ConfigError
from emoclim.index import Filters
from emoclim.processes import own_prefix

MOST_HITS = 1_000
NOTHING: dict[str, Any] = {"space": None, "encoders": {}, "modalities": [], "classes": [], "coordinates": None}
AT_ONCE, MOST_WAITING = 16, 200  # searches: other requests have threads of their own

router = APIRouter(prefix="/api")


class Body(BaseModel):
    """Part of a request; what it does not know is refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Part(Body):
    """A part of a query: one of these."""

    file: int | None = Field(default=None, ge=0, description="Number of an uploaded file, from 0 on")
    text: str | None = Field(default=None, min_length=1, max_length=20_000, description="Words")
    item: str | None = Field(default=None, max_length=4_096, description="Id of an item of the library")


class Only(Body):
    """What items must be to be ranked."""

    emotion: str | None = Field(default=None, max_length=1_000, description="That which is read in them first")
    folder: str | None = Field(default=None, max_length=4_096, description="Where their files lie, or a folder above")
    seconds: tuple[float, float] | None = Field(default=None, description="How long they are at least and at most")
    formats: list[str] = Field(default=[], max_length=100, description="Suffixes of their files, without dots")

    def filters(self) -> Filters:
        """Return them in the form of search."""
        return Filters(self.emotion, self.folder, self.seconds, tuple(self.formats))


class Shares(Body):
    """What scores are the mean of."""

    emotion: float = Field(ge=0)
    content: float = Field(ge=0)


class Query(Body):
    """What is asked."""

    library: str = Field(description="Id of an opened library")
    plus: list[Part] = Field(default=[], max_length=100, description="What hits are to be like")
    minus: list[Part] = Field(default=[], max_length=100, description="What they are to be unlike")
    at: tuple[float, float] | None = Field(default=None, description="Valence and arousal, in place of all that")
    top: int = Field(default=5, ge=1, le=MOST_HITS, description="Number of hits")
    mix: Shares | None = Field(default=None, description="Shares of emotion and content; default emotion alone")
    only: Only | None = Field(default=None, description="What is ranked; default all")
    why: bool = Field(default=False, description="Tell what scores are made of")
    separately: bool = Field(default=False, description="Each of `plus` is a query of its own")


@router.get("/about")
def about(request: Request, opened: Opened) -> dict[str, Any]:
    """Tell what can be searched, by what, and how much a request may hold."""
    settings = request.app.state.settings
    libraries = list(opened)
    return {
        "version": __version__,
        **(about_space(libraries[0]) if libraries else NOTHING),
        "libraries": [library.about() for library in libraries],
        "limits": {"upload_bytes": settings.upload_bytes, "files": settings.files},
    }


@router.post("/search")
async def search(
    request: Request,
    opened: Opened,
    query: Annotated[Json[Query], Form(description="JSON of what is asked")],
    files: Annotated[list[UploadFile], File(description="Files that the query names by number")] = [],  # noqa: B006
) -> dict[str, Any]:
    """Rank a library by its likeness to files, words and items."""
    library = opened[query.library]
    searches: CapacityLimiter = request.app.state.searches
    if searches.statistics().tasks_waiting >= MOST_WAITING:
        raise HTTPException(503, "too many searches wait for an answer; ask again in a while")
    most = request.app.state.settings.files
    if len(files) > most:
        raise ConfigError(f"a request may hold {most} files, not {len(files)}; send several requests")
    return await to_thread.run_sync(_answer, library, query, files, limiter=searches)


def _answer(library: ServedLibrary, query: Query, files: list[UploadFile]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix=own_prefix()) as folder:
        kept = keep_uploads(files, Path(folder))
        asked = _asked(query, kept)
        mix = query.mix.model_dump() if query.mix else None
        only = query.only.filters() if query.only else None
        answers = library.searcher.search(asked, top=query.top, mix=mix, why=query.why, only=only)
        names = {str(path): name for path, name in kept}
        return {
            "results": [_result(library, one, names) for one in answers.results],
            "failures": [_named(one, names) for one in answers.each if isinstance(one, pipeline.FailedQuery)],
        }


def _asked(query: Query, kept: list[tuple[Path, str]]) -> list[pipeline.Query]:
    """Make one query of all that is named, or of each part, or of a place."""
    plus, minus = ([_given(part, kept) for part in parts] for parts in (query.plus, query.minus))
    if query.at is not None:
        if plus or minus:
            raise ConfigError("a place is a query by itself; ask for files, words and items without it")
        return [pipeline.Point(*query.at)]
    if query.separately and minus:
        raise ConfigError("what hits are to be unlike belongs to one query; ask for all together")
    if minus or (len(plus) > 1 and not query.separately):
        return [pipeline.Blend(tuple(plus), tuple(minus))]
    if not plus:
        raise ConfigError("there is nothing to search with; send a file, words, an item or a place")
    return [*plus]


def _given(part: Part, kept: list[tuple[Path, str]]) -> Path | str | pipeline.LibraryItem:
    """Return what a part of a query stands for."""
    if [part.file, part.text, part.item].count(None) != 2:
        raise ConfigError("each part of a query is a file, some words or an item; give one of the three")
    if part.text is not None:
        return part.text
    if part.item is not None:
        return pipeline.LibraryItem(part.item)
    number = part.file or 0
    if number >= len(kept):
        raise ConfigError(f"the query names file {number}, and {len(kept)} came, from 0 on; send it as `files`")
    return kept[number][0]


def _result(library: ServedLibrary, result: pipeline.SearchResult, names: dict[str, str]) -> dict[str, Any]:
    """Add to each hit what a page needs to show and play it."""
    told = _named(result, names)
    return {**told, "found": [{**hit, **of_row(library, hit["row"])} for hit in told["found"]]}


def _named(result: pipeline.SearchResult | pipeline.FailedQuery, names: dict[str, str]) -> dict[str, Any]:
    """Name a query in words, and a file that was uploaded as it is called where it comes from."""
    told, query = result.to_dict(), result.query
    told["query"] = _renamed(query if isinstance(query, str) else pipeline.shown_query(query), names)
    if "error" in told:
        told["error"]["message"] = _renamed(told["error"]["message"], names)
    return told


def _renamed(text: str, names: dict[str, str]) -> str:
    for path, name in names.items():
        text = text.replace(path, name)
    return text
