"""Videos by the commands: their pictures and their sound are two modalities of one file."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from commands import answer, run
from film_files import RATE, Frame, busy_frames, write_film

from emoclim.cache import open_cache
from emoclim.modality import Modality
from emoclim.pipeline.searching.queries import modality_of

LABELS = {"joy": (250, 880), "sadness": (40, 220)}  # light of its pictures, and pitch of its sound in Hz
QUICK = ("--epochs", 2, "--batches-per-epoch", 4, "--val-batches", 1)
FILMS = 5  # of each
SECONDS = 6


def frames_of(light: int, number: int) -> list[Frame]:
    shown = [(light + 0.1 * one + 5 * number).clip(0, 255).astype(np.uint8) for one in busy_frames(3)]
    return [shown[place % 3] for place in range(SECONDS * 25)]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with films of two emotions, of which pictures and sound are extracted."""
    pytest.importorskip("av", reason="videos need the extra [media]")
    root = tmp_path_factory.mktemp("workspace")
    for label, (light, pitch) in LABELS.items():
        (root / "films" / label).mkdir(parents=True)
        for number in range(FILMS):
            time = np.arange(SECONDS * RATE) / RATE
            sound = 0.3 * np.sin(2 * np.pi * (pitch + 15 * number) * time)
            frames = frames_of(light, number)
            write_film(root / "films" / label / f"{number}.mp4", frames, sound=sound, options={"preset": "ultrafast"})
    (root / "films" / "notes.txt").write_text("no film")
    return root


def test_pictures_and_sound_of_films_are_two_libraries_that_are_joined(root: Path, tmp_path: Path) -> None:
    where = ("--workspace", root, "--workers", 0)
    seen = answer("extract", "video", root / "films", "--frames", "colour", *where)
    heard = answer("extract", "audio", root / "films", "--encoder", "timbre", "--setting", "overlap=0.8", *where)
    assert (seen["encoded"], heard["encoded"]) == (2 * FILMS, 2 * FILMS)
    with open_cache(Path(seen["cache"])) as pictures, open_cache(Path(heard["cache"])) as sounds:
        assert "colour_video" in pictures.spec.name
        assert set(pictures.keys()) == set(sounds.keys())  # of one content, so that they can be paired
        seconds = pictures.read(sorted(pictures.keys())[:1]).starts
    assert seconds is not None
    assert seconds.tolist() == list(range(SECONDS))
    run("train-heads", "--video", "colour_video", "--audio", "timbre", *QUICK, *where[:2])
    film = write_film(tmp_path / "new.mp4", frames_of(200, 9), sound=np.sin(np.arange(SECONDS * RATE)))
    (found,) = answer("search", film, "--top", 3, *where[:2])  # a video before it is sound, and so it finds sound
    assert [one["path"].endswith(".mp4") for one in found["found"]] == [True] * 3
    assert {one["start"] for one in found["found"]} <= {0.0, 1.0}
    assert all(one["query_start"] in range(SECONDS) for one in found["found"])
    soundfile.write(tmp_path / "new.flac", np.sin(np.arange(SECONDS * RATE)), RATE)
    (found,) = answer("search", tmp_path / "new.flac", "--top", 3, *where[:2])
    assert all(one["start"] in range(SECONDS) for one in found["found"])


@pytest.mark.parametrize(
    ("name", "among", "kind"),
    [
        ("a.mp4", ("audio", "video"), "video"),
        ("a.mp4", ("image", "audio"), "audio"),
        ("a.MKV", ("audio", "image", "video"), "video"),
        ("a.wav", ("audio", "video"), "audio"),
    ],
)
def test_a_film_is_searched_with_by_its_pictures_or_else_by_its_sound(
    name: str, among: tuple[Modality, ...], kind: Modality
) -> None:
    assert modality_of(Path(name), among) == kind


def test_two_encoders_and_one_that_takes_no_pictures_are_refused(root: Path) -> None:
    both = ("--frames", "colour", "--encoder", "clip_video")
    assert "leave out one of the two" in run("extract", "video", root / "films", *both, code=2).stderr
    assert "timbre_video" in run("extract", "video", root / "films", "--frames", "timbre", code=2).stderr
