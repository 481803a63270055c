"""CLIP's vision tower: against numbers of the reference implementation, and on its own promises."""

import json
import runpy
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import PIL.Image
import pytest
import safetensors.torch
import torch
from pseudo_weights import TINY_CLIP, pseudo_random, register_tiny_clip
from torch import Tensor

from emoclim.data.manifest import Item
from emoclim.encoders import clip
from emoclim.encoders.base import ImageEncoder
from emoclim.errors import CheckpointError, EncoderError

OPENAI_NUMBERS = {"input_resolution": 224, "context_length": 77, "vocab_size": 49408}
MEAN, STD = torch.tensor(open_clip.OPENAI_DATASET_MEAN), torch.tensor(open_clip.OPENAI_DATASET_STD)


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return register_tiny_clip(tmp_path_factory.mktemp("configs"))


@pytest.fixture(scope="module")
def tensors(tiny: str) -> dict[str, Tensor]:
    """Parameters of a whole model, both towers, under open_clip's names."""
    whole = open_clip.CLIP(**open_clip.get_model_config(tiny))
    return pseudo_random(whole.state_dict())


@pytest.fixture(scope="module")
def checkpoint(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    safetensors.torch.save_file(tensors, path)
    return path


def load_tiny(checkpoint: Path) -> ImageEncoder:
    return clip.load(checkpoint=checkpoint, model=TINY_CLIP, pretrained="none")


def as_openai(tensors: Mapping[str, Tensor]) -> torch.jit.ScriptModule:
    """The parameters as a scripted module of half precision with OpenAI's three numbers, as in its own archives."""
    root = torch.nn.Module()
    for name, tensor in tensors.items():
        *parts, leaf = name.split(".")
        owner = root
        for part in parts:
            if not hasattr(owner, part):
                owner.add_module(part, torch.nn.Module())
            owner = owner.get_submodule(part)
        owner.register_buffer(leaf, tensor.half())
    for name, number in OPENAI_NUMBERS.items():
        root.register_buffer(name, torch.tensor(number))
    return torch.jit.script(root)


def photo(width: int, height: int) -> PIL.Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return PIL.Image.fromarray(pixels)


def pixels(prepared: Tensor) -> Tensor:
    """The 8-bit pixels ``(3, H, W)`` in the order of a picture, ``(H, W, 3)``."""
    assert prepared.dtype == torch.uint8
    return prepared.permute(1, 2, 0)


def normalised(encoder: ImageEncoder, picture: PIL.Image.Image) -> Tensor:
    """What the network is given of a picture: ``(3, H, W)`` float32."""
    assert encoder.normalise is not None
    return encoder.normalise(encoder.transform(picture))


def test_features_are_those_of_encode_image(checkpoint: Path, tensors: dict[str, Tensor]) -> None:
    whole = open_clip.CLIP(**open_clip.get_model_config(TINY_CLIP)).eval()
    whole.load_state_dict(tensors)
    batch = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = load_tiny(checkpoint).module(batch)
        torch.testing.assert_close(features, whole.encode_image(batch), atol=1e-6, rtol=0)
    assert (features.norm(dim=1) - 1).abs().min() > 0.01


def test_pixels_are_normalised_like_open_clip_does_it(checkpoint: Path) -> None:
    encoder, picture = load_tiny(checkpoint), photo(50, 40)
    expected = open_clip.transform.image_transform(
        (32, 32), is_train=False, mean=open_clip.OPENAI_DATASET_MEAN, std=open_clip.OPENAI_DATASET_STD
    )(picture)
    assert torch.equal(normalised(encoder, picture), expected)
    with torch.inference_mode():
        assert torch.equal(encoder.module(encoder.transform(picture)[None]), encoder.module(expected[None]))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_every_form_of_the_checkpoint_gives_the_same_features(
    checkpoint: Path, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    batch = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    rounded = {name: tensor.half().float() for name, tensor in tensors.items()}
    wrapped = {f"module.{name}": tensor for name, tensor in rounded.items()}
    torch.save({"epoch": 32, "state_dict": wrapped}, tmp_path / "wrapped.pt")
    torch.save(rounded, tmp_path / "plain.bin", _use_new_zipfile_serialization=False)
    torch.jit.save(as_openai(tensors), tmp_path / "openai.pt")
    with torch.inference_mode():
        features = [load_tiny(path).module(batch) for path in sorted(tmp_path.iterdir())]
    assert len(features) == 3
    assert features[0].dtype == torch.float32
    assert all(torch.equal(other, features[0]) for other in features)
    torch.testing.assert_close(features[0], load_tiny(checkpoint).module(batch), atol=0.02, rtol=0)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_openai_parameters_need_quick_gelu(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "renamed.pt"
    torch.jit.save(as_openai({"visual.proj": tensors["visual.proj"]}), path)
    encoder = clip.load(checkpoint=path, model="ViT-B-32", pretrained="none")
    with pytest.raises(CheckpointError, match="QuickGELU.* ViT-B-32-quick"):
        _ = encoder.module
    for name in (clip.published, lambda **named: clip.load(checkpoint=path, **named)):
        with pytest.raises(EncoderError, match="'openai' needs QuickGELU.* ViT-B-32-quick"):
            name(model="ViT-B-32", pretrained="openai")


def test_wherever_quick_gelu_is_asked_for_open_clip_has_such_a_model() -> None:
    for model, tag in open_clip.list_pretrained():
        quick = open_clip.get_pretrained_cfg(model, tag).get("quick_gelu")
        if quick and not open_clip.get_model_config(model).get("quick_gelu"):
            assert f"{model}-quickgelu" in open_clip.list_models()


def test_the_photo_is_cropped_at_the_centre_of_its_short_side(checkpoint: Path) -> None:
    encoder = load_tiny(checkpoint)
    picture = photo(64, 32)
    prepared = encoder.transform(picture)
    assert torch.equal(pixels(prepared), torch.from_numpy(np.array(picture)[:, 16:48]))
    black = normalised(encoder, PIL.Image.new("RGB", (40, 50)))
    torch.testing.assert_close(black, (-MEAN / STD)[:, None, None].expand(3, 32, 32))


def test_random_crops_are_parts_of_the_resized_photo(checkpoint: Path) -> None:
    encoder = load_tiny(checkpoint)
    picture, generator = photo(64, 32), torch.Generator().manual_seed(1)
    whole = torch.from_numpy(np.array(picture))
    starts = set()
    for _ in range(200):
        part = pixels(encoder.augment(picture, generator))
        [start] = [left for left in range(33) if torch.equal(part, whole[:, left : left + 32])]
        starts.add(start)
    assert min(starts) == 0
    assert max(starts) == 32
    assert encoder.augment(photo(32, 33), generator).shape == (3, 32, 32)
    assert torch.equal(encoder.augment(photo(50, 50), generator), encoder.transform(photo(50, 50)))


def test_the_training_sets_the_preprocessing(checkpoint: Path) -> None:
    plain = clip.load(checkpoint=checkpoint, model="ViT-B-16-SigLIP", pretrained="none")
    siglip = clip.load(checkpoint=checkpoint, model="ViT-B-16-SigLIP", pretrained="webli")
    assert siglip.spec.dim == 768
    assert siglip.spec.settings["resize"] == "Pillow bicubic, squash"
    assert set(siglip.spec.differences(plain.spec)) == {
        "resize: Pillow bicubic, squash here, Pillow bicubic, shortest there",
        "mean: 0.5 0.5 0.5 here, 0.48145466 0.4578275 0.40821073 there",
        "std: 0.5 0.5 0.5 here, 0.26862954 0.26130258 0.27577711 there",
    }
    left = PIL.Image.new("RGB", (400, 100))
    left.paste((255, 255, 255), (0, 0, 100, 100))
    assert normalised(siglip, left).max() == 1.0
    assert normalised(plain, left).max() < 0.0
    views = [siglip.augment(left, torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert {view.shape for view in views} == {siglip.input_shape}
    white = torch.tensor([float((view[0] > 127).float().mean()) for view in views])  # a quarter of the whole picture
    assert white.min() < 0.2
    assert white.max() > 0.25


def test_nothing_is_built_before_first_use(checkpoint: Path) -> None:
    encoder = clip.load(checkpoint=checkpoint)
    assert encoder.spec.dim == 512
    assert encoder.spec.settings["image_size"] == "224x224"
    assert encoder.spec.checkpoint.startswith("tiny.safetensors@")
    with pytest.raises(CheckpointError, match="tiny.safetensors does not fit VisionTransformer"):
        _ = encoder.module


def test_the_published_file_is_pinned_by_its_hash() -> None:
    digits = "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af"
    published = clip.published()
    assert published.file == "clip_ViT-B-32-quickgelu_openai.pt"
    assert published.url == f"https://openaipublic.azureedge.net/clip/models/{digits}/ViT-B-32.pt"
    assert published.hash == f"sha256:{digits}"


def test_every_training_of_open_clip_has_an_address() -> None:
    files = set()
    for model, tag in open_clip.list_pretrained():
        quick = open_clip.get_pretrained_cfg(model, tag).get("quick_gelu")
        if not quick or open_clip.get_model_config(model).get("quick_gelu"):
            published = clip.published(model=model, pretrained=tag)
            assert published.url.startswith("https://")
            assert Path(published.file).suffix in {".pt", ".pth", ".bin", ".safetensors"}
            files.add(published.file)
    assert len(files) > 100
    place = clip.published(model="ViT-B-32", pretrained="laion2b_s34b_b79k")
    folder = "https://huggingface.co/laion/CLIP-ViT-B-32-laion2B-s34B-b79K/resolve/main"
    assert place.url == f"{folder}/open_clip_model.safetensors"
    assert place.hash is None
    release = clip.published(model="ViT-B-16", pretrained="laion400m_e32")
    assert release.hash == "sha256:55e67d44"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "ViT-B/32"}, "open_clip has no model 'ViT-B/32'; nearest are: ViT-B-32"),
        ({"pretrained": "imagenet"}, "'ViT-B-32-quickgelu' has no training 'imagenet'; choose one of: openai, .*none"),
    ],
)
def test_unknown_names_are_told(settings: dict[str, Any], message: str, checkpoint: Path) -> None:
    for function in (clip.published, lambda **named: clip.load(checkpoint=checkpoint, **named)):
        with pytest.raises(EncoderError, match=message):
            function(**settings)


def test_an_unpublished_training_needs_a_checkpoint() -> None:
    with pytest.raises(EncoderError, match="pretrained='none' has no published file"):
        clip.published(model=TINY_CLIP, pretrained="none")


@pytest.fixture(scope="module")
def reference(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> ImageEncoder:
    """The default model with the parameters of the reference run, built from a file of them."""
    folder = shared / "golden"
    offset = json.loads((folder / "MANIFEST.json").read_text())["fill_offset"]
    keys = json.loads((folder / "keys.json").read_text())["clip_vit_b32"]
    fill = runpy.run_path(str(folder / "fill.py"))
    arrays, _ = fill["fill"](keys["template"], offset)
    assert fill["checksum"](arrays)["crc32"] == keys["checksum"]["crc32"]
    path = tmp_path_factory.mktemp("golden") / "filled.safetensors"
    safetensors.torch.save_file({name: torch.from_numpy(array) for name, array in arrays.items()}, path)
    encoder = clip.load(checkpoint=path)
    assert not encoder.module.training
    path.unlink()
    return encoder


@pytest.mark.parametrize("name", ["land", "port", "square"])
def test_reference_numbers(shared: Path, reference: ImageEncoder, name: str, tmp_path: Path) -> None:
    folder = shared / "golden"
    asked = json.loads((folder / "MANIFEST.json").read_text())["clip"]["images"][name]
    PIL.Image.fromarray(runpy.run_path(str(folder / "inputs.py"))["image"](asked)).save(tmp_path / "photo.png")
    [prepared] = list(reference.prepare(Item(name, tmp_path / "photo.png")))
    assert prepared.shape == (1, 3, 224, 224)
    with np.load(folder / "clip_vit_b32.npz") as expected, torch.inference_mode():
        assert zlib.crc32(pixels(prepared[0]).contiguous().numpy().tobytes()) == expected[f"pre/{name}/u8_crc32"]
        assert reference.normalise is not None
        given = reference.normalise(prepared)[0]
        corners = given[:, [0, 0, -1, -1], [0, -1, 0, -1]].T
        np.testing.assert_allclose(corners, expected[f"pre/{name}/corners"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(given[:, 111], expected[f"pre/{name}/row111"], rtol=0, atol=1e-6)
        feature = expected["features_f64"][expected["order"].tolist().index(name)]
        np.testing.assert_allclose(reference.module(prepared)[0], feature, rtol=0, atol=1e-5)
