import colorsys
import csv
import math
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import Tensor

from emoclim.data.generated.pictures import LOOKS, paint
from emoclim.data.labels.taxonomy import PARTNERS
from emoclim.data.manifest import Item
from emoclim.encoders import colour as encoder
from emoclim.encoders.nets import colour
from emoclim.encoders.nets.statistics import BOUND, alike
from emoclim.errors import EncoderError

SIDE = 128


@pytest.fixture(scope="module")
def pictures() -> Tensor:
    rng = np.random.default_rng(5)
    return torch.stack([encoder.squeeze(paint(label, rng), size=SIDE) for label in LOOKS for _ in range(3)])


def plain(rgb: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rgb)[None, :, None, None].expand(1, 3, SIDE, SIDE).clone()


def stripes(period: int, *, level: bool = False) -> Tensor:
    row = (torch.arange(256) // (period // 2) % 2).float() * 0.6 + 0.2
    plane = row[:, None].expand(256, 256) if level else row.expand(256, 256)
    return plane.expand(1, 3, 256, 256).clone()


def test_groups_are_the_columns_of_the_feature(pictures: Tensor) -> None:
    bank = colour.colour_statistics()
    feature = bank(pictures[:2])
    assert feature.shape == (2, encoder.load().spec.dim)
    assert feature.dtype == torch.float32
    columns = [column for group in bank.groups.values() for column in range(group.start, group.stop)]
    widths = {name: group.stop - group.start for name, group in bank.groups.items()}
    assert widths == {name: len(names) for name, names in encoder.NAMES.items()}
    assert columns == list(range(feature.shape[1]))
    light = colour.light(colour.planes(pictures[:2]))
    expected = BOUND * torch.tanh((light - bank.centre[:3]) / bank.spread[:3] / BOUND) / math.sqrt(3)
    torch.testing.assert_close(feature[:, bank.groups["light"]], expected)


@pytest.mark.parametrize(
    ("more", "less", "name"),
    [
        (plain((0.9, 0.1, 0.1)), plain((0.1, 0.1, 0.9)), "hue red"),
        (plain((0.1, 0.1, 0.9)), plain((0.1, 0.9, 0.1)), "hue blue"),
        (plain((0.2, 0.6, 0.2)), plain((0.8, 0.1, 0.1)), "colour green"),
        (plain((0.9, 0.5, 0.1)), plain((0.1, 0.5, 0.9)), "warmth"),
        (plain((1.0, 1.0, 1.0)), plain((0.0, 0.0, 0.0)), "lightness level 8 of 8"),
        (stripes(16), stripes(16, level=True), "upright edges"),
        (stripes(16, level=True), stripes(16), "level edges"),
        (stripes(128), stripes(8), "coarseness"),
    ],
)
def test_a_name_is_that_of_what_it_tells(more: Tensor, less: Tensor, name: str) -> None:
    column = encoder.names().index(name)
    bank = colour.colour_statistics()
    assert bank(more)[0, column] > bank(less)[0, column]


def test_the_layout_is_named_by_place() -> None:
    picture = torch.zeros(1, 3, SIDE, SIDE)
    picture[..., : SIDE // 3, :] = 1
    row = dict(zip(encoder.names(), colour.colour_statistics()(picture)[0], strict=True))
    assert row["lightness, top centre"] > 0 > row["lightness, bottom sides"]
    picture = torch.zeros(1, 3, SIDE, SIDE)
    picture[..., SIDE // 3 : 2 * SIDE // 3] = torch.tensor([0.0, 0.0, 1.0])[:, None, None]
    row = dict(zip(encoder.names(), colour.colour_statistics()(picture)[0], strict=True))
    assert row["yellow over blue, middle centre"] < 0 < row["yellow over blue, middle sides"]


def test_lab_of_known_colours() -> None:
    known = {
        (1.0, 1.0, 1.0): (1.0, 0.0, 0.0),
        (1.0, 0.0, 0.0): (0.5324, 0.8009, 0.6720),
        (0.0, 0.0, 1.0): (0.3230, 0.7920, -1.0786),
        (0.0, 0.0, 0.0): (0.0, 0.0, 0.0),
    }
    for rgb, lab in known.items():
        found = colour.to_lab(torch.tensor(rgb)[None, :, None, None]).flatten()
        torch.testing.assert_close(found, torch.tensor(lab), atol=2e-3, rtol=0)


def test_brighter_picture_is_lighter_and_more_pleasant(pictures: Tensor) -> None:
    rows = [colour.planes(pictures * share) for share in (0.4, 0.6, 0.8, 1.0)]
    lightness = torch.stack([colour.light(row)[:, 0] for row in rows])
    assert (lightness.diff(dim=0) > 0).all()
    greys = [colour.affect(colour.planes(plain((value,) * 3)))[0] for value in (0.2, 0.5, 0.8)]
    pleasure, arousal, dominance = torch.stack(greys).T
    assert (pleasure.diff() > 0).all()
    assert (arousal.diff() < 0).all()
    assert (dominance.diff() < 0).all()


def test_more_saturated_picture_is_more_vivid_and_arousing(pictures: Tensor) -> None:
    grey = pictures.mean(1, keepdim=True)
    rows = [colour.planes(grey + share * (pictures - grey)) for share in (0.0, 0.3, 0.6, 1.0)]
    vividness = torch.stack([colour.vividness(row) for row in rows])
    assert (vividness.diff(dim=0) > 0).all()
    assert (colour.affect(rows[3])[:, 1] > colour.affect(rows[0])[:, 1]).all()


def test_colourfulness_is_the_published_formula(pictures: Tensor) -> None:
    found = colour.vividness(colour.planes(pictures))[:, 2]
    for value, picture in zip(found, pictures.double().numpy(), strict=True):
        red, green, blue = picture
        first, second = red - green, (red + green) / 2 - blue
        deviation = math.sqrt(first.var() + second.var() + 2 * colour.TINY)  # each has a floor
        mean = math.sqrt(first.mean() ** 2 + second.mean() ** 2)
        assert float(value) == pytest.approx(deviation + 0.3 * mean, abs=1e-5)


def test_each_hue_falls_into_its_bin() -> None:
    for number in range(12):
        shares = colour.hues(colour.planes(plain(colorsys.hsv_to_rgb(number / 12, 0.9, 0.8))))[0]
        assert int(shares.argmax()) == number


def test_grey_has_no_hue() -> None:
    view = colour.planes(plain((0.4, 0.4, 0.4)))
    assert colour.hues(view).max() < 0.02
    assert colour.hue_moments(view).abs().max() < 0.02


def test_hue_moments_have_the_direction_of_the_hue() -> None:
    for degrees in (0, 100, 215, 330):
        cosine, sine = colour.hue_moments(colour.planes(plain(colorsys.hsv_to_rgb(degrees / 360, 1.0, 1.0))))[0, :2]
        away = math.degrees(math.atan2(sine, cosine)) - degrees
        assert abs((away + 180) % 360 - 180) < 7  # the hexagon of HSV against the circle


def test_each_colour_term_names_its_own_colour() -> None:
    named = [colour.colour_terms(colour.planes(plain(rgb)))[0].argmax() for rgb in colour.TERMS]
    assert [int(index) for index in named] == list(range(11))


def test_shares_of_a_histogram_sum_to_one(pictures: Tensor) -> None:
    view = colour.planes(pictures)
    for roots in (colour.colour_terms(view), colour.levels(view)[:, :8], colour.levels(view)[:, 8:]):
        torch.testing.assert_close(roots.square().sum(1), torch.ones(len(pictures)), atol=2e-3, rtol=0)


def test_upright_and_level_stripes_differ_in_orientation() -> None:
    upright = colour.orientation(colour.planes(stripes(32)))[0]
    level = colour.orientation(colour.planes(stripes(32, level=True)))[0]
    assert (int(upright.argmax()), int(level.argmax())) == (0, 4)
    torch.testing.assert_close(upright, level.flip(0), atol=1e-4, rtol=0)


def test_coarser_stripes_are_coarser_with_fewer_edges() -> None:
    coarseness = [float(colour.tamura_coarseness(colour.planes(stripes(period)))[0, 0]) for period in (16, 64, 128)]
    edges = [float(colour.edges(colour.planes(stripes(period)))[0, 0]) for period in (16, 64, 128)]
    assert coarseness == sorted(coarseness)
    assert coarseness[2] > coarseness[0] + 0.5
    assert edges == sorted(edges, reverse=True)


def test_sharper_light_has_more_contrast(pictures: Tensor) -> None:
    faint = pictures.mean((2, 3), keepdim=True) + 0.3 * (pictures - pictures.mean((2, 3), keepdim=True))
    assert (colour.tamura_contrast(colour.planes(pictures)) > colour.tamura_contrast(colour.planes(faint))).all()


def test_symmetry_tells_mirrored_from_slanted() -> None:
    ramp = torch.linspace(0, 1, SIDE).expand(1, 3, SIDE, SIDE)
    across, down = colour.symmetry(colour.planes(ramp))[0]
    assert across < -0.8
    assert down > 0.8


def test_layout_finds_the_bright_third() -> None:
    picture = torch.full((1, 3, SIDE, SIDE), 0.2)
    picture[..., : SIDE // 3, :] = 0.9
    lightness = colour.layout(colour.planes(picture))[0, :3]
    assert lightness[0] > 0.2
    assert (lightness[1:] < 0).all()


def test_mirror_image_has_the_same_feature(pictures: Tensor) -> None:
    bank = colour.colour_statistics()
    torch.testing.assert_close(bank(pictures.flip(-1)), bank(pictures), atol=1e-4, rtol=0)


def test_feature_does_not_depend_on_the_rest_of_the_batch(pictures: Tensor) -> None:
    bank = colour.colour_statistics()
    alone = torch.cat([bank(picture[None]) for picture in pictures])
    torch.testing.assert_close(bank(pictures), alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rgb", [(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (1, 0, 0), (0, 0, 1), (0.04, 0.0405, 0.041)])
def test_plain_pictures_have_finite_features_and_slopes(rgb: tuple[float, float, float]) -> None:
    picture = plain(tuple(map(float, rgb))).requires_grad_()
    feature = colour.colour_statistics()(picture)
    feature.sum().backward()
    assert feature.isfinite().all()
    assert picture.grad is not None
    assert picture.grad.isfinite().all()


def test_following_the_slope_raises_the_statistic(pictures: Tensor) -> None:
    bank = colour.colour_statistics()
    for name in ("vividness", "hues", "levels", "orientation", "layout"):
        batch = pictures[:6].clone().requires_grad_()
        bank(batch)[:, bank.groups[name]].sum().backward()
        assert batch.grad is not None
        step = 1e-3 * batch.grad / batch.grad.abs().amax((1, 2, 3), keepdim=True)
        with torch.no_grad():
            gain = (bank(batch + step) - bank(batch))[:, bank.groups[name]].sum(1)
        assert (gain > 0).all(), name


def test_no_value_rules_the_direction_of_the_feature(pictures: Tensor) -> None:
    unit = torch.nn.functional.normalize(colour.colour_statistics()(pictures), dim=1)
    assert unit.square().mean(0).max() < 0.15


def test_picture_of_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (200, 30, 30)).save(tmp_path / "dot.png")
    item = Item("dot", path=tmp_path / "dot.png")
    made = encoder.load(size=64)
    (block,) = made.prepare(item)
    assert block.shape == (1, *made.input_shape)
    assert made.module(block).isfinite().all()
    assert made.crop(item, torch.Generator().manual_seed(0)).shape == made.input_shape


def test_squeezing_keeps_the_whole_picture() -> None:
    wide = Image.new("RGB", (400, 100))
    wide.paste((255, 255, 255), (200, 0, 400, 100))
    square = encoder.squeeze(wide, size=64)
    assert square.shape == (3, 64, 64)
    assert square.mean() == pytest.approx(0.5, abs=0.02)


def test_crop_is_drawn_from_the_generator_alone() -> None:
    picture = paint("awe", np.random.default_rng(0))
    first, again, other = (
        encoder.squeeze_part(picture, torch.Generator().manual_seed(seed), size=64) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_crop_has_between_half_and_all_of_the_area() -> None:
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))).convert("RGB")
    generator = torch.Generator().manual_seed(0)
    spans = []
    for _ in range(60):
        part = encoder.squeeze_part(ramp, generator, size=64)
        spans.append(float(part.max() - part.min()))
    assert min(spans) > math.sqrt(0.5) - 0.03
    assert max(spans) > 0.95


def test_spec_tells_sizes_apart_and_holds_the_version() -> None:
    spec = encoder.load().spec
    assert (spec.checkpoint, spec.settings["version"]) == ("none", encoder.VERSION)
    assert spec.digest() != encoder.load(size=128).spec.digest()


def test_encoder_can_be_sent_to_a_worker() -> None:
    sent = pickle.loads(pickle.dumps(encoder.load(size=64)))
    assert sent.transform(Image.new("RGB", (9, 9))).shape == (3, 64, 64)


@pytest.mark.parametrize("size", [0, 63, 100, 2048])
def test_size_is_refused(size: int) -> None:
    with pytest.raises(EncoderError, match=f"multiple of 32 from 64 to 1024, not {size}"):
        encoder.load(size=size)


def test_photographs_are_told_apart_above_chance_by_no_single_value(shared: Path) -> None:
    with (shared / "corpus" / "images.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in PARTNERS]
    made = encoder.load(size=SIDE)
    with torch.inference_mode():
        items = (Item(row["path"], path=shared / "corpus" / row["path"]) for row in rows)
        features = torch.cat([made.module(block) for item in items for block in made.prepare(item)])
    unit = torch.nn.functional.normalize(features, dim=1).numpy()
    assert (unit**2).mean(0).max() < 0.06
    labels = np.array([row["label"] for row in rows])
    model = LogisticRegression(class_weight="balanced", max_iter=1000)
    guessed = cross_val_predict(model, unit, labels, cv=StratifiedKFold(6, shuffle=True, random_state=0))
    assert balanced_accuracy_score(labels, guessed) > 0.22  # chance is 0.17, with a deviation of 0.03


@pytest.mark.parametrize("function", [torch.sigmoid, lambda x: x**4, lambda x: x.abs() ** 0.25])
def test_the_last_bit_of_a_value_does_not_depend_on_its_place(function: Callable[[Tensor], Tensor]) -> None:
    values = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    expected = alike(function, values)
    for first in range(0, 4096, 24):  # too few to be computed at once
        assert torch.equal(alike(function, values[first : first + 24]), expected[first : first + 24])


def test_a_picture_has_the_same_bits_first_and_last_in_a_batch() -> None:
    network = colour.colour_statistics()
    pixels = (np.random.default_rng(n).integers(0, 256, (6, 6, 3), dtype=np.uint8) for n in (723, 0))
    batch = torch.stack([encoder.squeeze(Image.fromarray(one), size=64) for one in pixels])
    assert torch.equal(network(batch), network(batch.flip(0)).flip(0))
