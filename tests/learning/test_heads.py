"""Banks of heads against plain PyTorch layers, embedding of items, and the file of heads."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, normalize

from emoclim.data.features import Features, FeatureSpec
from emoclim.data.labels.relevance import Taxonomy
from emoclim.encoders import write_own
from emoclim.errors import CacheMismatch, ConfigError, RunError
from emoclim.learning.banks.base import HeadBank
from emoclim.learning.branches import Banks
from emoclim.learning.heads import Heads, stack_heads
from emoclim.learning.heads_file import FORMAT, load_heads, save_heads

D, H, E = 12, 16, 8
IMAGE = FeatureSpec("clip", "image", D, "vit.pt@0123456789ab", {"pixels": "centre crop"})
AUDIO = FeatureSpec("clap", "audio", 10, "none", {"overlap": 0.75})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


def bank(n_heads: int = 3, *, dim: int = D, p: float = 0.0) -> HeadBank:
    """A bank whose heads, and whose running statistics, all differ."""
    made = HeadBank(n_heads, dim, H, E, dropout=p, generator=seeded())
    with torch.no_grad():
        for number, tensor in enumerate(made.state_dict().values()):
            tensor.add_(noise(*tensor.shape, seed=number).abs(), alpha=0.2)
    return made


def heads(n_heads: int = 3) -> Heads:
    return Heads(Banks({"image": bank(n_heads), "audio": bank(n_heads, dim=10)}), {"image": IMAGE, "audio": AUDIO})


def plain(source: HeadBank, k: int, p: float = 0.0) -> nn.Sequential:
    """Head k as PyTorch layers; the L2 norms are left to the caller."""
    layers = nn.Sequential(nn.Linear(D, H), nn.BatchNorm1d(H), nn.ReLU(), nn.Dropout(p), nn.Linear(H, E))
    state = {name: tensor[k] for name, tensor in source.state_dict().items()}
    state |= {name: state[name][:E] for name in ("out_weight", "out_bias")}  # the rest fills a cache line
    names = ("hidden_weight", "hidden_bias", "norm_weight", "norm_bias", "running_mean", "running_var")
    targets = ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    renamed = {target: state[name] for name, target in zip(names, targets, strict=True)}
    renamed |= {"4.weight": state["out_weight"], "4.bias": state["out_bias"], "1.num_batches_tracked": torch.tensor(0)}
    layers.load_state_dict(renamed)
    return layers


def library(n: int = 7) -> Features:
    """Audio items with 0, 1, 2, 0, 1, 2, ... segments."""
    offsets = torch.cat([torch.zeros(1).long(), (torch.arange(n) % 3).cumsum(0)])
    n_segments = int(offsets[-1])
    ids = tuple(f"clip {item}" for item in range(n))
    return Features(AUDIO, ids, noise(n, 10), noise(n_segments, 10, seed=1), offsets, torch.zeros(n_segments))


def test_initial_values_are_those_of_pytorch_and_the_same_for_every_head() -> None:
    made = HeadBank(3, D, H, E, dropout=0.5, generator=seeded(4))
    with torch.random.fork_rng():
        torch.manual_seed(4)
        first, last = nn.Linear(D, H), nn.Linear(H, E)
    for k in range(3):
        torch.testing.assert_close(made.hidden_weight[k], first.weight)
        torch.testing.assert_close(made.hidden_bias[k], first.bias)
        torch.testing.assert_close(made.out_weight[k, :E], last.weight)
        torch.testing.assert_close(made.out_bias[k, :E], last.bias)


def test_every_parameter_and_statistic_leads_with_k() -> None:
    assert {len(tensor) for tensor in bank(5).state_dict().values()} == {5}


@pytest.mark.parametrize("own_rows", [False, True])
def test_training_equals_plain_layers_head_by_head(own_rows: bool) -> None:
    ours = bank().train()
    theirs = [plain(ours, k).train() for k in range(3)]
    for step in range(3):
        rows = noise(3, 20, D, seed=step) if own_rows else noise(20, D, seed=step)
        found = ours(rows)
        assert found.shape == (3, 20, E)
        for k, layers in enumerate(theirs):
            expected = normalize(layers(normalize(rows[k] if own_rows else rows, dim=1)), dim=1)
            torch.testing.assert_close(found[k], expected)
    for k, layers in enumerate(theirs):
        torch.testing.assert_close(ours.running_mean[k], layers.get_buffer("1.running_mean"))
        torch.testing.assert_close(ours.running_var[k], layers.get_buffer("1.running_var"))


def test_evaluation_equals_plain_layers_and_moves_no_statistic() -> None:
    ours = bank(p=0.5).eval()
    before = ours.running_mean.clone()
    rows = noise(20, D)
    found = ours(rows)
    for k in range(3):
        torch.testing.assert_close(found[k], normalize(plain(ours, k, 0.5).eval()(normalize(rows, dim=1)), dim=1))
    assert torch.equal(ours.running_mean, before)


def test_gradients_equal_plain_layers() -> None:
    ours, rows, target = bank().train(), noise(20, D), noise(20, E, seed=1)
    torch.autograd.backward((ours(rows) * target).sum())
    for k in range(3):
        layers = plain(ours, k).train()
        torch.autograd.backward((normalize(layers(normalize(rows, dim=1)), dim=1) * target).sum())
        assert ours.hidden_weight.grad is not None
        torch.testing.assert_close(ours.hidden_weight.grad[k], layers.get_parameter("0.weight").grad)


def test_the_scale_of_a_feature_does_not_matter() -> None:
    ours, rows = bank().eval(), noise(20, D)
    torch.testing.assert_close(ours(rows * 100), ours(rows))


def test_one_dropout_mask_for_all_heads() -> None:
    """With an output layer that passes hidden units through, dropped units can be read off the embedding."""
    made = HeadBank(3, D, H, H, dropout=0.5, generator=seeded()).train()
    with torch.no_grad():
        made.norm_bias.fill_(10)  # so that no unit is switched off by the ReLU
        made.out_weight.copy_(torch.eye(H))
        made.out_bias.zero_()
        made.hidden_weight.add_(noise(3, H, D, seed=1))
    dropped = made(noise(500, D), seeded(1)) == 0
    assert torch.equal(dropped[0], dropped[1])
    assert torch.equal(dropped[0], dropped[2])
    assert dropped[0].double().mean().item() == pytest.approx(0.5, abs=0.03)
    again = made(noise(500, D), seeded(1)) == 0
    assert torch.equal(again, dropped)
    assert not torch.equal(made(noise(500, D), seeded(2)) == 0, dropped)


def test_kept_units_are_scaled_up() -> None:
    made = bank(1, p=0.25).train()
    rows = noise(20, D)
    mask = (torch.rand(20, H, generator=seeded(5)) >= 0.25) / 0.75
    layers = plain(made, 0).train()
    hidden = layers[:3](normalize(rows, dim=1)) * mask
    torch.testing.assert_close(made(rows, seeded(5))[0], normalize(layers[4](hidden), dim=1))
    assert set(mask.flatten().tolist()) == set(dropout(torch.ones(1000), 0.25).tolist())


def test_training_with_dropout_needs_a_generator() -> None:
    with pytest.raises(ValueError, match="needs a generator"):
        bank(p=0.5).train()(noise(4, D))


def test_a_single_row_has_no_batch_statistics() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        bank().train()(noise(1, D))


def test_embedding_averages_over_segments() -> None:
    features, trained = library(), heads()
    assert features.segments is not None
    assert features.offsets is not None
    found = trained.vectors(features)[0]
    assert found.shape == (3, 7, E)
    layers = trained.banks["audio"].eval()
    for item, (first, last) in enumerate(
        zip(features.offsets[:-1].tolist(), features.offsets[1:].tolist(), strict=True)
    ):
        rows = features.segments[first:last] if last > first else features.values[item : item + 1]
        torch.testing.assert_close(found[:, item], layers(rows).mean(dim=1))
    assert (found[:, 2].norm(dim=-1) < 0.999).all()  # a mean of two, not normalised again


def test_embedding_of_the_averaged_features() -> None:
    features, trained = library(), heads()
    found = trained.vectors(features, average="features")[0]
    torch.testing.assert_close(found, trained.banks["audio"].eval()(features.values))
    bare = replace(features, segments=None, offsets=None, starts=None)
    assert torch.equal(trained.vectors(bare)[0], found)


def test_an_embedding_does_not_depend_on_its_neighbours() -> None:
    trained, features = heads(), library(600)
    together = trained.vectors(features)[0]
    for row in (0, 1, 2, 255, 256, 599):
        assert torch.equal(trained.vectors(features.select(torch.tensor([row])))[0][:, 0], together[:, row])


def test_embedding_leaves_the_banks_as_they_are() -> None:
    trained = heads()
    trained.banks["audio"].train()
    before = trained.banks["audio"].running_mean.clone()
    embedded = trained.vectors(library())[0]
    assert trained.banks["audio"].training
    assert torch.equal(trained.banks["audio"].running_mean, before)
    layer = nn.Linear(E, 1)
    torch.autograd.backward(layer(embedded).sum())  # another network can be trained on what came out
    assert layer.weight.grad is not None


def test_no_items_give_no_embeddings() -> None:
    assert heads().vectors(library().select(torch.tensor([], dtype=torch.int64)))[0].shape == (3, 0, E)


def test_other_features_are_refused() -> None:
    features = replace(library(), spec=replace(AUDIO, settings={"overlap": 0.5}))
    with pytest.raises(CacheMismatch, match=r"the audio heads .*overlap: 0.75 here, 0.5 there"):
        heads().vectors(features)[0]
    with pytest.raises(CacheMismatch, match="no heads for text features; these take image and audio"):
        heads().vectors(replace(library(), spec=replace(AUDIO, modality="text")))[0]


def test_an_unknown_average_is_refused() -> None:
    unknown: Any = "segments"
    with pytest.raises(ConfigError, match="average = 'segments' is not possible; it must be embeddings or features"):
        heads().vectors(library(), average=unknown)[0]


def test_select_takes_one_head_of_each_modality() -> None:
    trained, features = heads(), library()
    for k in range(3):
        one = trained.select(k)
        assert one.n_heads == 1
        torch.testing.assert_close(one.vectors(features)[0][0], trained.vectors(features)[0][k])
        assert torch.equal(one.banks["image"].out_bias[0], trained.banks["image"].out_bias[k])


@pytest.mark.parametrize("k", [-1, 3])
def test_select_outside_is_refused(k: int) -> None:
    with pytest.raises(RunError, match=f"no head {k}; these are numbered from 0 to 2"):
        heads().select(k)


def test_banks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(RunError, match="the same number of heads"):
        Heads(Banks({"image": bank(2), "audio": bank(3, dim=10)}), {"image": IMAGE, "audio": AUDIO})
    with pytest.raises(RunError, match="one spec each"):
        Heads(Banks({"image": bank()}), {"image": IMAGE, "audio": AUDIO})
    with pytest.raises(RunError, match="the image heads take 10 values, not 12"):
        Heads(Banks({"image": bank(dim=10)}), {"image": IMAGE})


def test_a_file_gives_back_the_same_heads(tmp_path: Path) -> None:
    trained, path = heads(), tmp_path / "heads.safetensors"
    save_heads(trained, path)
    found = load_heads(path)
    assert found.specs == trained.specs
    assert list(found.banks) == ["image", "audio"]
    for modality, original in trained.banks.items():
        assert found.banks[modality].dropout == original.dropout
        assert found.banks[modality].embedding_dim == original.embedding_dim
        for name, tensor in original.state_dict().items():
            assert torch.equal(found.banks[modality].state_dict()[name], tensor)
    assert torch.equal(found.vectors(library())[0], trained.vectors(library())[0])
    assert [each.name for each in tmp_path.iterdir()] == ["heads.safetensors"]
    assert found.objective.taxonomy is None


def test_a_file_gives_back_what_is_relevant_to_what(tmp_path: Path) -> None:
    trained, path = heads(), tmp_path / "heads.safetensors"
    relevance = {("image", "audio"): torch.tensor([[False, True], [True, False]])}
    trained.objective.taxonomy = Taxonomy(("calm", "glad"), {"image": (0, 1), "audio": (1,)}, relevance, "moods")
    save_heads(trained, path)
    for found in (load_heads(path), load_heads(path).select(1), stack_heads([load_heads(path)])):
        kept = found.objective.taxonomy
        assert kept is not None
        assert (kept.classes, kept.own, kept.name) == (("calm", "glad"), {"image": (0, 1), "audio": (1,)}, "moods")
        assert torch.equal(kept.relevance["image", "audio"], relevance["image", "audio"])
    relevance["image", "audio"] = torch.ones(3, 2)
    save_heads(trained, path)
    with pytest.raises(RunError, match="does not fit its 2 classes"):
        load_heads(path)


def test_the_same_heads_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_heads(heads(), tmp_path / name)
    save_heads(load_heads(tmp_path / "one"), tmp_path / "three")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == (tmp_path / "three").read_bytes()


def test_tensors_are_named_by_modality_and_parameter(tmp_path: Path) -> None:
    save_heads(heads(), tmp_path / "heads")
    names = set(safetensors.torch.load_file(tmp_path / "heads"))
    assert names == {f"{modality}.{name}" for modality in ("image", "audio") for name in bank().state_dict()}


def about(**changes: Any) -> dict[str, Any]:
    """What is said of one image bank, changed."""
    about = {"dropout": 0.5, "embedding_dim": 3}
    banks = {"image": {"kind": "HeadBank", "about": about, "branch": {"input": "image"}}}
    objective = {"name": "", "modalities": [], "settings": []}
    plain = {"format": FORMAT, "banks": banks, "specs": {"image": IMAGE.to_dict()}, "objective": objective}
    return {**plain, **changes}


@pytest.mark.parametrize(
    ("tensors", "metadata", "told"),
    [
        ({"image.out_bias": noise(2, 3)}, about(), "is no file of heads .*hidden_weight"),
        ({"audio.out_bias": noise(2, 3)}, about(), "is no file of heads .*hidden_weight"),
        ({"image.hidden_weight": noise(2, 3, 4), "image.out_bias": noise(2, 3)}, about(), "is no file of heads"),
        ({"image.out_bias": noise(2, 3)}, about(format=1), "its format is 1, not 3"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, tensors: dict[str, Tensor], metadata: Any, told: str) -> None:
    path = tmp_path / "heads.safetensors"
    write_own(tensors, path, metadata)
    with pytest.raises(RunError, match=told):
        load_heads(path)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one: one * torch.nan, "hidden_weight holds values that no training leaves"),
        (lambda one: one / 0, "holds values that no training leaves"),
        (lambda one: one.half(), "torch.float16, not of float32"),
        (lambda one: one.double(), "torch.float64, not of float32"),
        (lambda one: torch.zeros(0, 2**20, 2**9), r"\(0, 1048576, 512\)"),
    ],
)
def test_heads_that_are_no_numbers_are_refused(tmp_path: Path, change: Callable[[Tensor], Tensor], told: str) -> None:
    path = tmp_path / "heads.safetensors"
    state = {f"image.{name}": one for name, one in bank().state_dict().items()}
    write_own(state | {"image.hidden_weight": change(state["image.hidden_weight"])}, path, about())
    with pytest.raises(RunError, match=told):
        load_heads(path)


def test_heads_with_negative_variances_are_refused(tmp_path: Path) -> None:
    trained, path = heads(), tmp_path / "heads.safetensors"
    trained.banks["image"].running_var[0, 0] = -1
    save_heads(trained, path)
    with pytest.raises(RunError, match="image.running_var holds values"):
        load_heads(path)


@pytest.mark.parametrize("name", ["out_weight", "hidden_bias"])
def test_a_wrong_width_is_told_in_one_plain_sentence(tmp_path: Path, name: str) -> None:
    path, image = tmp_path / "heads.safetensors", bank()
    state = image.state_dict()
    state[name] = state[name][:, 1:].clone()
    write_own({f"image.{each}": one for each, one in state.items()}, path, of_bank(about=image.about()))
    with pytest.raises(RunError, match=rf"is no file of heads \({name} of a bank has the shape \(3, .*, not \(3, "):
        load_heads(path)


def of_bank(**changes: Any) -> dict[str, Any]:
    """What is said of one image bank, of which something is changed."""
    plain = {"kind": "HeadBank", "about": {"dropout": 0.5, "embedding_dim": 3}, "branch": {"input": "image"}}
    return about(banks={"image": plain | changes})


@pytest.mark.parametrize(
    "metadata",
    [
        about(banks=[]),
        about(banks={"image": 3}),
        about(specs={"image": {}}),
        about(specs=[]),
        about(objective={"name": "no such", "modalities": [], "settings": []}),
        about(objective={"name": 3}),
        of_bank(about={"dropout": 0.5, "embedding_dim": 2**40}),
        of_bank(about={"dropout": 0.5, "embedding_dim": 2**62}),
        of_bank(about={"dropout": 0.5, "embedding_dim": -1}),
        of_bank(about={"dropout": 0.5, "embedding_dim": "3"}),
        of_bank(kind="IdentityBank", about={"n_heads": 2**40, "dim": 2**40}),
        of_bank(kind="LinearBank", about={}),
        of_bank(branch={"input": "image", "shares": "none"}),
        of_bank(branch={"input": "smell"}),
        of_bank(branch={"input": ["image"]}),
    ],
)
def test_what_heads_never_are_is_refused(tmp_path: Path, metadata: dict[str, Any]) -> None:
    path = tmp_path / "heads.safetensors"
    write_own({f"image.{name}": one for name, one in bank().state_dict().items()}, path, metadata)
    with pytest.raises(RunError, match="is no file of heads"):
        load_heads(path)


@pytest.mark.parametrize(
    "metadata", [None, {"other": "thing"}, *({"emoclim": one} for one in ("not json", "[" * 100_000, "[]", "3", "{}"))]
)
def test_other_metadata_than_ours_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "heads.safetensors"
    safetensors.torch.save_file({f"image.{name}": one for name, one in bank().state_dict().items()}, path, metadata)
    with pytest.raises(RunError, match="is no file of heads"):
        load_heads(path)


def test_any_other_bit_is_told(tmp_path: Path) -> None:
    path = tmp_path / "heads.safetensors"
    save_heads(heads(), path)
    content = path.read_bytes()
    for place in range(0, len(content), len(content) // 50):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(RunError, match="is no file of heads"):
            load_heads(path)


def test_only_a_regular_file_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "heads.safetensors")
    with pytest.raises(RunError, match="no regular file"):
        load_heads(tmp_path / "heads.safetensors")


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "heads.safetensors"
    save_heads(heads(), path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(RunError, match="is no file of heads"):
        load_heads(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"none.safetensors is no file of heads \(No such file"):
        load_heads(tmp_path / "none.safetensors")


def test_stacked_heads_embed_as_they_did_alone() -> None:
    """Narrower ones are filled up with units that are always 0."""
    spec = FeatureSpec("any", "image", 6, "none", {})
    parts = []
    for seed, (hidden, embedding) in enumerate([(8, 4), (16, 12), (8, 12)]):
        bank = HeadBank(2, 6, hidden, embedding, dropout=0.1 * seed, generator=torch.Generator().manual_seed(seed))
        bank.train()(torch.randn(20, 6, generator=torch.Generator().manual_seed(9)), torch.Generator().manual_seed(0))
        parts.append(Heads(Banks({"image": bank}), {"image": spec}))
    together = stack_heads(parts)
    assert together.n_heads == 6
    values = torch.randn(5, 6, generator=torch.Generator().manual_seed(1))
    features = Features(spec, tuple("abcde"), values)
    embedded = together.vectors(features)[0]
    for number, part in enumerate(parts):
        alone = part.vectors(features)[0]
        width = alone.shape[2]
        torch.testing.assert_close(embedded[2 * number : 2 * number + 2, :, :width], alone)
        assert not embedded[2 * number : 2 * number + 2, :, width:].any()
    some = together.select(4, 0)
    torch.testing.assert_close(some.vectors(features)[0], embedded[[4, 0]])
    with pytest.raises(RunError, match="there is no head 6; these are numbered from 0 to 5"):
        together.select(0, 6)
    with pytest.raises(CacheMismatch, match="training set of the image heads"):
        stack_heads(
            [parts[0], Heads(Banks({"image": parts[1].banks["image"]}), {"image": replace(spec, name="other")})]
        )
