"""Reading valence and arousal, and the similarity of classes that follows from them."""

import csv
import logging
from pathlib import Path

import pytest
import torch

from emoclim.data.labels.taxonomy import IMAGE_EMOTIONS, MUSIC_EMOTIONS
from emoclim.data.labels.valence_arousal import class_vectors, has_valence_arousal, read_valence_arousal
from emoclim.data.tables import table_bytes
from emoclim.errors import ManifestError

PLACES = {"happy": (1.0, 0.75), "sad": (0.25, 0.25), "angry": (0.125, 0.875)}


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "words.txt"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        "word,valence,arousal\nhappy,1,.75\nsad,0.25,.25\nangry,.125,0.875\n",
        "Word\tValence\tArousal\tDominance\nhappy\t1.000\t0.75\t0.7\nsad\t.25\t.25\t.1\nangry\t.125\t.875\t.6\n",
        "\ufeffAROUSAL; Word ;valence\r\n.75;Happy;1\r\n\r\n.25; sad;.25\r\n.875;ANGRY;.125\r\n",
        "term\tvalence\tarousal\nhappy\t1\t.5\nsad\t-.5\t-.5\nangry\t-.75\t.75",
    ],
    ids=["commas", "NRC 1", "semicolons, other order", "NRC 2"],
)
def test_formats(tmp_path: Path, text: str) -> None:
    assert read_valence_arousal(written(tmp_path, text)) == PLACES


def test_mapping_the_range_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    read_valence_arousal(written(tmp_path, "word,valence,arousal\nsad,0,1\n"))
    assert not caplog.records
    assert read_valence_arousal(written(tmp_path, "word,valence,arousal\nsad,-1,1\ncalm,0,0\n"))["calm"] == (0.5, 0.5)
    assert "-1 to 1" in caplog.text


def test_tables_with_tabs_quote_nothing(tmp_path: Path) -> None:
    places = read_valence_arousal(written(tmp_path, 'word\tvalence\tarousal\n"hm\t.5\t.5\nsad\t.2\t.3\n'))
    assert list(places) == ['"hm', "sad"]


def test_quoted_cells_and_a_word_given_twice_alike(tmp_path: Path) -> None:
    text = 'word,valence,arousal\n"well, well",.5,.5\nsad,.2,.3\nSad,.2,.30\n'
    assert read_valence_arousal(written(tmp_path, text)) == {"well, well": (0.5, 0.5), "sad": (0.2, 0.3)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'word'.*none"),
        ("word,valence\nsad,.1\n", "no column 'arousal'.*word, valence"),
        ("word,valence,arousal\n", "no rows"),
        ("word,valence,arousal\nsad,.1,.2\nhappy,8.47,6.05\n", r"row 3 of .*words.txt has valence '8.47'"),
        ("word,valence,arousal\nsad,.1,nan\n", "arousal 'nan'"),
        ("word,valence,arousal\nsad,.1\n", "row 2 of .*arousal ''"),
        ("word,valence,arousal\nsad,low,.3\n", "valence 'low'"),
        ("word,valence,arousal\n,.1,.2\n", "row 2 of .* has no word"),
        ("word,valence,arousal\nsad,.1,.2\nSad,.1,.3\n", "row 3 of .*'sad' another place"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        read_valence_arousal(written(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="nowhere.csv cannot be read"):
        read_valence_arousal(tmp_path / "nowhere.csv")
    with pytest.raises(ManifestError, match="cannot be read"):
        read_valence_arousal(tmp_path)
    (tmp_path / "latin.csv").write_bytes("word,valence,arousal\nfröhlich,.9,.7\n".encode("latin-1"))
    with pytest.raises(ManifestError, match="UTF-8"):
        read_valence_arousal(tmp_path / "latin.csv")


def test_vectors_are_valence_and_arousal_in_the_order_of_the_classes() -> None:
    found = class_vectors(("Happy", "sad"), PLACES)
    assert found.dtype == torch.float64
    assert found.tolist() == [list(PLACES["happy"]), list(PLACES["sad"])]


def test_a_class_without_a_word_is_named() -> None:
    with pytest.raises(ManifestError, match="'tender', 'awe' has no valence"):
        class_vectors(("happy", "tender", "awe"), PLACES)
    with pytest.raises(ManifestError, match="'awe' has no valence and arousal in words.csv"):
        class_vectors(("awe",), PLACES, "words.csv")


@pytest.mark.parametrize(
    ("header", "has"),
    [
        ("word,valence,arousal\n", True),
        ("\ufeffTerm\t Valence \tAROUSAL\r\nglad\t.9\t.6", True),
        ("sep=;\nword;arousal;valence\n", True),
        ("word,valence of it,arousal of it\n", False),
        ("valence and arousal 0.1 0.2\n", False),
        ('" 0.1 0.2\n', False),
        ("", False),
    ],
)
def test_the_header_tells_a_table_of_valence_and_arousal(tmp_path: Path, header: str, has: bool) -> None:
    (tmp_path / "words.txt").write_text(header, encoding="utf-8", newline="")
    assert has_valence_arousal(tmp_path / "words.txt") is has


@pytest.mark.parametrize("other", ["arousal", "arousal of it"])
def test_the_header_of_a_parquet_file_tells_so_too(tmp_path: Path, other: str) -> None:
    (tmp_path / "a.pq").write_bytes(table_bytes(("word", "Valence", other), [("glad", "0.9", "0.6")], ".pq"))
    assert has_valence_arousal(tmp_path / "a.pq") is (other == "arousal")


def test_the_words_of_the_taxonomies(shared: Path) -> None:
    """Each image emotion's nearest music emotion, by plain arithmetic on the file."""
    path = shared / "labels" / "nrc_vad_taxonomy_words.csv"
    with path.open(encoding="utf-8") as file:
        plane = {row["word"]: complex(float(row["valence"]), float(row["arousal"])) for row in csv.DictReader(file)}
    words = (*IMAGE_EMOTIONS, *MUSIC_EMOTIONS)
    vectors = class_vectors(words, read_valence_arousal(path))
    distance = torch.cdist(vectors, vectors)
    for row, word in zip(distance, IMAGE_EMOTIONS, strict=False):
        nearest = min(MUSIC_EMOTIONS, key=lambda other: abs(plane[other] - plane[word]))
        assert MUSIC_EMOTIONS[int(row[len(IMAGE_EMOTIONS) :].argmin())] == nearest
    happy, exciting = words.index("happy"), words.index("exciting")
    assert float(distance[happy, exciting]) == pytest.approx(abs(plane["happy"] - plane["exciting"]))
