"""`emoclim search --mix`: shares of emotion and content, of a run and by words; what lacks; shares that are none."""

import shutil
from pathlib import Path
from statistics import fmean, pstdev

import pytest
import soundfile
import wordy_noise
from commands import answer, mistake, run
from commands import finished as finished
from commands import workspace as workspace
from wordy_preset import OWN, REASON
from wordy_preset import preset as preset
from wordy_preset import wordy as wordy

from emoclim.errors import ConfigError
from emoclim.modality import BOX
from emoclim.pipeline import Workspace, open_searcher
from emoclim.pipeline.encoders import EncoderPreset

pytestmark = pytest.mark.usefixtures("preset")
MIX = ("--mix", "emotion=.7,content=.3", "--top", 99)


@pytest.fixture(autouse=True)
def without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Content in the space of the tests' encoder, where no setting names it."""
    monkeypatch.setattr("emoclim.learning.objectives.content.word_encoder", lambda _: wordy_noise.load())


def standardised(hits: list[dict]) -> dict[str, float]:
    scores = [hit["score"] for hit in hits]
    return {hit["id"]: (hit["score"] - fmean(scores)) / pstdev(scores) for hit in hits}


def caches(workspace: Path) -> set[str]:
    return {path.name.rsplit("-", 1)[0] for path in (workspace / "cache").glob("*.h5")}


@pytest.mark.parametrize("way", ["run", "words"])
def test_both_parts_and_their_mean_are_told(workspace: Path, way: str) -> None:
    photo = next((workspace / "data" / "images").rglob("*.png"))
    library = ("--words", "--in", workspace / "data" / "audio", *OWN) if way == "words" else ()
    words = ("search", photo, *library, "--workspace", workspace)
    (alone,) = answer(*words, "--top", 99)
    (mixed,) = answer(*words, *MIX)
    expected = standardised(alone["found"])
    assert {hit["id"] for hit in mixed["found"]} == expected.keys()
    for hit in mixed["found"]:
        assert hit["parts"]["emotion"] == pytest.approx(expected[hit["id"]], abs=1e-4)
        assert hit["score"] == pytest.approx(0.7 * hit["parts"]["emotion"] + 0.3 * hit["parts"]["content"], abs=1e-5)
        lower = sum(other["score"] < hit["score"] for other in mixed["found"])
        assert hit["percentile"] == pytest.approx(100 * lower / mixed["candidates"])
    if way == "run":
        assert "has no names" in answer(*words, "--why")[0]["unexplained"]
    (reasoned,) = answer(*words, *MIX, "--why")
    for hit in reasoned["found"]:
        assert sum(one["contribution"] for one in hit["reasons"]) == pytest.approx(hit["score"], abs=1e-4)
        told = {"emotion as a whole"} if way == "run" else {"calm", "glad", "afraid"}
        assert {one["name"] for one in hit["reasons"]} == {"content as a whole", *told}
    content = [hit["parts"]["content"] for hit in mixed["found"]]
    assert (fmean(content), pstdev(content)) == pytest.approx((0, 1), abs=1e-4)
    places = {hit["id"]: (hit["start"], hit["emotions"]) for hit in alone["found"]}
    assert {hit["id"]: (hit["start"], hit["emotions"]) for hit in mixed["found"]} == places
    assert mixed["mix"].startswith("Scores are 0.7 emotion + 0.3 content")
    assert alone["mix"] is None
    assert caches(workspace) == {"image-colour", "audio-timbre", "audio-wordy_timbre"}  # the last serves both by words
    shown = run(*words, "--mix", "emotion=1,content=1", "--top", 2).stdout
    assert "0.5 emotion + 0.5 content" in " ".join(shown.split())
    assert {"emotion", "content"} <= set(shown.replace("│", " ").split())


def test_copies_are_not_ranked(workspace: Path, tmp_path: Path) -> None:
    own = next((workspace / "data" / "images").rglob("*.png"))
    twin = shutil.copy(own, tmp_path / "twin.png")
    words = ("search", twin, "--in", "images", *MIX, "--workspace", workspace)
    (found,) = answer(*words)
    assert len(found["left_out"]) == 1
    assert own.name not in {Path(hit["path"]).name for hit in found["found"] if own.parent.name in hit["path"]}
    assert found["candidates"] == len(found["found"])
    content = [hit["parts"]["content"] for hit in found["found"]]
    assert fmean(content) == pytest.approx(0, abs=1e-4)


def test_what_has_features_for_one_part_only_is_told(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    photo, table = next((workspace / "data" / "images").rglob("*.png")), workspace / "data" / "audio.csv"
    first = next(path for path in (workspace / "data" / "audio").rglob("*.*") if path.is_file())
    sound, rate = soundfile.read(first)
    soundfile.write(new := first.with_stem("new"), sound / 2, rate)
    row = next(line for line in table.read_text().splitlines() if first.name in line and first.parent.name in line)
    table.write_text(f"{table.read_text()}{row.replace(first.name, new.name)}\n")
    (found,) = answer("search", photo, *MIX, "--workspace", workspace)
    assert "without features for emotion, 1 are not ranked" in caplog.text
    assert new.name in caplog.text
    assert len(found["found"]) == found["candidates"]


@pytest.mark.parametrize(
    ("mix", "told"),
    [
        ("emotion=1", "names emotion only"),
        ("emotion=.7,mood=.3", "names mood, which"),
        ("emotion=0,content=0", "sum to 0"),
        ("emotion=-1,content=2", "share -1 of emotion"),
        ("emotion=nan,content=2", "share nan"),
        ("emotion=0,7,content=3", "'7' is not NAME=VALUE"),
        ("emotion=a,content=3", "no number"),
        ("emotion=1,emotion=2", "twice"),
        ("", "NAME=VALUE"),
    ],
)
def test_shares_that_are_none_are_told(finished: Path, mix: str, told: str) -> None:
    assert told in mistake("search", "--text", "calm", "--mix", mix, "--workspace", finished)


def test_a_modality_without_an_encoder_of_words_is_told(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = EncoderPreset(BOX, {"image": "wordy_colour"}, REASON)
    monkeypatch.setattr("emoclim.pipeline.searching.by_words.choose_preset", lambda: chosen)
    searcher = open_searcher(Workspace(workspace), device="cpu")
    with pytest.raises(ConfigError, match="audio"):
        searcher.search([next((workspace / "data" / "images").rglob("*.png"))], mix={"emotion": 1, "content": 1})
