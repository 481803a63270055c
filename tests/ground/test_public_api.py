"""What a user of the package meets from Python: strings for paths and devices, and checks that cost nothing."""

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from fakes import TextEncoder, text_manifest
from PIL import Image

import emoclim
from emoclim.cache.memory import MemoryCache
from emoclim.errors import CheckpointError, ConfigError, RunError

# whatever else they take is not looked at before the device
ON_A_DEVICE: dict[str, tuple[Any, ...]] = {
    "evaluate": (None, SimpleNamespace(n_heads=1)),
    "tag": (None, None, None, ()),
    "train_heads": (None, None, None, (), None),
    "train_end_to_end": (None, None, (), None, (), None),
}


def test_paths_may_be_strings(tmp_path: Path) -> None:
    (tmp_path / "awe").mkdir()
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "awe" / "sea.png")
    manifest = emoclim.read_manifest(str(tmp_path), "image")
    encoder = emoclim.load_encoder("colour")
    with emoclim.open_cache(str(tmp_path / "colour.h5"), encoder.spec) as cache:
        item = emoclim.Item("again", str(tmp_path / "awe" / "sea.png"))
        assert emoclim.extract(manifest, encoder, cache, device="cpu").encoded == 1
        assert emoclim.extract(emoclim.Manifest("one", "image", tmp_path, (item,)), encoder, cache).reused == 1
        assert torch.equal(cache.features(["again"]).values, cache.features(["awe/sea.png"]).values)
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*gone.pt"):
        emoclim.load_encoder("clip", checkpoint=str(tmp_path / "gone.pt"))
    with pytest.raises(RunError, match=r"gone.safetensors is no file of heads"):
        emoclim.load_heads(str(tmp_path / "gone.safetensors"))


def test_a_device_that_is_not_there_is_refused_by_every_function() -> None:
    functions = {name: found for name in emoclim.__all__ if inspect.isfunction(found := getattr(emoclim, name))}
    told = {name for name, found in functions.items() if "device" in inspect.signature(found).parameters}
    assert told == {"extract", *ON_A_DEVICE}
    letters = TextEncoder()
    given = ON_A_DEVICE | {"extract": (text_manifest("abc"), letters, MemoryCache(letters.spec))}
    for name, arguments in given.items():
        with pytest.raises(ConfigError, match="there is no device 'gpu' here; use .*cpu"):
            functions[name](*arguments, device="gpu")


def test_an_encoder_is_told_from_anything_else_without_building_its_network() -> None:
    encoder = emoclim.load_encoder("colour")
    assert isinstance(encoder, emoclim.Encoder)
    assert isinstance(TextEncoder(), emoclim.Encoder)
    assert not isinstance(encoder.spec, emoclim.Encoder)
    assert "module" not in vars(encoder)
