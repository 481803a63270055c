"""The service: what it tells of itself, queries of files and words, media, waveforms, playlists, and its errors."""

import json
import pickle
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest
from fastapi.testclient import TestClient
from served import client as client
from served import libraries as libraries
from served import open_music
from served import served_workspace as served_workspace

from emoclim.app import ServiceSettings, create_app
from emoclim.app.guard.limited import LimitedEncoder, prepare
from emoclim.data import Item
from emoclim.encoders import Encoder
from emoclim.pipeline import Workspace, open_searcher


def search(client: TestClient, files: list[Path], **query: object) -> dict:
    asked = {"library": "audio", "plus": [{"file": number} for number in range(len(files))], **query}
    parts = [("files", (path.name, path.read_bytes())) for path in files]
    return client.post("/api/search", data={"query": json.dumps(asked)}, files=parts or None).json()


def picture(root: Path) -> Path:
    return root / "data" / "images" / "0.png"


def test_it_tells_what_can_be_asked(client: TestClient) -> None:
    about = client.get("/api/about").json()
    assert about["space"]["name"] == "001-colour-timbre"
    assert about["modalities"] == ["image", "audio"]
    assert about["encoders"] == {"image": "colour", "audio": "timbre"}
    (library,) = about["libraries"]
    assert (library["id"], library["modality"], library["formats"]) == ("audio", "audio", ["flac"])
    assert library["items"] == 21
    assert set(about["classes"]) == {"calm", "glad", "wild"}
    assert about["coordinates"]["calm"] == pytest.approx([0.4, -0.6])
    assert about["limits"] == {"upload_bytes": 200_000_000, "files": 3}
    assert "/api/search" in client.get("/openapi.json").json()["paths"]


def test_a_photo_finds_music_that_can_be_heard(client: TestClient, served_workspace: Path) -> None:
    (result,) = search(client, [picture(served_workspace)], top=3)["results"]
    assert result["query"] == picture(served_workspace).name
    assert [hit["rank"] for hit in result["found"]] == [1, 2, 3]
    for hit in result["found"]:
        sound = client.get(hit["media"])
        assert sound.content == Path(hit["path"]).read_bytes()
        assert sound.headers["content-type"] == "audio/flac"
        part = client.get(hit["media"], headers={"range": "bytes=4-11"})
        assert (part.status_code, part.content) == (206, sound.content[4:12])
        wave = client.get(hit["waveform"]).json()
        assert wave["seconds"] == pytest.approx(11)
        assert len(wave["peaks"]) == 400
        assert 0 < max(wave["peaks"]) <= 1


def test_sums_items_and_places_are_asked_for(client: TestClient, served_workspace: Path) -> None:
    (alone,) = search(client, [picture(served_workspace)], top=99)["results"]
    first, last = alone["found"][0]["id"], alone["found"][-1]["id"]
    (blend,) = search(client, [picture(served_workspace)], minus=[{"item": first}], top=99)["results"]
    assert blend["query"] == f"{picture(served_workspace).name} - {first}"
    assert first not in {hit["id"] for hit in blend["found"]}
    (like,) = search(client, [], plus=[{"item": first}], top=99)["results"]
    assert (like["left_out"], like["candidates"]) == ([first], 20)
    (place,) = search(client, [], at=[-0.5, 0.5], top=3)["results"]
    assert place["query"] == "valence -0.50, arousal +0.50"
    assert {*place["found"][0]["parts"]} == {"valence", "arousal"}
    failed = search(client, [picture(served_workspace)], minus=[{"item": last}, {"item": "none"}])
    assert "no item 'none'" in failed["error"]["message"]


def test_a_library_has_a_map_that_is_kept(client: TestClient) -> None:
    found = client.get("/api/libraries/audio/map").json()
    assert found["rows"] == list(range(21))
    assert len(found["points"]) == len(found["emotions"]) == 21
    assert {*found["emotions"]} <= {*range(len(found["classes"]))}
    assert not found["sampled"]
    assert client.get("/api/libraries/audio/map").json() == found


def test_filters_and_reasons_are_passed_on(client: TestClient, served_workspace: Path) -> None:
    (result,) = search(client, [picture(served_workspace)], top=99, only={"folder": "music/calm"}, why=True)["results"]
    assert len(result["found"]) == 7
    assert {(hit["folder"], hit["seconds"]) for hit in result["found"]} == {("music/calm", 11)}
    assert "no reasons" in result["unexplained"]
    first = result["found"][0]
    described = client.get(first["media"].removesuffix("/media")).json()
    assert described == {name: first[name] for name in described}


