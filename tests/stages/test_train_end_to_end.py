"""Training end to end: the curve of the cached path where nothing is unfrozen, and only what is unfrozen moves."""

import gc
import logging
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from objective_cases import emo_clim
from small_encoder import (
    CPU,
    DIM,
    EVEN,
    LENGTH,
    QUICK,
    RATE,
    Material,
    differences,
    make_encoder,
    make_material,
    make_net,
    train,
    write_tone,
)
from torch import Tensor

from emoclim.cache.memory import MemoryCache
from emoclim.data.content import ContentKeys
from emoclim.data.features import Split
from emoclim.data.manifest import Item, Manifest
from emoclim.encoders.base import AudioEncoder
from emoclim.errors import ConfigError, ManifestError
from emoclim.learning.banks.base import HeadBank
from emoclim.learning.branches import Banks
from emoclim.learning.end_to_end.crops import CropLoader, CropMaker, numbered
from emoclim.learning.end_to_end.distributed import Replicas
from emoclim.learning.end_to_end.encoder_trainer import JointLearner
from emoclim.learning.end_to_end.trainable import trainable
from emoclim.learning.epochs import Snapshot
from emoclim.learning.learner import Learner
from emoclim.learning.objectives.loading import make_objective
from emoclim.learning.sampling import Batch
from emoclim.learning.settings import EncoderTuning
from emoclim.stages.extracting import extract
from emoclim.stages.head_training import train_heads

FROZEN = {"unfreeze": "none", "batchnorm": "frozen"}
TRAINED = {
    "all": {f"{layer}.{kind}" for layer in ("layer1.0", "layer1.1", "layer2", "bn") for kind in ("weight", "bias")},
    "last:1": {"layer2.weight", "layer2.bias", "bn.weight", "bn.bias"},
    "batchnorm": {"layer1.1.weight", "layer1.1.bias", "bn.weight", "bn.bias"},
    "none": set(),
}
TRAINED["last:2"] = TRAINED["all"]
STATISTICS = {f"{norm}.{kind}" for norm in ("layer1.1", "bn") for kind in ("running_mean", "running_var")}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return make_material(tmp_path_factory.mktemp("tones"))


def cached(material: Material, encoder: AudioEncoder) -> dict[str, Split]:
    """The splits with the features of the recordings, as the other path has them."""
    splits = {}
    for name, images in (("train", material.train), ("val", material.val)):
        part = material.recordings[name]
        manifest = Manifest("tones", "audio", Path("tones.csv"), tuple(part.items))
        with MemoryCache(encoder.spec) as cache:
            extract(manifest, encoder, cache, batch_size=4, workers=0, device=CPU)
            features = cache.read([ContentKeys()(item) for item in part.items])
        splits[name] = Split(
            {**images.features, "audio": features}, {**images.labels, "audio": part.labels}, images.classes
        )
    return splits


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_frozen_encoder_gives_the_curve_of_cached_features(tmp_path: Path, dropout: float) -> None:
    """Recordings of exactly one segment: the crop is the segment."""
    whole = make_material(tmp_path, seconds=LENGTH / RATE)
    config = QUICK.updated(dropout=dropout)
    joint = train(whole, config, FROZEN)
    splits = cached(whole, make_encoder())
    assert splits["train"].features["audio"].segments is not None
    apart = train_heads(splits["train"], splits["val"], emo_clim(), [EVEN], config, device=CPU)
    # The encoder sees batches of another size: features may differ by rounding. A bias before a normalisation has no
    # gradient but that, of which Adam makes whole steps; the running mean lags behind it, and validation with that:
    # features that are 1e-7 apart moved losses by 1e-6 in training, by .02 in validation.
    for name, allowed in {"train_loss": 1e-4, "val_loss": 0.1, "val_terms": 0.1}.items():
        torch.testing.assert_close(getattr(joint.history, name), getattr(apart.history, name), rtol=0, atol=allowed)
    assert joint.history.val_loss[-1] < joint.history.val_loss[0] - 0.01
    assert joint.best_epoch == int(apart.best_epoch)
    for modality, bank in apart.heads.banks.items():
        for name, tensor in bank.state_dict().items():
            steps = config.learning_rate * config.epochs * config.batches_per_epoch
            allowed = 2 * steps if name in {"hidden_bias", "running_mean"} else 1e-4
            torch.testing.assert_close(joint.banks[modality].state_dict()[name], tensor, rtol=0, atol=allowed)


def test_training_the_encoder_does_better_on_what_it_trains_on(material: Material) -> None:
    longer = QUICK.updated(epochs=6)
    frozen, free = train(material, longer, FROZEN), train(material, longer, {"batchnorm": "frozen"})
    assert free.history.train_loss[-1] < frozen.history.train_loss[-1] - 0.05


