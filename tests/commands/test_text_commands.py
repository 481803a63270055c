"""Texts from manifest to answer: extracted, checked, trained on, evaluated and searched with."""

import csv
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import answer, mistake, run
from commands import finished as prepared
from example_encoders import dropped_in

from emoclim.cache import open_cache

__all__ = ["prepared"]

WORDS = {
    "happy": "joyful sunshine laughter birthday",
    "sad": "lonely grey funeral weeping",
    "angry": "furious shouting slammed insulted",
    "scary": "dark creaking footsteps monster",
    "funny": "clown joke giggling silly",
    "exciting": "racing rollercoaster fireworks cheering",
}
STORY = "\n\n".join(" ".join(np.resize(WORDS[label].split(), 70)) + "." for label in ("sad", "happy", "angry"))
ASKED = "<b>joyful</b> laughter & sunshine"


def write_texts(folder: Path) -> None:
    """Short texts of each label in a table, one of them with marks that a page must escape, and a story in a file."""
    draw = np.random.default_rng(0)
    rows = [
        (f"{label}{n}", "", " ".join([*draw.permutation(words.split())[:3], f"day{n}"]), label, split)
        for label, words in WORDS.items()
        for n, split in enumerate(["train"] * 6 + ["val"] * 3 + ["test"] * 3)
    ]
    rows += [("asked", "", ASKED, "happy", "test"), ("story", "texts/story.txt", "", "sad", "test")]
    (folder / "texts").mkdir()
    (folder / "texts" / "story.txt").write_text(STORY, encoding="utf-16")
    with (folder / "text.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "path", "text", "label", "split"), *rows])


@pytest.fixture(scope="module")
def root(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    write_texts(prepared / "data")
    with dropped_in(tmp_path_factory.mktemp("encoders")):
        run("extract", "text", "--encoder", "hashed_words", "--workspace", prepared, "--workers", 0)
        words = ("--epochs", 3, "--learning-rate", 0.003, "--workspace", prepared, "--name", "stories")
        run("train-heads", "--text", "hashed_words", "--audio", "timbre", *words)
        yield prepared


def texts(found: dict) -> list[str]:
    return [one["id"] for one in found["found"]]


def test_texts_become_passages_and_what_is_odd_about_them_is_told(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "poems"
    folder.mkdir()
    (folder / "a.txt").write_text(STORY, encoding="utf-8")
    (folder / "b.txt").write_bytes("naïve café".encode("cp1252"))
    (folder / "c.txt").write_bytes(b"%PDF-1.7")
    (folder / "d.txt").write_text(" \n", encoding="utf-8")
    (folder / "e.txt").write_text("?!", encoding="utf-8")
    for workers in (0, 2):
        words = ("extract", "text", folder, "--encoder", "hashed_words", "--workspace", tmp_path / str(workers))
        shown = run(*words, "--workers", workers, code=3).stdout
        assert "2 texts became 4 passages" in shown
        assert "1 of 2 texts are in no Unicode and were read as Windows-1252" in shown
        assert "(b.txt)" in shown
        for told in ("c.txt: this is a PDF file", "d.txt: the text is empty", "e.txt: hashed_words knows no word of"):
            assert told in shown


def test_a_single_text_is_told_to_be_no_list(root: Path, tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text(STORY, encoding="utf-8")
    words = ("--encoder", "hashed_words", "--workspace", tmp_path)
    assert "give the folder it is in" in mistake("extract", "text", tmp_path / "story.txt", *words)


def test_a_text_is_the_mean_of_its_passages(root: Path) -> None:
    out = root / "texts.npz"
    run("cache", "export", "hashed_words", out, "--workspace", root)
    with np.load(out) as table:
        row = list(table["ids"]).index("story")
        first, last = table["offsets"][row : row + 2]
        assert last - first == 3
        assert table["starts"][first:last].tolist() == [0, 1, 2]
        np.testing.assert_allclose(table["values"][row], table["segments"][first:last].mean(0), rtol=1e-6)
        np.savez(out, **{name: table[name] for name in ("ids", "values", "segments", "offsets")})
    words = ("--name", "again", "--modality", "text", "--manifest", root / "data" / "text.csv")
    cache = answer("cache", "import", out, *words, "--workspace", root)["cache"]
    with open_cache(Path(cache)) as opened:
        features = opened.features(["story"])
    assert features.windows is not None
    assert features.windows[2].tolist() == [0, 1, 2]


def test_a_cache_of_texts_is_verified_and_its_shards_are_merged(root: Path, tmp_path: Path) -> None:
    again = answer("cache", "verify", "hashed_words", "--re-encode", 9, "--workspace", root)["encoded_again"]
    assert (again["items"], again["difference"], again["recut"]) == (9, 0.0, 0)
    words = ("extract", "text", root / "data" / "text.csv", "--encoder", "hashed_words", "--workspace", tmp_path)
    for shard in ("1/2", "2/2"):
        run(*words, "--shard", shard, "--workers", 0)
    run("cache", "merge", "hashed_words", "--workspace", tmp_path)
    assert answer(*words, "--workers", 0)["encoded"] == 0


def test_words_find_music_and_no_run_without_texts_takes_them(root: Path) -> None:
    words = ("search", "--text", "a joyful birthday", "--text", "", "--workspace", root)
    found, failed = answer(*words, "--run", "stories", code=3)
    assert found["query"] == "a joyful birthday"
    assert all(one["path"].endswith(".flac") and one["text"] is None for one in found["found"])
    assert found["emotions"].keys() == WORDS.keys() == found["found"][0]["emotions"].keys()
    assert "the text is empty" in failed["error"]["message"]
    assert "“a joyful birthday”: reads as" in run(*words, "--run", "stories", code=3).stdout
    assert "takes no words" in mistake("search", "--text", "joy", "--run", "001-colour-timbre", "--workspace", root)
    assert "nothing to search with" in mistake("search", "--workspace", root)


def test_a_story_says_which_passage_of_it_each_hit_is_near(root: Path) -> None:
    story = root / "data" / "texts" / "story.txt"
    (found,) = answer("search", story, "--run", "stories", "--workspace", root)
    for one in found["found"]:
        assert one["query_text"] in STORY
        assert one["query_place"] == f"no. {one['query_start'] + 1:.0f}"
    assert "passage of the query" in run("search", story, "--run", "stories", "--workspace", root).stdout


def test_music_finds_texts_which_are_shown(root: Path) -> None:
    piece = next((root / "data" / "audio" / "happy").iterdir())
    words = ("search", piece, "--run", "stories", "--workspace", root)
    (found,) = answer(*words, "--top", 99)
    by_id = {one["id"]: one for one in found["found"]}
    assert by_id["asked"]["text"] == ASKED
    assert (by_id["asked"]["start"], by_id["asked"]["place"]) == (None, "")
    assert by_id["story"]["text"] in STORY
    assert len(by_id["story"]["text"]) < len(STORY)
    assert ASKED in run(*words, "--top", 99).stdout


@pytest.mark.parametrize("code", ["utf-8", "utf-16"])
def test_the_text_that_is_asked_for_is_no_hit(root: Path, tmp_path: Path, code: str) -> None:
    (tmp_path / "mine.txt").write_text(unicodedata.normalize("NFD", f"{STORY}\n"), encoding=code)
    words = ("--in", "text", "--top", 99, "--run", "stories", "--workspace", root)
    given, written = answer("search", tmp_path / "mine.txt", "--text", ASKED, *words)
    assert (given["left_out"], written["left_out"]) == (["story"], ["asked"])
    assert "story" not in texts(given)
    assert "asked" not in texts(written)


def test_texts_are_evaluated_with_a_page_to_read_them_on(root: Path) -> None:
    found = answer("evaluate", "stories", "--workspace", root)
    assert found["directions"].keys() == {"audio_text", "text_audio", "audio_audio", "text_text"}
    assert found["directions"]["text_audio"]["metrics"]["P@1"] >= found["directions"]["text_audio"]["random"]["P@1"]
    page = (root / "runs" / "stories" / "evaluation" / "test" / "report.html").read_text()
    assert "audio/mpeg" in page
    assert any(word in page for word in "joyful lonely furious creaking clown racing".split())
    assert "<b>" not in page