def test_folders_are_told_wherever_the_service_was_started(
    served_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(served_workspace)  # in which what lies there is named without its place
    opened = open_music(served_workspace, ServiceSettings())
    client = TestClient(create_app(opened, ServiceSettings()), "http://127.0.0.1:8765")
    (result,) = search(client, [], plus=[{"item": next(iter(opened)).items.ids[0]}])["results"]
    assert {hit["folder"] for hit in result["found"]} <= {"music/calm", "music/glad", "music/wild"}
    opened.close()


def test_the_page_and_its_parts_are_served(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    script = client.get("/static/asking/asking.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "script-src 'self';" in page.headers["content-security-policy"]


def test_queries_that_fail_are_told_beside_those_that_do_not(
    client: TestClient, served_workspace: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    found = search(client, [picture(served_workspace), tmp_path / "bad.png"], separately=True)
    assert len(found["results"]) == 1
    (failure,) = found["failures"]
    assert failure["query"] == "bad.png"
    assert failure["error"]["message"].startswith("bad.png cannot be used as a query")
    assert search(client, [tmp_path / "bad.png"])["error"]["type"] == "ManifestError"


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ({"library": "none"}, "no library 'none'"),
        ({"plus": [{"file": 7}]}, "file 7"),
        ({"plus": [{}]}, "one of the three"),
        ({"top": 0}, "top"),
        ({"colour": "red"}, "colour"),
        ({"plus": [{"text": "calm"}]}, "takes no words"),
        ({"at": [0, 0]}, "by itself"),
        ({"plus": [], "at": [0, 2]}, "from -1 to 1"),
        ({"plus": [], "minus": [{"file": 0}]}, "nothing that is"),
        ({"minus": [{"file": 0}]}, "cancel each other"),
        ({"minus": [{"file": 0}], "separately": True}, "together"),
    ],
)
def test_what_cannot_be_asked_is_told(client: TestClient, served_workspace: Path, query: dict, told: str) -> None:
    answer = search(client, [picture(served_workspace)], **query)
    assert told in answer["error"]["message"]


def test_more_files_than_a_request_may_hold_are_told(client: TestClient, served_workspace: Path) -> None:
    assert "may hold 3 files" in search(client, [picture(served_workspace)] * 4, separately=True)["error"]["message"]


def test_hits_become_playlists(client: TestClient, served_workspace: Path) -> None:
    (result,) = search(client, [picture(served_workspace)], top=2)["results"]
    items = [{"row": hit["item"], "start": hit["start"]} for hit in result["found"]]
    asked = {"library": "audio", "items": items, "format": "m3u8"}
    lines = client.post("/api/playlist", json=asked).text.splitlines()
    assert lines[0] == "#EXTM3U"
    assert {line.partition(",")[0] for line in lines if "INF" in line} == {"#EXTINF:11"}
    assert [line for line in lines if not line.startswith("#")] == [hit["path"] for hit in result["found"]]
    table = client.post("/api/playlist", json={**asked, "format": "csv"})
    assert "attachment" in table.headers["content-disposition"]
    assert [line.split(",")[0] for line in table.text.splitlines()] == ["id", *(hit["id"] for hit in result["found"])]


@pytest.mark.parametrize("place", ["/api/libraries/no/items/0/media", "/api/libraries/audio/items/999/waveform", "/no"])
def test_what_is_not_there_is_told(client: TestClient, place: str) -> None:
    answer = client.get(place)
    assert answer.status_code == 404
    assert answer.json()["error"]["message"]


def test_a_file_that_is_decoded_for_long_keeps_no_other_waiting(served_workspace: Path, tmp_path: Path) -> None:
    slow, asked, go_on = Path(shutil.copy(picture(served_workspace), tmp_path / "slow.png")), Event(), Event()

    def limit(encoder: Encoder) -> Encoder:
        def run(item: Item) -> Iterator[object]:
            if item.path == slow:
                asked.set()
                assert go_on.wait(120)
            return prepare(pickle.dumps(encoder), item)

        return LimitedEncoder(encoder, run)

    searcher = open_searcher(Workspace(served_workspace), library="audio", limit=limit)
    with ThreadPoolExecutor(1) as other:
        waiting = other.submit(searcher.search, [slow])
        assert asked.wait(120)
        try:
            (quick,) = searcher.search([picture(served_workspace)]).results
            assert not waiting.done()
        finally:
            go_on.set()
        assert [hit.row for hit in waiting.result().results[0].found] == [hit.row for hit in quick.found]