@pytest.mark.parametrize("batchnorm", ["train", "frozen"])
@pytest.mark.parametrize("unfreeze", TRAINED)
def test_only_what_is_unfrozen_moves(material: Material, unfreeze: str, batchnorm: str) -> None:
    encoder = make_encoder()
    training = train(material, tuning={"unfreeze": unfreeze, "batchnorm": batchnorm}, encoder=encoder)
    assert set(training.trained["audio"]) == TRAINED[unfreeze]
    before = make_net().state_dict()
    moved = {name for name, tensor in training.encoders["audio"].items() if not torch.equal(tensor, before[name])}
    counters = {"layer1.1.num_batches_tracked", "bn.num_batches_tracked"}
    assert moved - counters == TRAINED[unfreeze] | (STATISTICS if batchnorm == "train" else set())
    assert bool(moved & counters) == (batchnorm == "train")
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.module.state_dict().items())


@pytest.mark.parametrize("unfreeze", TRAINED)
def test_gradients_reach_every_unfrozen_parameter_and_no_other(
    material: Material, unfreeze: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, bool]] = []
    update = JointLearner._update

    def noting(learner: JointLearner) -> None:
        gradients = {name: one.grad for name, one in learner.modules["audio"].named_parameters()}
        seen.append({name: grad is not None and bool(grad.any()) for name, grad in gradients.items()})
        update(learner)

    monkeypatch.setattr(JointLearner, "_update", noting)
    train(material, tuning={"unfreeze": unfreeze, "batchnorm": "frozen"})
    assert {name for name, reached in seen[-1].items() if reached} == TRAINED[unfreeze]
    assert len(seen) == QUICK.epochs * QUICK.batches_per_epoch


def copied(snapshot: Snapshot) -> Snapshot:
    return {name: tensor.clone() for name, tensor in snapshot.items()}


EVERYTHING = {"warmup_steps": 6, "clip_norm": 0.5, "accumulate": 3}


@pytest.mark.parametrize("tuning", [{}, EVERYTHING, {"unfreeze": "last:1", "precision": "bf16"}])
def test_killed_in_the_second_epoch_and_resumed_it_ends_the_same(material: Material, tuning: Mapping[str, Any]) -> None:
    config, snapshots = QUICK.updated(dropout=0.5), list[Snapshot]()

    def keep(snapshot: Snapshot) -> None:
        snapshots.append(copied(snapshot))

    whole = train(material, config, tuning, keep=keep)
    resumed = train(material, config, tuning, resume=snapshots[0])
    assert differences(whole, resumed) == []
    assert (resumed.best_epoch, resumed.best_loss) == (whole.best_epoch, whole.best_loss)
    assert not train(material, config, tuning, resume=snapshots[-1]).interrupted


def test_no_byte_depends_on_the_number_of_workers(material: Material) -> None:
    config = QUICK.updated(epochs=2)
    assert differences(train(material, config, workers=0), train(material, config, workers=2)) == []


def test_the_seed_decides_and_no_global_randomness_is_touched(material: Material) -> None:
    config = QUICK.updated(epochs=1)
    first = train(material, config)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    assert differences(first, train(material, config, workers=1)) == []
    assert torch.equal(torch.get_rng_state(), before)
    assert "encoder.audio.layer2.weight" in differences(first, train(material, config.updated(seed=1)))


def test_an_interrupted_training_gives_what_its_epochs_gave(material: Material) -> None:
    def stop(_: Snapshot) -> None:
        signal.raise_signal(signal.SIGINT)

    stopped = train(material, keep=stop)
    assert stopped.interrupted
    assert differences(stopped, train(material, QUICK.updated(epochs=1))) == []


