"""Texts are read in whatever code people keep them, are one however they are spelt, and what is none is refused."""

import codecs
import csv
import unicodedata
from pathlib import Path

import pytest

from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Item
from emoclim.data.media.languages import foreign_to
from emoclim.data.media.prose import read_prose
from emoclim.errors import DecodeError, PassingError

TEXT = "Déjà vu:\nnaïve “rêves”"
FOREIGN = (
    "Als ich meine Prüfung nicht bestanden hatte, war ich sehr traurig und wollte mit niemandem sprechen.",
    "Quand on m'a dit que mon ami était mort, je me suis senti très seul et je n'ai pas pu dormir.",
    "Cuando me dijeron que mi abuela había muerto me sentí muy triste y no pude dormir en toda la noche.",
    "Quando mi hanno detto che il mio amico era morto, mi sono sentito solo e non ho potuto dormire.",
    "Toen ik hoorde dat mijn vriend is overleden had ik het gevoel dat alles over was, en hij had me nog gebeld.",
    "Da jeg hørte, at min ven var død, blev jeg meget ked af det, og jeg var over det hele.",
    "Kiedy dowiedziałem się, że mój przyjaciel nie żyje, było mi bardzo smutno i nie mogłem spać.",
)


def written(folder: Path, content: bytes) -> Item:
    path = folder / "a.txt"
    path.write_bytes(content)
    return Item("a", path)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r", "\u2028"])
@pytest.mark.parametrize("code", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-be-bom", "utf-32-be-bom"])
def test_a_text_is_one_however_it_is_kept(tmp_path: Path, code: str, ends: str, form: str) -> None:
    kept = unicodedata.normalize(form, f"\n {TEXT}  \n".replace("\n", ends))  # type: ignore[arg-type]
    mark = {"utf-16-be-bom": codecs.BOM_UTF16_BE, "utf-32-be-bom": codecs.BOM_UTF32_BE}.get(code, b"")
    item = written(tmp_path, mark + kept.encode(code.removesuffix("-bom")))
    assert read_prose(item) == read_prose(Item("b", text=kept)) == (TEXT, ())
    assert ContentKeys()(item) == ContentKeys()(Item("b", text=TEXT)) == ContentKeys()(Item("c", text=kept))


def test_a_text_of_old_windows_is_read_and_told(tmp_path: Path) -> None:
    text, (remark,) = read_prose(written(tmp_path, TEXT.encode("cp1252")))
    assert text == TEXT
    assert "Windows-1252" in remark.about


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b" \n\t", "empty"),
        ("\ufeff\u200b\u00a0".encode(), "empty"),
        (b"bell \a", r"U\+0007"),
        (b"wr\xc2\x92ong", r"U\+0092"),
        (b"\0\1\2\3 binary", r"U\+0000"),
        ("no mark".encode("utf-16-le"), "in UTF-16; save it in UTF-8"),
        ("no mark".encode("utf-32-be"), "in UTF-32; save it in UTF-8"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe\x90", "no text"),
        (b"%PDF-1.7 ...", "PDF"),
        (b"{\\rtf1\\ansi ...", "RTF"),
        (b"PK\3\4 ...", "Word"),
        (b"\xd0\xcf\x11\xe0 ...", "Word"),
        (b"\xef\xbb\xbf <!DOCTYPE html><p>", "web page"),
        ("Мороз и солнце".encode("cp1251"), "another script"),
        ("Déjà vu, naïve rêves été".encode()[:-1], "damaged UTF-8"),
        (codecs.BOM_UTF16_LE + b"a\0b", "utf-16"),
    ],
)
def test_what_is_no_text_is_refused_in_a_sentence(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(DecodeError, match=told):
        read_prose(written(tmp_path, content))


def test_hearts_are_no_markup(tmp_path: Path) -> None:
    assert read_prose(written(tmp_path, b"<3 you"))[0] == "<3 you"


def test_a_file_that_is_gone_may_come_again(tmp_path: Path) -> None:
    with pytest.raises(PassingError, match="missing"):
        read_prose(Item("a", tmp_path / "absent.txt"))


@pytest.mark.parametrize("text", FOREIGN)
def test_other_languages_are_told_by_their_words(text: str) -> None:
    assert foreign_to("English", text)


@pytest.mark.parametrize(
    ("text", "script"), [("Привет", "Cyrillic"), ("今日は雨", "Chinese"), ("χαρά και λύπη, I think", "Greek")]
)
def test_other_scripts_are_told_by_their_letters(text: str, script: str) -> None:
    assert foreign_to("English", text) == f"{script} letters"


@pytest.mark.parametrize("text", ["", "42", "Death of grandmother.", "Pure joy: naïve café déjà vu"])
def test_short_texts_are_not_judged(text: str) -> None:
    assert foreign_to("English", text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "I saw a report on T.V news on apartheid in South Africa.",
        "Close friend leave to go overseas for an indefinite period. Farewell scene at airport.",
    ],
)
def test_notes_of_few_small_words_are_english(text: str) -> None:
    assert foreign_to("English", text) == ""


def test_hardly_an_english_report_is_taken_for_foreign(shared: Path) -> None:
    with (shared / "corpus/text/isear.csv").open(encoding="utf-8", errors="replace") as file:
        texts = [row["SIT"] for row in csv.DictReader(file, delimiter="|")]
    assert sum(bool(foreign_to("English", text)) for text in texts) < 0.0005 * len(texts)
