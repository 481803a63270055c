"""Libraries that are opened and scanned anew on the page: encoded, told what is the matter with them, and searched."""

import io
import json
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from few_pictures import pictures as pictures
from few_pictures import write_picture
from PIL import Image
from starlette.testclient import TestClient
from wordy_preset import preset as preset
from wordy_preset import wordy as wordy

from emoclim.app import ServiceSettings, create_app, open_page
from emoclim.app.jobs import Job
from emoclim.cache import open_cache
from emoclim.pipeline import Workspace

WORDS = {"encoder": "noise", "words": "calm,glad,afraid"}


@pytest.fixture
def client(preset: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("emoclim.pipeline.machine.MAX_WORKERS", 0)  # each picture is decoded in a moment
    settings = ServiceSettings(port=0)
    page = open_page(Workspace(tmp_path / "workspace"), [], settings, words=WORDS, device="cpu")
    page.taken.close()
    with TestClient(create_app(page.libraries, settings), base_url="http://127.0.0.1") as opened:
        yield opened


def outcome(client: TestClient, path: str, **asked: object) -> dict:
    """Begin a job, and wait for what comes of it."""
    begun = client.post(path, **asked)
    assert begun.status_code == 202, begun.text
    id_ = begun.json()["job"]
    job = client.app.state.jobs.find(id_)
    assert job.ended.wait(60)
    return client.get(f"/api/jobs/{id_}").json()


def ids(client: TestClient, library: str) -> list[str]:
    """Ids of the items that are open."""
    return sorted(client.app.state.libraries[library].items.ids)


def found(client: TestClient, library: str) -> list[str]:
    """Ids of all that a photo finds."""
    Image.new("RGB", (8, 8), "blue").save(photo := io.BytesIO(), "PNG")
    asked = {"library": library, "plus": [{"file": 0}], "top": 20}
    sent = {"files": ("sea.png", photo.getvalue())}
    answered = client.post("/api/search", data={"query": json.dumps(asked)}, files=sent)
    assert answered.status_code == 200, answered.text
    return sorted(hit["id"] for hit in answered.json()["results"][0]["found"])


def test_a_folder_that_nobody_has_seen_is_encoded_and_searched(client: TestClient, pictures: Path) -> None:
    assert client.get("/api/about").json()["libraries"] == []
    told = outcome(client, "/api/libraries", json={"path": str(pictures)})
    assert (told["state"], told["error"]) == ("done", None)
    assert [one.partition(":")[0] for one in told["problems"]] == ["broken.png"]
    assert list(told["left_out"]) == ["list.txt"]
    assert told["changes"] == {"new": [], "changed": [], "gone": []}
    (library,) = client.get("/api/about").json()["libraries"]
    assert library["id"] == told["library"]
    assert found(client, told["library"]) == ["0.png", "1.png", "2.png"]
    assert [one["id"] for one in client.get("/api/jobs").json()] == [told["id"]]


def test_a_rescan_notices_what_is_new_changed_and_gone(client: TestClient, pictures: Path) -> None:
    library = outcome(client, "/api/libraries", json={"path": str(pictures)})["library"]
    again = f"/api/libraries/{library}/rescan"
    assert outcome(client, again)["changes"] == {"new": [], "changed": [], "gone": []}
    write_picture(pictures / "deep" / "new.png", 7)
    write_picture(pictures / "1.png", 8)
    (pictures / "2.png").unlink()
    os.utime(pictures / "0.png")
    told = outcome(client, "/api/libraries", json={"path": f"{pictures.parent}/./pictures/"})  # as anybody writes it
    assert told["changes"] == {"new": ["deep/new.png"], "changed": ["1.png"], "gone": ["2.png"]}
    assert [one.partition(":")[0] for one in told["problems"]] == ["broken.png"]
    assert (told["library"], ids(client, library)) == (library, ["0.png", "1.png", "deep/new.png"])


def test_a_folder_that_went_is_told_and_what_is_open_stays(client: TestClient, pictures: Path) -> None:
    library = outcome(client, "/api/libraries", json={"path": str(pictures)})["library"]
    shutil.rmtree(pictures)
    told = outcome(client, f"/api/libraries/{library}/rescan")
    assert (told["state"], told["library"]) == ("failed", None)
    assert str(pictures) in told["error"]["message"]
    assert ids(client, library) == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize("path", ["missing", "a\0b", "~nobody/x", "/dev/null", "x" * 5000, ""])
def test_what_is_no_library_is_told(client: TestClient, path: str) -> None:
    begun = client.post("/api/libraries", json={"path": path})
    if begun.status_code == 202:
        told = outcome(client, "/api/libraries", json={"path": path})
        assert told["state"] == "failed"
        assert "fault of the program" not in told["error"]["message"]
    else:
        assert begun.status_code == 400
        assert begun.json()["error"]["message"]


def test_jobs_and_libraries_that_are_not_there_are_told(client: TestClient) -> None:
    for method, path in (("get", "/api/jobs/x"), ("delete", "/api/jobs/x"), ("post", "/api/libraries/x/rescan")):
        answered = getattr(client, method)(path)
        assert (answered.status_code, answered.json()["error"]["type"]) == (404, "NotFound")


@pytest.mark.parametrize("limit", [300, 6_000])
def test_a_full_disk_is_told_and_loses_nothing(client: TestClient, pictures: Path, limit: int) -> None:
    other = pictures.with_name("other")
    for number in range(12):
        write_picture(other / f"{number}.png", 100 + number)
    library = outcome(client, "/api/libraries", json={"path": str(pictures)})["library"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))  # no file may be longer
    try:
        told = outcome(client, "/api/libraries", json={"path": str(other)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (told["state"], told["library"]) == ("failed", None)
    assert "File too large" in told["error"]["message"]
    assert ids(client, library) == ["0.png", "1.png", "2.png"]
    told = outcome(client, "/api/libraries", json={"path": str(other)})
    assert (told["state"], told["problems"]) == ("done", [])
    assert len(ids(client, told["library"])) == 12


def test_another_service_that_writes_the_same_cache_is_told(client: TestClient, pictures: Path, tmp_path: Path) -> None:
    library = outcome(client, "/api/libraries", json={"path": str(pictures)})["library"]
    write_picture(pictures / "new.png", 7)
    (cache,) = (tmp_path / "workspace" / "cache").glob("image-*.h5")
    with open_cache(cache) as opened:
        spec = opened.spec
    with open_cache(cache, spec):
        told = outcome(client, f"/api/libraries/{library}/rescan")
        assert told["state"] == "failed"
        assert "is being written by process" in told["error"]["message"]
        assert ids(client, library) == ["0.png", "1.png", "2.png"]
    told = outcome(client, f"/api/libraries/{library}/rescan")
    assert told["changes"]["new"] == ["new.png"]
    assert "new.png" in ids(client, library)


def test_an_extraction_that_is_cancelled_goes_on_from_where_it_was(
    client: TestClient, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel_at_the_second(job: Job) -> None:
        if job.to_dict()["done"] == 1:
            job.cancel()
        require_wanted(job)

    require_wanted = Job.require_wanted
    with monkeypatch.context() as patched:
        patched.setattr(Job, "require_wanted", cancel_at_the_second)
        assert outcome(client, "/api/libraries", json={"path": str(pictures)})["state"] == "cancelled"
    assert client.get("/api/about").json()["libraries"] == []
    told = outcome(client, "/api/libraries", json={"path": str(pictures)})
    assert ids(client, told["library"]) == ["0.png", "1.png", "2.png"]
