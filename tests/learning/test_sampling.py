"""Draws: class balance, independence, repeatability, and splits that cannot be drawn from."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.data.labels.relevance import Taxonomy
from emoclim.errors import CacheError, CacheMismatch, ManifestError
from emoclim.learning.sampling import batches, class_balanced, rows_by_number
from emoclim.learning.split_checks import check_pair
from emoclim.seeding import generator_for

CLASSES = ("funny", "happy", "sad")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def draw(labels: Tensor, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    return class_balanced(labels, CLASSES, shape, seeded(seed), what="audio items of the train split")


def split(n: int = 12) -> Split:
    """Two modalities whose features hold their own row number; audio has two segments per item."""
    rows = torch.arange(float(n))[:, None].repeat(1, 2)
    ids = tuple(map(str, range(n)))
    image = Features(FeatureSpec("a", "image", 2, "none", {}), ids, rows)
    segments = rows.repeat_interleave(2, dim=0)
    segments[1::2] += 0.5
    audio = Features(FeatureSpec("b", "audio", 2, "none", {}), ids, rows, segments, torch.arange(0, 2 * n + 1, 2))
    return Split(
        {"image": image, "audio": audio}, {"image": torch.arange(n) % 3, "audio": torch.arange(n) // 4}, CLASSES
    )


def test_classes_are_drawn_equally_however_rare() -> None:
    labels = torch.tensor([0] * 90 + [1] * 9 + [2])
    share = labels[draw(labels, (30_000,))].bincount() / 30_000
    torch.testing.assert_close(share, torch.full((3,), 1 / 3), rtol=0, atol=0.012)  # more than 4 standard errors


def own_labels() -> Split:
    """Images keep two labels of their own, of which music has one of three."""
    whole = split()
    shared = Taxonomy.shared((*CLASSES, "wild"), whole.features)
    taxonomy = replace(shared, own={"image": (0, 3), "audio": (0, 1, 2)})
    labels = {"image": torch.arange(12) % 2 * 3, "audio": whole.labels["audio"]}
    return replace(whole, labels=labels, classes=taxonomy.classes, taxonomy=taxonomy)


def test_labels_of_a_modality_of_its_own_are_drawn_equally() -> None:
    given = own_labels()
    given.labels["image"][1:8] = 0
    (batch,) = batches(given, (1, 30_000), seeded(), seeded(1), name="train")
    shares = {modality: labels.bincount(minlength=4) / 30_000 for modality, labels in batch.labels.items()}
    torch.testing.assert_close(shares["image"], torch.tensor([0.5, 0, 0, 0.5]), rtol=0, atol=0.012)
    torch.testing.assert_close(shares["audio"], torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]), rtol=0, atol=0.012)
    check_pair(given, given, ("image", "audio"))


def test_labels_of_another_modality_are_refused() -> None:
    given = own_labels()
    given.labels["image"][0] = 1
    with pytest.raises(ManifestError, match="image labels of the train split do not fit"):
        check_pair(given, given, ("image", "audio"))
    given.labels["image"][:] = 0
    with pytest.raises(ManifestError, match="image items of the train split lack class 'wild'"):
        next(batches(given, (1, 4), seeded(), seeded(1), name="train"))


def test_items_of_a_class_are_drawn_equally_and_with_replacement() -> None:
    labels = torch.tensor([2, 0, 1, 0, 1, 0])
    drawn = draw(labels, (30_000,))
    share = drawn.bincount(minlength=6) / 30_000
    expected = 1 / 3 / labels.bincount()[labels]
    torch.testing.assert_close(share, expected, rtol=0, atol=0.012)


def test_rows_are_sorted_once_and_anew_where_labels_change() -> None:
    labels = torch.randint(3, (50,), generator=seeded(1))
    first = rows_by_number(labels)
    assert rows_by_number(labels) is first
    assert first.tolist() == sorted(range(50), key=lambda row: int(labels[row]))
    labels[7] = (labels[7] + 1) % 3
    assert rows_by_number(labels).tolist() == sorted(range(50), key=lambda row: int(labels[row]))


def test_shape_and_type() -> None:
    drawn = draw(torch.tensor([0, 1, 2]), (5, 7))
    assert drawn.shape == (5, 7)
    assert drawn.dtype == torch.int64


def test_each_item_has_so_many_rows_with_segments_of_their_own() -> None:
    (batch,) = batches(split(), (1, 64), seeded(), seeded(1), name="train", views=3)
    by_item = {modality: rows[:, 0].view(64, 3) for modality, rows in batch.rows.items()}
    assert torch.equal(by_item["image"], by_item["image"][:, :1].expand(64, 3))
    assert torch.equal(by_item["audio"].floor(), by_item["audio"][:, :1].floor().expand(64, 3))
    assert (by_item["audio"] != by_item["audio"][:, :1]).any()
    assert torch.equal(batch.labels["audio"].view(64, 3), batch.labels["audio"].view(64, 3)[:, :1].expand(64, 3))


def test_the_same_generator_draws_the_same() -> None:
    labels = torch.arange(50) % 3
    assert torch.equal(draw(labels, (64,), seed=3), draw(labels, (64,), seed=3))
    assert not torch.equal(draw(labels, (64,), seed=3), draw(labels, (64,), seed=4))


def test_a_class_without_items_is_told() -> None:
    with pytest.raises(ManifestError, match="audio .*train .*'funny', 'sad'"):
        draw(torch.tensor([1, 1]), (4,))


def test_purposes_and_seeds_have_generators_of_their_own() -> None:
    firsts = {
        (purpose, seed): torch.rand(1, generator=generator_for(purpose, seed)).item()
        for purpose in ("init", "items", "dropout")
        for seed in (0, 1, 42)
    }
    assert len(set(firsts.values())) == 9
    assert torch.rand(1, generator=generator_for("init", 42)).item() == firsts["init", 42]


def test_batches_hold_rows_with_their_own_labels() -> None:
    data = split()
    for batch in batches(data, (20, 8), seeded(), seeded(1), name="train"):
        for modality, rows in batch.rows.items():
            assert rows.shape == (8, 2)
            assert torch.equal(data.labels[modality][rows[:, 0].long()], batch.labels[modality])


def test_modalities_are_drawn_independently() -> None:
    drawn = list(batches(split(), (40, 8), seeded(), seeded(1), name="train"))
    agree = torch.stack([batch.labels["image"] == batch.labels["audio"] for batch in drawn]).double().mean()
    assert 0.2 < agree < 0.47  # 1/3 by chance


def test_batches_draw_segments() -> None:
    drawn = torch.cat(
        [batch.rows["audio"][:, 0] for batch in batches(split(), (40, 8), seeded(), seeded(1), name="train")]
    )
    second = (drawn % 1 == 0.5).double().mean()
    assert 0.4 < second < 0.6


def test_segments_of_a_pair_lie_at_the_same_share_of_both() -> None:
    def shares(modality: str, length: int) -> Features:
        segments = (torch.arange(length).repeat(4)[:, None] + 0.5) / length
        offsets = length * torch.arange(5)
        starts = segments[:, 0]
        spec = FeatureSpec("any", modality, 1, "none", {})  # type: ignore[arg-type]
        return Features(spec, tuple("abcd"), torch.zeros(4, 1), segments, offsets, starts)

    pairs = {"audio": torch.arange(4), "text": torch.arange(4)}
    both = Split({"audio": shares("audio", 50), "text": shares("text", 10)}, {}, (), pairs=pairs)  # type: ignore[dict-item]
    how = {"name": "train", "views": 2}
    for needs in ({"pairs"}, set()):
        drawn = list(batches(both, (20, 4), seeded(1), seeded(2), needs=needs, **how))  # type: ignore[arg-type]
        far = max(float((one.rows["audio"] - one.rows["text"]).abs().max()) for one in drawn)
        assert (far < 0.061) == bool(needs)


def test_items_with_numbers_are_drawn_uniformly_and_others_by_class_where_targets_are_needed() -> None:
    whole = replace(split(), numbers={"image": torch.rand(12, 2)}, label_vectors=torch.rand(3, 2))
    check_pair(whole, whole, ("image", "audio"), ("targets",))
    drawn = list(batches(whole, (4, 3000), seeded(), seeded(), name="train", needs=("targets",)))
    assert drawn[0].numbers.keys() == {"image"}
    for modality, number in (("image", 12), ("audio", 3)):
        rows = torch.cat([batch.rows[modality][:, 0].floor().long() for batch in drawn])
        counts = (rows if number == 12 else whole.labels[modality][rows]).bincount(minlength=number)
        torch.testing.assert_close(counts / 12_000, torch.full((number,), 1 / number), rtol=0, atol=0.02)
    with pytest.raises(ManifestError, match="need one vector each"):
        lacking = replace(whole, label_vectors=None)
        check_pair(lacking, lacking, ("image", "audio"), ("targets",))


def test_a_good_pair_passes() -> None:
    check_pair(split(), split(9), ("image", "audio"))


def test_other_classes_are_refused() -> None:
    with pytest.raises(ManifestError, match=r"train .*\(funny, happy, sad\).* val"):
        check_pair(split(), replace(split(), classes=("happy", "funny", "sad")), ("image",))


def test_a_missing_modality_is_told() -> None:
    with pytest.raises(ManifestError, match="the train split has no text items"):
        check_pair(split(), split(), ("image", "text"))


@pytest.mark.parametrize("labels", [torch.zeros(11).long(), torch.full((12,), 3), torch.full((12,), -1)])
def test_labels_that_do_not_fit_are_told(labels: Tensor) -> None:
    good = split()
    bad = replace(good, labels={"image": good.labels["image"], "audio": labels})
    with pytest.raises(ManifestError, match="audio labels of the val split .*12"):
        check_pair(good, bad, ("image", "audio"))


def test_features_that_are_not_finite_are_counted() -> None:
    bad = split()
    bad.features["image"].values[3, 0] = torch.nan
    bad.features["image"].values[5] = torch.inf
    with pytest.raises(CacheError, match="2 of the 12 rows of image .*train"):
        check_pair(bad, split(), ("image", "audio"))


def test_segments_are_looked_at_too() -> None:
    bad = split()
    segments = bad.features["audio"].segments
    assert segments is not None
    segments[7, 1] = -torch.inf
    with pytest.raises(CacheError, match="1 of the 36 rows of audio .*val"):
        check_pair(split(), bad, ("image", "audio"))


def test_other_specs_are_refused() -> None:
    other = split()
    spec = replace(other.features["image"].spec, settings={"pixels": "squashed"})
    features = {**other.features, "image": replace(other.features["image"], spec=spec)}
    with pytest.raises(CacheMismatch, match="image part of the train split .*pixels: absent here, squashed there"):
        check_pair(split(), replace(other, features=features), ("image", "audio"))