def test_validation_hears_the_same_segments_each_epoch_and_training_others(
    material: Material, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: dict[str, list[Tensor]] = {"train": [], "evaluate": []}

    def listen(name: str) -> None:
        original = getattr(JointLearner, name)

        def noting(learner: JointLearner, batches: Any, *rest: Any) -> Any:
            kept = list(batches)
            heard[name].append(torch.cat([batch.rows["audio"] for batch in kept]))
            return original(learner, kept, *rest)

        monkeypatch.setattr(JointLearner, name, noting)

    listen("train")
    listen("evaluate")
    train(material, QUICK.updated(views_per_item=2))
    assert all(torch.equal(crops, heard["evaluate"][0]) for crops in heard["evaluate"])
    assert not torch.equal(heard["train"][0], heard["train"][1])
    steps = {"train": QUICK.batches_per_epoch, "evaluate": QUICK.val_batches}
    assert {name: len(crops[0]) // steps[name] for name, crops in heard.items()} == {
        "train": 2 * QUICK.batch_size,
        "evaluate": QUICK.batch_size,
    }
    for crops in (heard["train"][0], heard["evaluate"][0]):
        assert len(crops.unique(dim=0)) == len(crops)  # each place, and each view of an item, has a crop of its own


def test_the_best_epoch_is_kept_of_both(material: Material) -> None:
    """What it learns is wrong for validation, whose labels are exchanged: later epochs are worse."""
    held = material.recordings["val"]
    exchanged = replace(material, recordings={**material.recordings, "val": replace(held, labels=1 - held.labels)})
    long = train(exchanged, QUICK.updated(epochs=5))
    assert long.best_epoch == int(long.history.val_loss[:, 0].argmin())
    assert long.best_epoch < 4
    short = train(exchanged, QUICK.updated(epochs=long.best_epoch + 1))
    assert torch.equal(short.encoders["audio"]["layer2.weight"], long.encoders["audio"]["layer2.weight"])
    assert torch.equal(short.banks["audio"].out_weight, long.banks["audio"].out_weight)


def test_accumulated_batches_give_the_mean_of_their_gradients(material: Material) -> None:
    """Each batch is compared within itself: this is not the gradient of one batch of twice the size."""
    learner, drawn = make_learner(material, accumulate=2)
    gradients = []
    for batch in drawn:
        learner.modules["audio"].zero_grad()
        losses = learner._heads.losses(learner._encoded(batch, learner._autocast), torch.Generator())
        losses.sum().backward()
        gradients.append(learner.trained["audio"]["layer2.weight"].grad)
    learner.modules["audio"].zero_grad()
    learner.train(drawn, len(drawn), torch.Generator())
    together = learner.trained["audio"]["layer2.weight"].grad
    torch.testing.assert_close(together, (gradients[0] + gradients[1]) / 2)
    joined = Batch(
        {name: torch.cat([batch.rows[name] for batch in drawn]) for name in ("image", "audio")},
        {name: torch.cat([batch.labels[name] for batch in drawn]) for name in ("image", "audio")},
    )
    again, _ = make_learner(material)
    again._heads.losses(again._encoded(joined, again._autocast), torch.Generator()).sum().backward()
    larger = again.trained["audio"]["layer2.weight"].grad
    assert larger is not None
    assert together is not None
    assert (larger - together).norm() > 0.05 * larger.norm()


def make_learner(material: Material, **tuning: Any) -> tuple[JointLearner, list[Batch]]:
    """With batch normalisation frozen, so that batches do not meet there; and two batches."""
    generator = torch.Generator().manual_seed(0)
    banks: Any = {
        modality: HeadBank(1, dim, 16, 16, dropout=0.0, generator=generator)
        for modality, dim in (("image", 12), ("audio", DIM))
    }
    heads = Learner(Banks(banks), emo_clim(), torch.tensor([EVEN]), QUICK)
    learner = JointLearner([make_encoder()], heads, EncoderTuning(batchnorm="frozen", **tuning), CPU)
    encoder, part = make_encoder(), material.recordings["train"]
    crops = torch.stack([encoder.crop(item, generator) for item in part.items])
    images = material.train.features["image"].values
    rows = [slice(0, 6), slice(6, 12)]
    return learner, [
        Batch({"image": images[r], "audio": crops[r]}, {"image": part.labels[r], "audio": part.labels[r]}) for r in rows
    ]


def test_warm_up_raises_both_rates_and_clipping_bounds_the_step(material: Material) -> None:
    learner, drawn = make_learner(material, warmup_steps=4, learning_rate=1e-2)
    rates = []
    for _ in range(5):
        learner.train(drawn[:1], 1, torch.Generator())
        rates.append([group["lr"] for group in learner._heads.optimiser.param_groups])
    head, encoder = QUICK.learning_rate, 1e-2
    shares = (0.25, 0.5, 0.75, 1.0, 1.0)
    assert rates == [pytest.approx([share * head, share * encoder, share * encoder]) for share in shares]
    learner, drawn = make_learner(material, clip_norm=1e-3)
    learner.train(drawn[:1], 1, torch.Generator())
    groups = learner._heads.optimiser.param_groups
    norm = torch.stack([one.grad.norm() for group in groups for one in group["params"]]).norm()
    assert float(norm) == pytest.approx(1e-3, rel=1e-3)


def test_weight_decay_spares_norms_and_biases(material: Material) -> None:
    learner, _ = make_learner(material, weight_decay=0.5)
    heads, decayed, spared = learner._heads.optimiser.param_groups
    assert (heads["weight_decay"], decayed["weight_decay"], spared["weight_decay"]) == (QUICK.weight_decay, 0.5, 0.0)
    assert {id(one) for one in decayed["params"]} == {
        id(learner.trained["audio"][f"{n}.weight"]) for n in ("layer1.0", "layer2")
    }


def test_memory_does_not_grow_over_steps(material: Material) -> None:
    """But for the losses, one number each; a graph that one of them kept alive would keep every activation."""
    learner, drawn = make_learner(material)
    held = []

    def watched() -> Iterator[Batch]:
        for number in range(40):
            if number in (5, 39):
                gc.collect()
                held.append(held_tensors())
            yield drawn[number % 2]

    learner.train(watched(), 40, torch.Generator())
    (n_bytes, n_graphs), (n_bytes_later, n_graphs_later) = held
    assert n_graphs_later == n_graphs
    assert n_bytes_later - n_bytes <= 35 * torch.zeros(1).nbytes


def held_tensors() -> tuple[int, int]:
    """Bytes of all tensors that there are, and how many of them have a graph."""
    tensors = [one for one in gc.get_objects() if issubclass(type(one), Tensor)]
    storages = {}
    for one in tensors:
        with suppress(NotImplementedError):  # inside of a transform, which a test before left
            storages[one.untyped_storage().data_ptr()] = one.untyped_storage().nbytes()
    return sum(storages.values()), sum(one.grad_fn is not None for one in tensors)


def test_a_file_that_cannot_be_decoded_is_left_out_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    material = make_material(tmp_path)
    (tmp_path / "train-3.wav").write_bytes(b"no sound")
    with caplog.at_level(logging.WARNING):
        training = train(material, workers=1)
    assert [record.getMessage() for record in caplog.records if "train-3" in record.getMessage()] != []
    assert sum("train-3 cannot be used and is left out" in record.getMessage() for record in caplog.records) == 1
    assert training.history.train_loss.isfinite().all()
    for item in material.recordings["train"].items:
        assert item.path is not None
        item.path.write_bytes(b"no sound")
    with pytest.raises(ManifestError, match=r"fewer than 2 files of a batch can be used \(train-\d+: .*\); mend"):
        train(material)


@pytest.mark.parametrize("name", ["gone.wav", "needs_a_library.m4a"])
def test_crops_go_to_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "needs_a_library.m4a").write_bytes(b"\0\0\0\x10ftypM4A \0\0\2\0")
    items = [write_tone(tmp_path / f"{n}.wav", 100, LENGTH / RATE, n) for n in range(4)]
    items.insert(2, Item("lost", tmp_path / name))
    encoder = make_encoder()
    table = numbered(encoder, items, 7)
    assert table.values[:, 0].tolist() == [7, 8, 9, 10, 11]
    loader = CropLoader([CropMaker(encoder, items)], seed=0, workers=0, device=CPU)
    asked = Batch({"audio": torch.tensor([[4], [2], [0]])}, {"audio": torch.tensor([1, 0, 1])})
    (found,) = loader.fill([asked], "here")
    expected = torch.stack([encoder.crop(items[n], torch.Generator()) for n in (4, 0)])
    assert torch.equal(found.rows["audio"], expected)
    assert found.labels["audio"].tolist() == [1, 1]


