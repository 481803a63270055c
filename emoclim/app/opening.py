"""Routes that open libraries, scan them anew, and tell how far that is. Used by the service."""

import logging
import threading
from collections.abc import Mapping
from typing import Annotated, Any, Self

from fastapi import APIRouter, Body, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

import emoclim
from emoclim.app.jobs import Changes, Job, Jobs, Outcome, TooManyJobs
from emoclim.app.libraries import Libraries, Opened
from emoclim.progress import Track

MOST_TOLD = 1_000  # items of each kind
OF_ITEMS = ("emoclim.pipeline.extract", "emoclim.pipeline.held", "emoclim.pipeline.searching.libraries")  # warn of them

router = APIRouter(prefix="/api")


class Place(BaseModel):
    """Where a library lies."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1, max_length=4096, description="Folder or manifest on the machine of the service")


@router.post("/libraries", status_code=202)
def open_library(request: Request, place: Annotated[Place, Body()]) -> dict[str, str]:
    """Open a library, of which what lacks is encoded first; tell the job that does it."""
    return {"job": _begin(request, place.path).id}


@router.post("/libraries/{library}/rescan", status_code=202)
def rescan(request: Request, opened: Opened, library: str) -> dict[str, str]:
    """Look what is new, changed or gone in an opened library, and encode that; tell the job that does it."""
    return {"job": _begin(request, str(opened[library].source)).id}


@router.get("/jobs")
def list_jobs(request: Request) -> list[dict[str, Any]]:
    """Tell of all jobs, in the order in which they came."""
    return [job.to_dict() for job in _jobs(request).listed()]


@router.get("/jobs/{job}")
def tell_job(request: Request, job: str) -> dict[str, Any]:
    """Tell how far a job is, or what came of it."""
    return _find(request, job).to_dict()


@router.delete("/jobs/{job}", status_code=202)
def cancel_job(request: Request, job: str) -> dict[str, Any]:
    """Stop a job before its next item; what it encoded is kept."""
    found = _find(request, job)
    found.cancel()
    return found.to_dict()


def _begin(request: Request, path: str) -> Job:
    try:
        return _jobs(request).add(path)
    except TooManyJobs as error:
        raise HTTPException(503, str(error)) from error


def _find(request: Request, job: str) -> Job:
    if found := _jobs(request).find(job):
        return found
    raise HTTPException(
        404, f"there is no job {job!r:.80}; it may have ended long ago, so see which libraries are open"
    )


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs


def open_and_tell(libraries: Libraries, path: str, track: Track) -> Outcome:
    """Open a library, or open it anew, and tell what could not be encoded and what is not as it was before."""
    before = {served.id: served.opened for served in libraries}
    with Warnings() as warnings:
        served = libraries.open(path, track)
    opened = served.opened
    failures = [f"{id_}: {reason}" for id_, reason in opened.failures().items()]
    more = [f"and {len(failures) - MOST_TOLD:,} more"] if len(failures) > MOST_TOLD else []
    return Outcome(
        served.id,
        problems=[*warnings.told, *failures[:MOST_TOLD], *more],
        left_out=opened.left_out(),
        changes=compare(before[served.id].contents(), opened.contents()) if served.id in before else Changes(),
    )


def compare(before: Mapping[str, str], now: Mapping[str, str]) -> Changes:
    """Tell which items came, have another content or went, by the keys of contents by id."""
    return Changes(
        new=[id_ for id_ in now if id_ not in before],
        changed=[id_ for id_, key in now.items() if before.get(id_, key) != key],
        gone=[id_ for id_ in before if id_ not in now],
    )


class Warnings(logging.Handler):
    """Keeps what this thread warns of during a block, but for counts of items, which are told one by one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.told: list[str] = []
        self._thread = threading.get_ident()

    def __enter__(self) -> Self:
        logging.getLogger(emoclim.__name__).addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger(emoclim.__name__).removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a warning."""
        if record.thread == self._thread and record.name not in OF_ITEMS:
            self.told.append(record.getMessage())
