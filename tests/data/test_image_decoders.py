"""Other ways to decode a picture: what they share with Pillow's, how far their pixels may be from it, and their key."""

import csv
import io
import random
from collections import Counter
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from commands import answer, run
from commands import finished as finished
from commands import workspace as workspace
from encoder_cases import make_subject, write_recordings
from numpy.typing import NDArray
from pseudo_weights import register_tiny_clip

from emoclim.cache import open_cache
from emoclim.data.features import Features
from emoclim.data.manifest import Item
from emoclim.data.media.images.decoders import DECODERS
from emoclim.data.media.images.image import Image, read_image
from emoclim.encoders.base import ImageEncoder
from emoclim.encoders.clip import Preprocessing
from emoclim.encoders.loading import load_encoder
from emoclim.errors import DecodeError, EncoderError, MissingLibrary
from emoclim.pipeline.searching.queries import QueryReader

OTHERS = ["draft", "torchvision"]
WIDTH, HEIGHT = 400, 304


def scene(width: int = WIDTH, height: int = HEIGHT, seed: int = 0) -> Image:
    """Spots, fine ones fainter, with a red block at the top left; no symmetry."""
    draw = np.random.default_rng(seed)
    total = np.full((height, width, 3), 128.0)
    for spots, deviation in ((4, 60), (20, 40), (80, 20)):
        noise = PIL.Image.fromarray(draw.integers(0, 256, (spots, spots, 3), np.uint8))
        total += deviation / 73 * (np.asarray(noise.resize((width, height), PIL.Image.Resampling.BICUBIC)) - 128.0)
    total[: height // 4, : width // 4] = (255, 0, 0)
    return PIL.Image.fromarray(total.clip(0, 255).astype(np.uint8))


def encode(picture: Image, kind: str = "JPEG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def read(folder: Path, content: bytes, decoder: str, least_side: int | None = None) -> NDArray[np.int64]:
    path = folder / "picture"
    path.write_bytes(content)
    picture = read_image(Item("x", path), decoder=decoder, least_side=least_side)
    assert picture.mode == "RGB"
    return np.asarray(picture).astype(np.int64)


def outcome(folder: Path, content: bytes, decoder: str) -> str:
    """``ok``, or why the file is refused."""
    try:
        read(folder, content, decoder)
    except DecodeError as error:
        return str(error)
    return "ok"


# Pixels


SCALES = {None: 1, 305: 1, 304: 1, 153: 1, 152: 2, 77: 2, 76: 4, 39: 4, 38: 8, 1: 8}  # of 400 x 304, by the least side


@pytest.mark.parametrize(("least_side", "scale"), SCALES.items())
@pytest.mark.parametrize("turned", [False, True])
def test_a_draft_keeps_the_least_side_whichever_way_a_photo_lies(
    tmp_path: Path, least_side: int | None, scale: int, turned: bool
) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = 6 if turned else 1
    size = (HEIGHT // scale, WIDTH // scale)
    found = read(tmp_path, encode(scene(), exif=exif), "draft", least_side)
    assert found.shape == ((size[1], size[0], 3) if turned else (*size, 3))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_a_draft_is_the_mean_of_the_pixels_it_stands_for(tmp_path: Path, scale: int) -> None:
    content = encode(scene(), quality=95)
    whole, draft = read(tmp_path, content, "pillow"), read(tmp_path, content, "draft", HEIGHT // scale)
    means = whole.reshape(HEIGHT // scale, scale, WIDTH // scale, scale, 3).mean((1, 3))
    assert 0 < np.abs(draft - means).mean() < 2.5  # grey levels
    assert np.abs(np.roll(draft, 1, 1) - means).mean() > 5  # a pixel beside the place would be seen


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_torchvision_decodes_a_jpeg_as_pillow_does(
    tmp_path: Path, subsampling: str, progressive: bool, mode: str
) -> None:
    picture = scene(WIDTH - 3, HEIGHT - 5).convert(mode)
    content = encode(picture, quality=90, subsampling=subsampling, progressive=progressive)
    found = np.abs(read(tmp_path, content, "torchvision") - read(tmp_path, content, "pillow"))
    assert found.max() <= 3  # grey levels; the two have libraries of their own, of other versions
    assert found.mean() < 0.2


def test_torchvision_decodes_what_is_lossy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sevens = torch.full((3, 5, 9), 7, dtype=torch.uint8)
    monkeypatch.setattr("torchvision.io.decode_image", lambda content, mode: sevens)
    for kind, by_torchvision in {"JPEG": True, "MPO": True, "WEBP": True, "PNG": False, "BMP": False}.items():
        assert (read(tmp_path, encode(scene(9, 5), kind), "torchvision") == 7).all() == by_torchvision
        assert not (read(tmp_path, encode(scene(9, 5), kind), "draft") == 7).all()


@pytest.mark.parametrize("decoder", OTHERS)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 10))
def test_orientation_is_applied_once_by_all(tmp_path: Path, decoder: str, kind: str, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    content = encode(scene(), kind, exif=exif)
    expected, found = read(tmp_path, content, "pillow"), read(tmp_path, content, decoder, HEIGHT)
    assert expected.shape == ((WIDTH, HEIGHT, 3) if 5 <= orientation <= 8 else (HEIGHT, WIDTH, 3))
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 3


def plain_palette() -> Image:
    return scene().quantize(64)


def wide_grey() -> Image:
    return PIL.Image.fromarray((np.asarray(scene().convert("L")).astype(np.uint16) * 257 + 3).astype(np.uint16))


def see_through() -> Image:
    picture = scene()
    picture.putalpha(scene().convert("L").transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT))
    return picture


ODD = {
    "CMYK": encode(scene().convert("CMYK"), "JPEG"),
    "palette": encode(plain_palette(), "PNG"),
    "palette with transparency": encode(plain_palette(), "PNG", transparency=3),
    "16 bits": encode(wide_grey(), "PNG"),
    "transparent": encode(see_through(), "PNG"),
    "transparent WEBP": encode(see_through(), "WEBP"),
    "grey with alpha": encode(see_through().convert("LA"), "PNG"),
    "frames": encode(scene(), "WEBP", save_all=True, append_images=[PIL.Image.new("RGB", scene().size)]),
    "GIF": encode(plain_palette(), "GIF"),
    "plain PNG": encode(scene(), "PNG"),
    "JPEG in TIFF": encode(scene(), "TIFF", compression="jpeg"),
}


@pytest.mark.parametrize("decoder", OTHERS)
@pytest.mark.parametrize("kind", ODD)
def test_what_is_no_plain_photo_is_decoded_as_ever(tmp_path: Path, decoder: str, kind: str) -> None:
    least_side = HEIGHT if kind == "CMYK" else 16  # a draft of it is a draft of a JPEG like any other
    assert np.array_equal(read(tmp_path, ODD[kind], decoder, least_side), read(tmp_path, ODD[kind], "pillow"))


# What is refused


def test_all_decoders_refuse_the_same_files(shared: Path) -> None:
    with (shared / "broken" / "broken.csv").open(encoding="utf-8", newline="") as stream:
        names = [row["path"] for row in csv.DictReader(stream) if row["modality"] == "image"]
    told: dict[str, list[str]] = {}
    for name in names:
        for decoder in DECODERS:
            try:
                read_image(Item(name, shared / "broken" / name), decoder=decoder, least_side=8)
                told.setdefault(name, []).append("ok")
            except DecodeError as error:
                told.setdefault(name, []).append(str(error))
    assert len(told) >= 28
    assert 5 < sum(reasons[0] != "ok" for reasons in told.values()) < len(told)
    assert {name: reasons for name, reasons in told.items() if len(set(reasons)) > 1} == {}


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("part", [0.3, 0.97])
def test_a_picture_that_is_cut_short_is_refused_by_all(tmp_path: Path, decoder: str, kind: str, part: float) -> None:
    content = encode(scene(), kind)
    told = outcome(tmp_path, content[: int(part * len(content))], decoder)
    assert "damaged or cut short" in told or "header is damaged" in told


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_wherever_a_jpeg_is_cut_or_spoilt_torchvision_agrees_with_pillow(
    tmp_path: Path, options: dict[str, object]
) -> None:
    draw, whole, verdicts = random.Random(0), encode(scene(60, 44), **options), Counter[bool]()
    for number in range(120):
        content = bytearray(whole)
        if number % 2:
            content[draw.randrange(len(content))] = draw.randrange(256)
        if number % 3:
            del content[draw.randrange(1, len(content)) :]
        expected = outcome(tmp_path, content, "pillow")
        assert outcome(tmp_path, content, "torchvision") == expected
        verdicts[expected == "ok"] += 1
    assert min(verdicts[True], verdicts[False]) > 10


def test_a_torchvision_without_decoders_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "image", object(), raising=False)
    with pytest.raises(MissingLibrary, match="without decoders of pictures"):
        read(tmp_path, encode(scene()), "torchvision")


# The setting


def test_the_decoder_is_part_of_the_key_where_it_is_another_than_pillow() -> None:
    usual = load_encoder("colour")
    assert "decoder" not in usual.spec.settings
    assert load_encoder("colour", decoder="pillow").spec == usual.spec
    made = [load_encoder("colour", decoder=decoder) for decoder in OTHERS]
    assert [encoder.spec.settings["decoder"] for encoder in made] == OTHERS
    assert len({encoder.spec.digest() for encoder in (usual, *made)}) == 3


def test_decoders_out_of_place_are_refused() -> None:
    with pytest.raises(EncoderError, match="pillow, draft, torchvision, not nvjpeg"):
        load_encoder("colour", decoder="nvjpeg")
    with pytest.raises(EncoderError, match="timbre takes no decoder: they are of images"):
        load_encoder("timbre", decoder="draft")


def test_a_draft_needs_an_encoder_that_scales_pictures_down(monkeypatch: pytest.MonkeyPatch) -> None:
    colour = load_encoder("colour")
    assert isinstance(colour, ImageEncoder)
    exact = ImageEncoder(colour.spec, colour.input_shape, colour.transform, colour.augment, colour.build)
    monkeypatch.setattr("emoclim.encoders.colour.load", lambda: exact)
    with pytest.raises(EncoderError, match="names no size"):
        load_encoder("colour", decoder="draft")
    assert load_encoder("colour", decoder="torchvision").spec.settings["decoder"] == "torchvision"


@pytest.mark.parametrize(("resize_mode", "least_side"), [("shortest", 224), ("longest", 256), ("squash", 256)])
def test_the_least_side_of_clip_is_for_its_views_too(resize_mode: str, least_side: int) -> None:
    how = Preprocessing((160, 224), (0.0,) * 3, (1.0,) * 3, "bicubic", resize_mode)
    assert how.least_side() == least_side


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Item]:
    """Two that differ, and are to be turned."""
    folder, items = tmp_path_factory.mktemp("photos"), []
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    for seed, (name, size) in enumerate({"wide": (1100, 760), "tall": (750, 1100)}.items()):
        scene(*size, seed).save(folder / f"{name}.jpg", quality=90, exif=exif)
        items.append(Item(name, folder / f"{name}.jpg"))
    return items


@pytest.mark.parametrize("name", ["colour", "clip"])
def test_features_are_near_those_of_pillow(name: str, photos: list[Item], tmp_path: Path) -> None:
    register_tiny_clip(tmp_path)
    subject = make_subject(name, tmp_path)
    encoders = {decoder: subject.load(decoder=decoder, views=1) for decoder in DECODERS}
    inputs = {key: torch.cat([next(encoder.prepare(item))[:1] for item in photos]) for key, encoder in encoders.items()}
    with torch.inference_mode():
        network = encoders["pillow"].module
        features = {decoder: torch.nn.functional.normalize(network(x)) for decoder, x in inputs.items()}
    apart = 1 - float(features["pillow"][0] @ features["pillow"][1])
    for decoder, share in {"draft": 0.2, "torchvision": 0.01}.items():
        change = inputs[decoder].float() - inputs["pillow"].float()
        assert float(change.abs().mean()) < 0.05 * float(inputs["pillow"].float().std())
        assert float(1 - (features[decoder] * features["pillow"]).sum(1).min()) < share * apart
    assert not torch.equal(inputs["draft"], inputs["pillow"])


def test_crops_are_decoded_so_too(photos: list[Item], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    encoder = load_encoder("colour", size=64, decoder="draft")
    assert isinstance(encoder, ImageEncoder)
    assert encoder.least_side == 91
    monkeypatch.setitem(vars(encoder), "augment", lambda picture, _: sizes.append(picture.size))
    encoder.crop(photos[0], torch.Generator())
    assert sizes == [(95, 138)]  # an eighth, turned


# The commands


def test_search_decodes_a_photo_as_the_library_was(
    workspace: Path, photos: list[Item], monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = workspace / "data" / "images"
    for picture in sorted(pictures.rglob("*.png")):
        with PIL.Image.open(picture) as opened:
            enlarged = opened.convert("RGB").resize((900, 800), PIL.Image.Resampling.NEAREST)
        picture.write_bytes(encode(enlarged, quality=85))  # the name tells nothing
    made = answer("extract", "images", "--encoder", "colour", "--decoder", "draft", "--workspace", workspace)
    assert made["failures"] == []
    run("train-heads", "--epochs", 1, "--workspace", workspace)
    asked: list[Features] = []
    read = QueryReader.read

    def spy(self: QueryReader, query: Path | str) -> Features:
        asked.append(read(self, query))
        return asked[-1]

    monkeypatch.setattr(QueryReader, "read", spy)
    assert len(answer("search", photos[0].path, "--workspace", workspace)[0]["found"]) == 5
    assert asked[0].spec.settings["decoder"] == "draft"
    with open_cache(Path(made["cache"])) as cache:
        assert cache.spec == asked[0].spec
    values = {
        decoder: next(load_encoder("colour", decoder=decoder).prepare(photos[0])) for decoder in ("pillow", "draft")
    }
    network = load_encoder("colour").module
    with torch.inference_mode():
        expected = {decoder: network(rows) for decoder, rows in values.items()}
    torch.testing.assert_close(asked[0].values, expected["draft"], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(asked[0].values, expected["pillow"], atol=1e-4, rtol=1e-4)


def test_the_command_takes_decoders_of_pictures_only(workspace: Path, tmp_path: Path) -> None:
    write_recordings(tmp_path, 1.0)
    words = ("extract", "audio", tmp_path, "--encoder", "timbre", "--unlabelled")
    assert "--decoder" not in run("extract", "audio", "--help").output
    told = run(*words, "--setting", "decoder=draft", code=2).output
    assert "timbre takes no decoder" in told
    told = run("extract", "images", "--encoder", "colour", "--decoder", "any", "--workspace", workspace, code=2).output
    assert told == "emoclim: colour takes a decoder of pillow, draft, torchvision, not any\n"
    assert {"decoder": "pillow"}.items() <= answer("encoders", "colour")["settings"].items()
    assert "decoder" not in answer("encoders", "timbre")["settings"]