def test_what_cannot_be_trained_is_refused(material: Material) -> None:
    with pytest.raises(ConfigError, match="unfreeze = last:3 is too many: the encoder has 2 layers"):
        train(material, tuning={"unfreeze": "last:3"})
    with pytest.raises(ConfigError, match="precision fp16 trains on a GPU only, not on cpu"):
        train(material, tuning={"precision": "fp16"})
    with pytest.raises(ConfigError, match="no term of the objective has audio"):
        train(material, objective=make_objective("emo_clim", ("image", "text"), [{}]))
    with pytest.raises(ConfigError, match="unfreeze = 'last:0' is not possible; it must be all, none, batchnorm or"):
        EncoderTuning(unfreeze="last:0")
    bare = AudioEncoder(make_encoder().spec, RATE, LENGTH, 0.0, torch.nn.Identity)
    assert trainable(bare.module, bare.input_shape) == {}
    for unfreeze in ("all", "none"):
        with pytest.raises(ConfigError, match="the encoder has no parameters to train; extract its features, and"):
            train(material, tuning={"unfreeze": unfreeze}, encoder=bare)
    with pytest.raises(ConfigError, match="batch_size = 3 is too small for 2 processes; give each 2 items"):
        train(material, QUICK.updated(batch_size=3), replicas=Replicas(0, 2))
    with pytest.raises(ConfigError, match="learning_rate would have no effect with unfreeze = none; leave one of"):
        EncoderTuning().updated(unfreeze="none", learning_rate=1e-3)
    frozen = EncoderTuning(unfreeze="none")
    assert EncoderTuning.model_validate(frozen.model_dump()) == frozen
