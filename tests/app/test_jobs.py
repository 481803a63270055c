"""Jobs that open libraries: one after the other, told how far they are, stopped, and failing by themselves."""

import errno
import threading
from collections.abc import Iterator

import pytest

from emoclim.app import jobs as module
from emoclim.app.jobs import Job, Jobs, Outcome, TooManyJobs
from emoclim.errors import ManifestError
from emoclim.progress import Track


class Opener:
    """Opens libraries whose names say what comes of them; each waits at its second item until it is let go on."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.arrived, self.go_on = threading.Event(), threading.Event()

    def __call__(self, path: str, track: Track) -> Outcome:
        self.began.append(path)
        if path in RAISED:
            raise RAISED[path]
        for number in track(range(4), "encode songs"):
            if number == 1:
                self.arrived.set()
                assert self.go_on.wait(10)
        return Outcome(path.upper(), ["b.wav: broken"], {"c.txt": "no music"}, module.Changes(new=["a.wav"]))


RAISED = {
    "missing": ManifestError("there is no manifest at missing"),
    "full": OSError(errno.ENOSPC, "No space left on device", "cache/audio.h5"),
    "memory": MemoryError(),
    "bug": KeyError("secret"),
}


@pytest.fixture
def opener() -> Opener:
    return Opener()


@pytest.fixture
def jobs(opener: Opener) -> Iterator[Jobs]:
    made = Jobs(opener)
    yield made
    opener.go_on.set()
    made.close()


def ended(job: Job) -> dict[str, object]:
    assert job.ended.wait(10)
    return job.to_dict()


def test_a_job_tells_how_far_it_is_then_what_came_of_it(jobs: Jobs, opener: Opener) -> None:
    job = jobs.add("songs")
    assert opener.arrived.wait(10)
    told = job.to_dict()
    assert (told["state"], told["step"], told["done"], told["total"]) == ("running", "encode songs", 1, 4)
    assert told["seconds_left"] >= 0
    opener.go_on.set()
    told = ended(job)
    assert (told["state"], told["done"], told["library"], told["seconds_left"]) == ("done", 4, "SONGS", None)
    assert (told["problems"], told["left_out"]) == (["b.wav: broken"], {"c.txt": "no music"})
    assert told["changes"] == {"new": ["a.wav"], "changed": (), "gone": ()}
    assert jobs.find(job.id) is job


def test_one_is_opened_at_a_time_in_order_and_none_twice_at_once(jobs: Jobs, opener: Opener) -> None:
    first, second = jobs.add("a"), jobs.add("b")
    assert opener.arrived.wait(10)
    assert (jobs.add("a"), jobs.add("b")) == (first, second)
    assert (opener.began, second.state) == (["a"], "waiting")
    opener.go_on.set()
    assert ended(second)["state"] == "done"
    again = jobs.add("a")
    assert again is not first
    assert ended(again)["state"] == "done"
    assert opener.began == ["a", "b", "a"]


@pytest.mark.parametrize(
    ("path", "told"),
    [("missing", "there is no manifest"), ("full", "No space left"), ("memory", "not enough memory")],
)
def test_a_job_that_fails_says_why_and_the_next_one_begins(jobs: Jobs, opener: Opener, path: str, told: str) -> None:
    opener.go_on.set()
    failed, other = jobs.add(path), jobs.add("other")
    error = ended(failed)["error"]
    assert (failed.state, error["type"]) == ("failed", type(RAISED[path]).__name__)
    assert told in error["message"]
    assert ended(other)["state"] == "done"


def test_a_bug_is_told_where_the_service_was_started_and_to_nobody_else(
    jobs: Jobs, opener: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    opener.go_on.set()
    told = ended(jobs.add("bug"))
    assert "secret" not in str(told)
    assert "secret" in caplog.text
    assert ended(jobs.add("other"))["state"] == "done"


def test_jobs_are_stopped_before_their_next_item_or_before_they_begin(jobs: Jobs, opener: Opener) -> None:
    running, waiting, last = jobs.add("a"), jobs.add("b"), jobs.add("c")
    assert opener.arrived.wait(10)
    running.cancel()
    waiting.cancel()
    opener.go_on.set()
    for job in (running, waiting):
        assert ended(job)["state"] == "cancelled"
    assert running.to_dict()["done"] == 2
    assert ended(last)["state"] == "done"
    assert opener.began == ["a", "c"]


def test_the_end_of_the_service_stops_them_all(jobs: Jobs, opener: Opener) -> None:
    running, waiting = jobs.add("a"), jobs.add("b")
    assert opener.arrived.wait(10)
    closing = threading.Thread(target=jobs.close)
    closing.start()
    opener.go_on.set()
    closing.join(10)
    assert [ended(job)["state"] for job in (running, waiting)] == ["cancelled"] * 2
    with pytest.raises(TooManyJobs):
        jobs.add("c")


def test_only_so_many_wait_and_only_so_many_results_are_kept(
    jobs: Jobs, opener: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    monkeypatch.setattr(module, "MAX_ENDED", 1)
    begun = [jobs.add(name) for name in "abc"]
    with pytest.raises(TooManyJobs):
        jobs.add("d")
    opener.go_on.set()
    for job in begun:
        ended(job)
    last = jobs.add("e")
    assert [jobs.find(job.id) for job in begun] == [None, None, begun[2]]
    assert jobs.listed() == [begun[2], last]
