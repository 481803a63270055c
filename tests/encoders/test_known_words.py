"""Words whose embeddings come with the package: of which texts they are, and that they are what the encoder gives."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from emoclim.data import FEELING, WORD_LISTS, FeatureSpec
from emoclim.encoders import Encoder, embed_texts, find_encoder, known_words, load_encoder, location, word_encoder
from emoclim.encoders.text_encoder import embed_anew
from emoclim.errors import EncoderError


def test_the_table_is_of_the_words_of_encoders_and_of_lists() -> None:
    assert list(known_words.known_texts()) == known_words.vocabulary_texts()
    rows = known_words.known_embeddings(word_encoder("minilm").spec)
    assert rows.keys() == {*known_words.vocabulary_texts(), *known_words.prompt_texts()}
    assert {FEELING.format(word=word) for word in WORD_LISTS["affect"]} < rows.keys()
    assert known_words.TABLE.stat().st_size < 1e6


def test_known_words_need_no_file_of_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, **_: object) -> None:
        raise EncoderError(f"{name} is loaded")

    monkeypatch.setattr("emoclim.encoders.text_towers.load_encoder", load)
    encoder = word_encoder("minilm")
    rows = embed_texts(encoder, ["tench", "a feeling of joy", "tench"])
    assert (rows.shape, encoder.spec.dim) == ((3, 384), 384)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3), atol=1e-3, rtol=0)
    with pytest.raises(EncoderError, match="minilm is loaded"):
        embed_texts(encoder, ["tench", "no such text"])


def test_other_texts_are_embedded_by_the_encoder_itself_which_is_loaded_once() -> None:
    loaded: list[Encoder] = []

    def load() -> Encoder:
        loaded.append(load_encoder("timbre", overlap=0.5))
        return loaded[0]

    encoder = known_words.lazy_encoder(load)
    assert encoder.spec.name == "minilm"
    assert not loaded
    assert (encoder.hop_seconds, encoder.input_shape) == (loaded[0].hop_seconds, loaded[0].input_shape)
    assert len(loaded) == 1


def test_rows_are_of_the_published_file_only() -> None:
    spec = word_encoder("minilm").spec
    assert not known_words.known_embeddings(FeatureSpec("minilm", "text", 384, "model.safetensors@other", {}))
    assert spec.checkpoint.partition("@")[2] == find_encoder("minilm").published().hash.partition(":")[2][:12]


def test_rows_written_anew_are_the_same() -> None:
    if not location(find_encoder("minilm").published()).is_file():
        pytest.skip("the checkpoint of minilm is not on this machine")
    encoder: Any = load_encoder("minilm", length=32)
    texts = ["tench", "Hip-Hop", "a feeling of peacefulness"]
    torch.testing.assert_close(embed_anew(encoder, texts), embed_texts(encoder, texts), atol=1e-3, rtol=0)


def test_a_table_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = word_encoder("minilm").spec
    rows = torch.linspace(-1, 1, 3 * spec.dim).view(3, spec.dim)
    monkeypatch.setattr("emoclim.encoders.loading.load_encoder", lambda *_, **__: SimpleNamespace(spec=spec))
    monkeypatch.setattr("emoclim.encoders.text_encoder.embed_anew", lambda _, texts: rows[: len(texts)])
    known_words.write_table(tmp_path / "own.npz", ["b", "a"], ["a c"])
    for function in (known_words._about, known_words._rows):  # each reads its file once
        monkeypatch.setattr(known_words, function.__name__, function.__wrapped__)
    monkeypatch.setattr(known_words, "TABLE", tmp_path / "own.npz")
    assert known_words.known_texts() == ["b", "a"]
    found = known_words.known_embeddings(spec)
    assert list(found) == ["b", "a", "a c"]
    torch.testing.assert_close(torch.stack(list(found.values())), rows, atol=1e-3, rtol=0)
