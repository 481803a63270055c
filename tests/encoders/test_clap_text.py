"""CLAP's text tower gives what `laion_clap` does, with the parameters that lie beside its tower of sound."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers
from laion_clap_source import source_of
from small_texts import ROBERTA, write_byte_pairs
from tokenizers import AddedToken
from torch import Tensor, nn

from emoclim.encoders import clap, clap_text, load_encoder, location
from emoclim.encoders.text_encoder import TextEncoder
from emoclim.errors import CheckpointError

TEXTS = ("The rain, in the sea.", "", "naïve ☂ 日本", "rain <mask> rain <pad> there", "the " * 70)


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small body; and nothing of this machine is found."""
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(clap_text, "BODY", ROBERTA)


def library_tower() -> nn.Module:
    """What `laion_clap` makes its text tower of: a body with its pooler, and a projection."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = transformers.RobertaModel(transformers.RobertaConfig(**ROBERTA))
        projection = nn.Sequential(nn.Linear(24, 512), nn.ReLU(), nn.Linear(512, 512))
    return nn.ModuleDict({"text_branch": body, "text_projection": projection}).eval()


def library_features(tower: nn.Module, folder: Path) -> Tensor:
    """Its own functions, on its own way to tokens: filled up to 77."""
    vocabulary, merges = write_byte_pairs(folder)
    lines = merges.read_text(encoding="utf-8").splitlines()[1:]
    tokenizer = transformers.RobertaTokenizer(
        vocab=json.loads(vocabulary.read_text()),
        merges=[tuple(line.split()) for line in lines],
        mask_token=AddedToken("<mask>", lstrip=True),  # as the published tokenizer says
    )
    given = tokenizer(list(TEXTS), padding="max_length", truncation=True, max_length=77, return_tensors="pt")
    self = SimpleNamespace(text_branch_type="roberta", parameters=tower.parameters, **dict(tower.items()))
    functions = source_of("clap_module/model.py", "CLAP", ("encode_text", "get_text_embedding"))
    self.encode_text = lambda *args, **named: functions["encode_text"](self, *args, **named)
    with torch.inference_mode():
        features: Tensor = functions["get_text_embedding"](self, dict(given))
    return features


def save(tensors: Mapping[str, Tensor], folder: Path) -> Path:
    """A file as they are published: wrapped, with the other tower and constants of an older library."""
    others = {
        "audio_branch.bn0.weight": torch.ones(64),
        "audio_projection.0.weight": torch.ones(2, 2),
        "logit_scale_a": torch.ones(()),
        "text_transform.sequential.0.weight": torch.ones(2, 2),
        "text_branch.embeddings.position_ids": torch.arange(514)[None],
    }
    named = {f"module.{name}": tensor for name, tensor in {**tensors, **others}.items()}
    torch.save({"epoch": 1, "state_dict": named}, path := folder / "630k-best.pt")
    return path


def test_features_are_those_of_laion_clap(tmp_path: Path) -> None:
    tower = library_tower()
    expected = library_features(tower, tmp_path)
    encoder = load_encoder("clap_text", checkpoint=save(tower.state_dict(), tmp_path))
    assert isinstance(encoder, TextEncoder)
    ids = [encoder.tokenize(text) for text in TEXTS]
    rows = torch.tensor([[*row, *[encoder.fill] * (encoder.length - len(row))] for row in ids])
    with torch.inference_mode():
        torch.testing.assert_close(encoder.module(rows), expected, atol=1e-6, rtol=1e-6)
        mask = torch.arange(77) < torch.tensor([len(row) for row in ids])[:, None]
        torch.testing.assert_close(encoder.module.encode(rows, mask), expected, atol=1e-6, rtol=1e-6)


def test_names_and_shapes_are_those_of_the_published_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    names = {name: tuple(tensor.shape) for name, tensor in clap_text.untrained().state_dict().items()}
    assert len(names) == 203
    assert names["text_branch.embeddings.position_embeddings.weight"] == (514, 768)
    assert names["text_branch.pooler.dense.weight"] == (768, 768)
    assert names["text_projection.2.bias"] == (512,)


def test_it_is_had_from_the_files_of_clap(tmp_path: Path) -> None:
    for model in clap.VARIANTS:
        sound, text = clap.published(model=model), clap_text.published(model=model)
        assert (text.url, text.hash, location(text)) == (sound.url, sound.hash, location(sound))
        assert [part.file for part in text.beside] == ["vocab.json", "merges.txt"]
    path = save(library_tower().state_dict(), tmp_path)
    with pytest.raises(CheckpointError, match="put tokenizer.json, or vocab.json and merges.txt, of .*roberta-base"):
        load_encoder("clap_text", checkpoint=path)
