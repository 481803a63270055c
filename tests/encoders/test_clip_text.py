"""CLIP's text tower gives what open_clip's ``encode_text`` does, of any of its own files."""

from collections.abc import Mapping
from pathlib import Path

import open_clip
import pytest
import torch
from pseudo_weights import TINY_CLIP, pseudo_random, register_tiny_clip
from torch import Tensor

from emoclim.encoders import clip, clip_text, load_encoder
from emoclim.encoders.text_encoder import TextEncoder
from emoclim.errors import CheckpointError, EncoderError

TEXTS = ("A photo of a dog.", "Happiness!", "naïve ☂ &amp; 日本", "", "!!!", "the <end_of_text> of it")
SETTINGS = {"model": TINY_CLIP, "pretrained": "none"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> open_clip.CLIP:
    """Both towers of a tiny model, as open_clip makes them."""
    register_tiny_clip(tmp_path_factory.mktemp("configurations"))
    whole = open_clip.CLIP(**open_clip.get_model_config(TINY_CLIP)).eval()
    whole.load_state_dict(pseudo_random(whole.state_dict()))
    return whole


def save(tensors: Mapping[str, Tensor], folder: Path) -> Path:
    torch.save(dict(tensors), path := folder / "clip.pt")
    return path


def rows_of(encoder: object) -> Tensor:
    assert isinstance(encoder, TextEncoder)
    ids = [encoder.tokenize(text) for text in TEXTS]
    return torch.tensor([[*row, *[encoder.fill] * (encoder.length - len(row))] for row in ids])


@pytest.mark.parametrize("prefix", ["", "module.", "text."])
def test_features_are_those_of_open_clip(whole: open_clip.CLIP, prefix: str, tmp_path: Path) -> None:
    tensors = whole.state_dict()
    if prefix == "text.":  # as models that keep their text tower apart are saved
        tensors = {name if name.startswith(("visual.", "logit")) else f"text.{name}": tensors[name] for name in tensors}
    elif prefix:
        tensors = {prefix + name: tensor for name, tensor in tensors.items()}
    encoder = load_encoder("clip_text", checkpoint=save(tensors, tmp_path), **SETTINGS)
    rows = rows_of(encoder)
    assert torch.equal(rows, open_clip.get_tokenizer(TINY_CLIP)(list(TEXTS)))
    with torch.inference_mode():
        torch.testing.assert_close(encoder.module(rows), whole.encode_text(rows), atol=1e-6, rtol=1e-6)


def test_a_text_lies_in_the_space_of_pictures(whole: open_clip.CLIP, tmp_path: Path) -> None:
    path = save(whole.state_dict(), tmp_path)
    text, picture = (load_encoder(name, checkpoint=path, **SETTINGS) for name in ("clip_text", "clip"))
    assert text.spec.dim == picture.spec.dim
    assert text.spec.checkpoint == picture.spec.checkpoint
    assert clip_text.published() == clip.published()


def test_a_file_of_openai_needs_their_activation(whole: open_clip.CLIP, tmp_path: Path) -> None:
    marks = {"input_resolution": torch.tensor(32), "context_length": torch.tensor(16), "vocab_size": torch.tensor(9)}
    path = save(whole.state_dict() | marks, tmp_path)
    assert load_encoder("clip_text", checkpoint=path, **SETTINGS).module
    with pytest.raises(CheckpointError, match="take the model ViT-B-32-quickgelu"):
        clip_text.build_tower("ViT-B-32", path)


@pytest.mark.parametrize("model", ["ViT-B-16-SigLIP", "roberta-ViT-B-32", "coca_ViT-B-32"])
def test_towers_of_other_kinds_are_refused(model: str, tmp_path: Path) -> None:
    with pytest.raises(EncoderError, match=f"no text tower of {model}'s kind; take a model such as ViT-B-32"):
        clip_text.load(checkpoint=save({}, tmp_path), model=model, pretrained="none")
