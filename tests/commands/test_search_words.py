"""`emoclim search` without a run: what is compared by words of emotions, with which encoders, and in which library."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import answer, mistake, run
from PIL import Image
from wordy_preset import OWN, REASON
from wordy_preset import preset as preset
from wordy_preset import wordy as wordy

from emoclim.errors import ConfigError
from emoclim.pipeline import Searcher, Workspace

pytestmark = pytest.mark.usefixtures("preset")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A workspace with pictures and music, nothing of which was extracted."""
    draw, data = np.random.default_rng(0), tmp_path / "workspace" / "data"
    for label in ("fear", "sadness"):
        (data / "images" / label).mkdir(parents=True)
        for n in range(2):
            pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(data / "images" / label / f"{n}.png")
    for label, count in (("happy", 1), ("sad", 5)):
        (data / "audio" / label).mkdir(parents=True)
        for n in range(count):
            soundfile.write(data / "audio" / label / f"{n}.flac", draw.uniform(-1, 1, 22_050), 22_050)
    return data.parent


def first(folder: Path) -> Path:
    return min(path for path in folder.rglob("*") if path.is_file())


def test_without_a_run_photos_songs_and_words_are_compared_by_words(bare: Path, tmp_path: Path) -> None:
    photo = Path(shutil.copy(first(bare / "data" / "images" / "fear"), tmp_path / "holiday.png"))
    music, other = bare / "data" / "audio" / "sad", first(bare / "data" / "audio" / "happy")
    words = ("search", photo, other, "--text", "a calm sea", "--in", music, *OWN, "--workspace", bare)
    by_photo, by_song, by_text = answer(*words)
    assert [one["encoders"] for one in (by_photo, by_song, by_text)] == [
        {"image": "wordy_colour", "audio": "wordy_timbre"},
        {"audio": "wordy_timbre"},
        {"text": "noise", "audio": "wordy_timbre"},
    ]
    for one in (by_photo, by_song, by_text):
        assert (one["run"], one["head"], one["library"]) == ("words", None, "sad")
        assert one["why"].startswith("No run in this workspace: ")
        assert REASON in one["why"]
        assert len(one["found"]) == 5
        for part in (one, *one["found"]):
            assert part["emotions"].keys() == {"calm", "glad", "afraid"}
            assert sum(part["emotions"].values()) == pytest.approx(1, abs=1e-5)
    shown = run(*words).stdout
    assert shown.startswith(
        "No run in this workspace: compared by words of emotions, with wordy_colour and wordy_timbr"
    )
    assert "(by words)" in shown


def test_a_score_is_how_far_two_profiles_agree(bare: Path) -> None:
    query = first(bare / "data" / "images" / "fear")
    words = ("search", query, "--in", bare / "data" / "audio" / "sad", *OWN, "--workspace", bare, "--top", 99)
    (found,) = answer(*words)
    for hit in found["found"]:
        agreed = sum((found["emotions"][word] * p) ** 0.5 for word, p in hit["emotions"].items())
        assert hit["score"] == pytest.approx(agreed, abs=1e-5)
    profiles = [hit["emotions"]["calm"] for hit in found["found"]]
    sharper = answer(*words, "--setting", "temperature=0.1")[0]["found"]
    assert max(hit["emotions"]["calm"] for hit in sharper) > max(profiles)


def test_why_tells_what_each_word_adds(bare: Path) -> None:
    query = first(bare / "data" / "images" / "fear")
    words = ("search", query, "--in", bare / "data" / "audio" / "sad", *OWN, "--workspace", bare)
    (found,) = answer(*words, "--why")
    assert found["unexplained"] is None
    for hit in found["found"]:
        assert sum(one["contribution"] for one in hit["reasons"]) == pytest.approx(hit["score"], abs=1e-6)
        for one in hit["reasons"]:
            agreed = (found["emotions"][one["name"]] * hit["emotions"][one["name"]]) ** 0.5
            assert one["contribution"] == pytest.approx(agreed, abs=1e-5)
    shown = run(*words, "--why").stdout
    assert "What the scores are made of" in shown
    assert "█" * 20 in shown
    assert [hit["reasons"] for hit in answer(*words)[0]["found"]] == [[]] * 5


def test_without_a_name_the_newest_library_is_searched_or_that_of_the_workspace(bare: Path) -> None:
    query = first(bare / "data" / "images" / "fear")
    words = ("search", query, *OWN, "--workspace", bare)
    (found,) = answer(*words)
    assert (found["library"], found["candidates"]) == ("audio", len(list((bare / "data" / "audio").rglob("*.flac"))))
    assert {one["label"] for one in found["found"]} == {None}
    answer("search", query, "--in", bare / "data" / "audio" / "sad", *OWN, "--workspace", bare)
    assert answer(*words)[0]["library"] == "sad"
    assert answer(*words, "--in", "audio")[0]["library"] == "audio"
    song = first(bare / "data" / "audio" / "sad")
    assert answer("search", song, *OWN, "--workspace", bare)[0]["library"] == "images"
    query = shutil.copy(query, bare / "holiday.png")
    for name in ("cache", "data"):
        shutil.rmtree(bare / name)
    assert "name a folder with --in" in mistake("search", query, *OWN, "--workspace", bare)


def test_a_library_that_is_extracted_already_keeps_its_encoder(bare: Path, tmp_path: Path) -> None:
    library = bare / "data" / "audio" / "sad"
    run("extract", "audio", library, "--encoder", "wordy_timbre", "--unlabelled", "--workspace", bare)
    caches = set((bare / "cache").glob("*.h5"))
    query = first(bare / "data" / "images" / "fear")
    answer("search", query, "--in", library, *OWN, "--workspace", bare)
    assert set((bare / "cache").glob("*.h5")) == caches
    pictures = tmp_path / "pictures"
    shutil.copytree(query.parent, pictures)
    run("extract", "images", pictures, "--encoder", "colour", "--workspace", bare)  # whose values say nothing of words
    (found,) = answer("search", query, "--in", pictures, *OWN, "--workspace", bare)
    assert found["encoders"] == {"image": "wordy_colour"}
    assert found["left_out"] == [query.name]


def test_a_library_of_one_file_is_searched_and_told(bare: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = ("search", "--text", "a calm sea", "--in", bare / "data" / "audio" / "happy", *OWN, "--workspace", bare)
    (found,) = answer(*words)
    assert [one["id"] for one in found["found"]] == ["0.flac"]
    assert "no two items that differ" in caplog.text


def test_settings_are_checked_before_anything_is_encoded(bare: Path) -> None:
    words = ("search", first(bare / "data" / "images" / "fear"), "--workspace", bare)
    assert "no file or list" in mistake(*words, "--setting", "words=calm.txt")
    assert "did you mean 'words'" in mistake(*words, "--setting", "wordz=calm")
    assert not list((bare / "cache").glob("*.h5"))
    with pytest.raises(ConfigError):
        Searcher(Workspace(bare), words={"temperature": 0.0}, device="cpu")


def test_where_no_word_stands_out_none_is_read(bare: Path) -> None:
    query = first(bare / "data" / "images" / "fear")
    told = run("search", query, "--workspace", bare, "--setting", "words=affect", "--setting", "temperature=1000")
    assert f"{query} (by words)" in " ".join(told.stdout.split())
