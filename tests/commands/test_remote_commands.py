"""Commands on manifests of addresses: only extract fetches, and no secret of an address stands in what they leave."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import answer, run
from file_server import FileServer
from file_server import server as server
from film_files import busy_frames, write_film
from tiny_workspace import CLASSES, SPLITS, write_pictures

SIGNED = "X-Amz-Credential=secret&X-Amz-Signature=secret"
BRIEF = "epochs = 1\nbatches_per_epoch = 2\nval_batches = 1\nhidden_dim = 16\nembedding_dim = 16\n"


def write_sounds(root: Path) -> None:
    (root / "data" / "audio").mkdir()
    rows, draw = ["path,label,split"], np.random.default_rng(0)
    for number in range(len(CLASSES) * len(SPLITS)):
        soundfile.write(root / "data" / "audio" / f"{number}.flac", draw.uniform(-0.5, 0.5, 8000), 8000)
        rows.append(f"audio/{number}.flac,{CLASSES[number % 3]},{SPLITS[number // 3]}")
    (root / "data" / "audio.csv").write_text("\n".join(rows) + "\n")


def far(root: Path, server: FileServer, modality: str) -> Path:
    """Write a manifest of the same files as they lie on a server, without ids."""
    with (root / "data" / f"{modality}.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        path = root / "data" / row["path"]
        server.files[path.name] = path.read_bytes()
        row["path"] = f"{server.address.replace('//', '//me:secret@')}/whole/{path.name}?{SIGNED}"
    with (manifest := root / "data" / f"far_{modality}.csv").open("w", newline="") as file:
        (writer := csv.DictWriter(file, rows[0])).writeheader()
        writer.writerows(rows)
    return manifest


def require_no_secret(root: Path) -> None:
    for path in root.rglob("*"):
        if path.is_file() and not path.name.startswith("far_"):
            assert b"secret" not in path.read_bytes(), path


def test_extract_fetches_and_other_commands_need_no_server(server: FileServer, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    where = ("--workspace", tmp_path)
    write_pictures(tmp_path, "images", 0)
    write_sounds(tmp_path)
    for noun, encoder in (("images", "colour"), ("audio", "timbre")):
        manifest = far(tmp_path, server, noun)
        done = answer("extract", noun, manifest, "--encoder", encoder, *where, "--workers", 0)
        assert (done["encoded"], done["failures"]) == (21, [])
        here = answer("extract", noun, manifest.with_name(f"{noun}.csv"), "--encoder", encoder, *where, "--workers", 0)
        assert (here["encoded"], here["reused"]) == (0, 21)  # their bytes are those of the files here
    assert server.asked.total() == len(server.files)
    (tmp_path / "brief.toml").write_text(BRIEF)
    said = run(
        "train-heads", "--images", "far_images", "--audio", "far_audio", "--config", tmp_path / "brief.toml", *where
    )
    said = said.output + run("evaluate", "--no-plots", *where).output
    query, library = tmp_path / "data" / "images" / "0.png", tmp_path / "data" / "far_audio.csv"
    (found,) = answer("search", query, "--in", library, "--top", 3, *where)
    assert {one["path"].rpartition("/")[0] for one in found["found"]} == {f"{server.address}/whole"}
    assert found["found"][0]["id"] == found["found"][0]["path"]
    said += str(found)
    assert server.asked.total() == len(server.files)
    assert "secret" not in said
    require_no_secret(tmp_path)


def test_films_are_fetched_and_what_fails_is_told_without_secrets(server: FileServer, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    server.files["film.mp4"] = write_film(tmp_path / "film.mp4", busy_frames(50)).read_bytes()
    (tmp_path / "data").mkdir()
    host = server.address.replace("//", "//me:secret@")
    rows = [f"{host}/{manner}/film.mp4?key=secret" for manner in ("ranges", "gone", "refused")]
    (tmp_path / "data" / "far_video.csv").write_text("\n".join(["path", *rows]) + "\n")
    words = ("extract", "video", tmp_path / "data" / "far_video.csv", "--frames", "colour", "--workspace", tmp_path)
    done = answer(*words, "--workers", 0, code=3)
    assert done["encoded"] == 1
    assert [one["path"] for one in done["failures"]] == [
        f"{server.address}/{name}/film.mp4" for name in ("gone", "refused")
    ]
    assert "secret" not in str(done)
    assert "secret" not in run(*words, "--workers", 0, code=3).output
    require_no_secret(tmp_path)
