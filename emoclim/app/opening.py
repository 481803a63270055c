"""Routes that open libraries, scan them anew, and tell how far that is. Used by the service."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Body, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

from emoclim.app.jobs import Changes, Job, Jobs, Outcome, TooManyJobs
from emoclim.app.libraries import Libraries, Opened
from emoclim.cache import ItemStatus
from emoclim.progress import Track

MOST_TOLD = 1_000  # items of each kind
ENCODED = ("committed",)

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
    before = {served.id: served.statuses() for served in libraries if str(served.source) == path}
    served = libraries.open(path, track)
    now = served.statuses()
    return Outcome(
        served.id,
        problems=_problems(now),
        left_out={one.id: one.reason for one in now if one.state == "left out"},
        changes=compare(before[served.id], now) if served.id in before else Changes(),
    )


def compare(before: Sequence[ItemStatus], now: Sequence[ItemStatus]) -> Changes:
    """Tell which items came, have another content or went."""
    old, new = ({one.id: one.key for one in statuses if one.state != "left out"} for statuses in (before, now))
    return Changes(
        new=[id_ for id_ in new if id_ not in old],
        changed=[id_ for id_, key in new.items() if old.get(id_, key) != key],
        gone=[id_ for id_ in old if id_ not in new],
    )


def _problems(statuses: Sequence[ItemStatus]) -> list[str]:
    """Say which items could not be encoded, and why."""
    failed = [f"{one.id}: {one.reason or 'not encoded yet'}" for one in statuses if one.state in ("failed", "missing")]
    more = len(failed) - MOST_TOLD
    return failed[:MOST_TOLD] + ([f"and {more:,} more"] if more > 0 else [])
