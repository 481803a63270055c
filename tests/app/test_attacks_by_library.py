"""Attacks from inside a library: links that lead out of it, files that turn into others, and names that are code."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from attacked import SECRET, SETTINGS, Target, running, status_of
from served import open_music, write_sound
from served import served_workspace as served_workspace

NAMES = ["<img src=x onerror=alert(1)>.wav", "=cmd|' -C calc'!A0.wav", "a\n#EXTINF:1,b.wav", "\u202eb.wav", "a..wav"]
LINKS = ("out.wav", "deep/further/out.wav")


@pytest.fixture(scope="module")
def hostile(served_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of sounds with hostile names, and links to sounds that lie elsewhere."""
    outside, folder = tmp_path_factory.mktemp("outside"), tmp_path_factory.mktemp("hostile")
    (folder / "deep").mkdir()
    for number, place in enumerate([outside / "out.wav", *(folder / name for name in NAMES), folder / "turns.wav"]):
        write_sound(place, number)
    (folder / "out.wav").symlink_to(outside / "out.wav")
    (folder / "deep" / "further").symlink_to(outside)
    (folder / "linked").symlink_to(tmp_path_factory.mktemp("linked"))
    write_sound(folder / "linked" / "in.wav", 99)
    return folder


@pytest.fixture(scope="module")
def target(served_workspace: Path, hostile: Path) -> Iterator[Target]:
    libraries = open_music(served_workspace, SETTINGS, str(hostile))
    with running(libraries, SETTINGS) as started:
        yield started


@pytest.fixture
def rows(target: Target) -> dict[str, int]:
    (library,) = target.libraries
    return {id_: row for row, id_ in enumerate(library.items.ids)}


def place(target: Target, row: int, what: str = "media") -> str:
    (library,) = target.libraries
    return f"/api/libraries/{library.id}/items/{row}/{what}"


@pytest.mark.parametrize("what", ["media", "media?as=wav", "waveform"])
@pytest.mark.parametrize("link", LINKS)
def test_no_link_leads_out(target: Target, rows: dict[str, int], link: str, what: str) -> None:
    if link not in rows:  # a folder that is listed only where it lies
        pytest.skip("this link is no item")
    assert status_of(target.get(place(target, rows[link], what))) == 403


def test_folders_that_are_linked_as_the_library_is_opened_are_of_it(target: Target, rows: dict[str, int]) -> None:
    assert status_of(target.get(place(target, rows["linked/in.wav"]))) == 200


@pytest.mark.parametrize("kind", ["secret", "secret called a sound", "folder", "pipe", "circle", "device", "nothing"])
def test_no_file_turns_into_another(
    target: Target, hostile: Path, rows: dict[str, int], tmp_path: Path, kind: str
) -> None:
    path = hostile / "turns.wav"
    for name in ("secret", "secret.wav"):
        (tmp_path / name).write_text(SECRET)
    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    if kind in ("secret", "secret called a sound"):
        path.symlink_to(tmp_path / ("secret" if kind == "secret" else "secret.wav"))
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "circle":
        path.symlink_to(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    for what in ("media", "media?as=wav", "waveform"):
        answer = target.get(place(target, rows["turns.wav"], what))
        assert status_of(answer) in (403, 404)
        assert SECRET.encode() not in answer
    assert target.client.get("/api/about").status_code == 200


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_are_text_in_answers_and_in_playlists(target: Target, rows: dict[str, int], name: str) -> None:
    (library,) = target.libraries
    told = target.client.get(place(target, rows[name], "").rstrip("/"))
    assert told.headers["content-type"] == "application/json"
    assert told.json()["id"] == name
    asked = {"library": library.id, "items": [{"row": rows[name], "start": 1.5}]}
    listed = target.client.post("/api/playlist", json={**asked, "format": "m3u8"}).text.splitlines()
    assert [line[:4] for line in listed] == ["#EXT", "#EXT", "#EXT", str(library.source)[:4]]
    cell = target.client.post("/api/playlist", json={**asked, "format": "csv"}).text.split("\n", 1)[1].lstrip('"')
    assert not cell.startswith(("=", "+", "-", "@"))


def test_sound_of_a_library_that_breaks_is_told(target: Target, hostile: Path, rows: dict[str, int]) -> None:
    (hostile / NAMES[0]).write_bytes(b"RIFF" + bytes(100))
    answer = target.client.get(place(target, rows[NAMES[0]], "waveform"))
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "DecodeError"
    soundfile.write(hostile / NAMES[0], [0.5] * 8_000, 8_000)
    assert max(target.client.get(place(target, rows[NAMES[0]], "waveform")).json()["peaks"]) == pytest.approx(
        0.5, abs=0.1
    )
