"""Word vectors: every form of their files is read alike or refused by line, and texts are the means of their words."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from encoder_contract import prepare

from emoclim.cache import MemoryCache
from emoclim.data.manifest import Item, Manifest
from emoclim.encoders import Encoder, load_encoder, read_word_vectors
from emoclim.errors import CheckpointError, DecodeError, EncoderError
from emoclim.stages.extracting import extract

WORDS = ["joy", "fear", "Paris", "mother", "in", "law", "do", "n't", "2008", "été", ". ."]
VECTORS = (np.arange(33, dtype=np.float32).reshape(11, 3) - 16) / 7


def rows(vectors: np.ndarray = VECTORS, ends: str = "\n") -> bytes:
    return "".join(f"{word} {' '.join(map(str, row))}{ends}" for word, row in zip(WORDS, vectors, strict=True)).encode()


def binary(end: bytes = b"\n") -> bytes:
    body = b"".join(word.encode() + b" " + row.tobytes() + end for word, row in zip(WORDS, VECTORS, strict=True))
    return b"11 3\n" + body


def without_spaces(content: bytes) -> bytes:
    return content.replace(b". .", b"...")


FORMS = {
    "glove": rows(),
    "word2vec": b"11 3\n" + rows(),
    "with a byte order mark": b"\xef\xbb\xbf" + rows(),
    "windows": b"11 3\r\n" + rows(ends=" \r\n"),
    "tabs": b"11\t3\n" + without_spaces(rows()).replace(b" ", b"\t"),
    "binary": without_spaces(binary()),
    "binary without line ends": without_spaces(binary(b"")),
}


def written(folder: Path, content: bytes) -> Path:
    path = folder / "words.bin"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_words_and_vectors(tmp_path: Path, form: str, pack: Callable[[bytes], bytes]) -> None:
    words, vectors = read_word_vectors(written(tmp_path, pack(FORMS[form])))
    assert words == [*WORDS[:-1], words[-1]]
    assert words[-1] in (". .", "...")
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, VECTORS)


def test_numbers_are_rounded_to_single_precision_once(tmp_path: Path) -> None:
    _, vectors = read_word_vectors(written(tmp_path, b"a 0.1 -1e-3 16777217\n"))
    assert vectors.tolist() == [[np.float32(0.1), np.float32(-1e-3), np.float32(16777217)]]


def test_words_across_the_reader_s_blocks_are_whole(tmp_path: Path) -> None:
    words = [f"w{number}" * 3 for number in range(5000)]
    drawn = np.random.default_rng(0).standard_normal((5000, 9)).astype(np.float32)
    body = b"".join(word.encode() + b" " + row.tobytes() + b"\n" for word, row in zip(words, drawn, strict=True))
    for pack in (bytes, gzip.compress):
        found, vectors = read_word_vectors(written(tmp_path, pack(b"5000 9\n" + body)))
        assert found == words
        np.testing.assert_array_equal(vectors, drawn)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no vectors"),
        (b"\n", "no vectors"),
        (b"0 3\n", "no vectors"),
        (b"joy 1 2\nfear 1\n", "line 2 of .* 'fear' 1 numbers, not 2"),
        (b"joy 1 2\nfear 1 2 3\n", "line 2 of .* 'fear' 3 numbers, not 2"),
        (b"2 2\njoy 1 2\nfear 1 x\n", "line 3 of .* 'fear' what is no number"),
        (b"joy 1 2\nfear nan 1\n", "line 2 of .* 'fear' numbers that are not finite"),
        (b"joy 1 2\nfear 1e39 1\n", "line 2 of .* 'fear' numbers that are not finite"),
        (b"joy 1 2\nfear 1 2\njoy 1 2\n", "line 3 of .* 'joy' again, as line 1"),
        (b"joy 1 2\n\nfear 1 2\n", "line 2 of .* no word"),
        (b"joy 1 2\nf\xe9ar 1 2\n", "line 2 of .* UTF-8"),
        (b"3 2\njoy 1 2\nfear 1 2\n", "says that it holds 3 words, and holds 2"),
        (b"1 2\njoy 1 2\nfear 1 2\n", "says that it holds 1 words, and holds 2"),
        (b"2 2\njoy \0\0\0\0\0\0\0\0fear \0\0", "ends within word 2"),
        (b"1 2\njoy \0\0\0\0\0\0\0\0\nfear \0\0\0\0\0\0\0\0", "goes on after the 1 words"),
        (b"2 1\njoy \0\0\0\0joy \0\0\0\0", "word 2 of .* 'joy' again, as word 1"),
        (b"2 1\njoy \0\0\0\0fear " + struct.pack("<f", float("inf")), "word 2 of .* not finite"),
        (b"2 1\njoy \0\0\0\0x\xff \0\0\0\0", "word 2 of .* UTF-8"),
        (b"3 1\njoy \0\0\0\0fear 0.125\nhate 0.25\n", "word 3 of .* text in a binary file"),
        (b"99999999999 300\njoy 1 2\n", "damaged or meant to fill the memory"),
        (gzip.compress(b"joy 1 2\n", mtime=0)[:-9], "ends early"),
    ],
)
def test_what_is_no_table_of_words_is_refused_by_its_place(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(CheckpointError, match=told):
        read_word_vectors(written(tmp_path, content))


def test_a_small_file_takes_no_large_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOCLIM_MEMORY_LIMIT", "0.00001")
    lines = b"".join(b"w%d %s\n" % (number, b" ".join([b"0"] * 50)) for number in range(5000))
    with pytest.raises(CheckpointError, match="fill the memory"):
        read_word_vectors(written(tmp_path, gzip.compress(lines, mtime=0)))


def features(encoder: Encoder, text: str) -> torch.Tensor:
    with MemoryCache(encoder.spec) as cache:
        result = extract(Manifest("a", "text", Path(), (Item("a", text=text),)), encoder, cache)
        assert not result.failures
        return cache.read(sorted(cache.keys())).values[0]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path, FORMS["glove"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("joy", [0]),
        ("Joy, JOY and fear!", [0, 0, 1]),
        ("Paris", [2]),
        ("paris joy", [0]),
        ("mother-in-law", [3, 4, 5]),
        ("Don’t", [6, 7]),
        ("2008 E\u0301te\u0301", [8, 9]),
    ],
)
@pytest.mark.parametrize("combine", ["mean", "sum"])
def test_a_text_is_the_mean_or_sum_of_the_words_that_are_known(
    file: Path, text: str, found: list[int], combine: str
) -> None:
    encoder = load_encoder("word_vectors", checkpoint=file, combine=combine)
    assert encoder.spec.dim == 3
    expected = getattr(VECTORS[found].astype(np.float64), combine)(axis=0)
    torch.testing.assert_close(features(encoder, text).double(), torch.from_numpy(expected), rtol=1e-6, atol=1e-7)


def test_unknown_words_are_told_and_a_text_of_none_else_fails(file: Path) -> None:
    encoder = load_encoder("word_vectors", checkpoint=file)
    items = tuple(Item(str(n), text=text) for n, text in enumerate(["joy", "joy zebra zebra quux", "zebra"]))
    with MemoryCache(encoder.spec) as cache:
        result = extract(Manifest("a", "text", Path(), items), encoder, cache)
    (told,) = result.remarks_on("texts")
    assert told == "1 of 2 texts have words that word_vectors does not know (1: 'zebra', 'quux')"
    assert [failure.id for failure in result.failures] == ["2"]


def test_a_setting_that_is_none_and_an_empty_file_are_told(file: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match="combine of mean or sum, not 'max'"):
        load_encoder("word_vectors", checkpoint=file, combine="max")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(DecodeError, match="is empty"):
        prepare(load_encoder("word_vectors", checkpoint=tmp_path / "empty.txt"), Item("a", text="joy"))
