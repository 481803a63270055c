"""Training end to end with texts live, and with both modalities live: every objective, kills, workers, crops."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_encoder import (
    CPU,
    LENGTH,
    QUICK,
    RATE,
    Material,
    differences,
    make_encoder,
    make_material,
    make_net,
    make_text_encoder,
    make_text_net,
    train,
)

from emoclim.cache.memory import MemoryCache
from emoclim.data.content import ContentKeys
from emoclim.data.features import Split
from emoclim.data.manifest import Manifest
from emoclim.encoders.loading import load_encoder
from emoclim.errors import ConfigError, ManifestError
from emoclim.learning.end_to_end.crops import CropLoader, CropMaker
from emoclim.learning.end_to_end.encoder_trainer import check_trainable
from emoclim.learning.epochs import Snapshot
from emoclim.learning.objectives.loading import make_objective, objective_names
from emoclim.learning.sampling import Batch
from emoclim.learning.settings import EncoderTuning
from emoclim.modality import Modality
from emoclim.seeding import generator_for
from emoclim.stages.encoder_training import LiveModality, train_end_to_end
from emoclim.stages.extracting import extract
from emoclim.stages.head_training import train_heads

BOTH: tuple[Modality, ...] = ("audio", "text")
FROZEN = {"unfreeze": "none", "batchnorm": "frozen"}
NO_NORMS = {"unfreeze": "all", "batchnorm": "frozen", "learning_rate": 1e-2}
UNTRAINED = {"words", "content", "least_squares"}  # of encoders of words only, and in closed form
LEARNT = [name for name in objective_names() if name not in UNTRAINED]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return make_material(tmp_path_factory.mktemp("tones"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Material:
    """Recordings of one segment and texts of one passage, with valence and arousal, in pairs: a crop is the item."""
    made = make_material(tmp_path_factory.mktemp("whole"), seconds=LENGTH / RATE, words=6)
    generator = torch.Generator().manual_seed(0)
    for parts in (made.recordings, made.texts):
        for name, part in parts.items():
            n_items = len(part.items)
            parts[name] = replace(
                part, numbers=torch.rand(n_items, 2, generator=generator), pairs=torch.arange(n_items)
            )
    return made


def joined(**changes: Any) -> dict[str, Any]:
    return {"modalities": BOTH, "objective": make_objective("emo_clim", BOTH, [{}]), **changes}


def bare(material: Material, name: str) -> Split:
    """A split of which nothing is cached, with vectors of its classes."""
    classes = material.train.classes
    vectors = torch.randn(len(classes), 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Split({}, {}, classes, label_vectors=vectors)


def cached(live: list[LiveModality], name: str, split: Split) -> Split:
    """The same with the features of all items."""
    for one in live:
        part = getattr(one, name)
        with MemoryCache(one.encoder.spec) as cache:
            manifest = Manifest("all", one.modality, Path("all.csv"), tuple(part.items))
            extract(manifest, one.encoder, cache, batch_size=4, workers=0, device=CPU)
            keys = ContentKeys()
            features = replace(cache.read([keys(item) for item in part.items]), ids=tuple(i.id for i in part.items))
        split = replace(
            split,
            features={**split.features, one.modality: features},
            labels={**split.labels, one.modality: part.labels},
            numbers={**(split.numbers or {}), one.modality: part.numbers},
            pairs={**(split.pairs or {}), one.modality: part.pairs},
        )
    return split


@pytest.mark.parametrize("name", LEARNT)
def test_frozen_encoders_of_both_give_the_curve_of_cached_features(whole: Material, name: str) -> None:
    objective, again = (make_objective(name, BOTH, [{}]) for _ in range(2))
    train_split, val = (bare(whole, part) for part in ("train", "val"))
    live, weights = whole.live(*BOTH), objective.default_weights
    tuning = EncoderTuning(**FROZEN)
    joint = train_end_to_end(train_split, val, live, objective, weights, QUICK, tuning, device=CPU)
    splits = [cached(live, part, split) for part, split in (("train", train_split), ("val", val))]
    apart = train_heads(*splits, again, [weights], QUICK, device=CPU)
    assert joint.specs == {}
    assert joint.heads(*(one.encoder.spec for one in live)).specs.keys() == set(BOTH)
    assert joint.history.train_loss.isfinite().all()
    # features differ by rounding, as in test_train_end_to_end.py, and validation by more
    torch.testing.assert_close(joint.history.train_loss, apart.history.train_loss, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(joint.history.val_loss, apart.history.val_loss, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("name", LEARNT)
def test_both_encoders_learn_for_every_objective(whole: Material, name: str) -> None:
    objective = make_objective(name, BOTH, [{}])
    splits, live = (bare(whole, "train"), bare(whole, "val")), whole.live(*BOTH)
    config, tuning = QUICK.updated(epochs=1), EncoderTuning(**NO_NORMS)
    training = train_end_to_end(*splits, live, objective, objective.default_weights, config, tuning, device=CPU)
    for own, net in (("audio", make_net()), ("text", make_text_net())):
        before = net.state_dict()
        moved = {key for key, tensor in training.encoders[own].items() if not torch.equal(tensor, before[key])}
        assert moved == set(training.trained[own])
        assert len(moved) >= 5


def test_a_closed_form_is_refused(whole: Material) -> None:
    objective = make_objective("least_squares", BOTH, [{}])
    splits, live = (bare(whole, "train"), bare(whole, "val")), whole.live(*BOTH)
    with pytest.raises(ConfigError, match="has no loss that trains an encoder"):
        train_end_to_end(*splits, live, objective, (1.0,), QUICK, EncoderTuning(**NO_NORMS), device=CPU)


def test_texts_live_beside_cached_pictures(material: Material) -> None:
    objective = make_objective("emo_clim", ("image", "text"), [{}])
    free, frozen = (
        train(material, QUICK.updated(epochs=6), tuning, modalities=("text",), objective=objective)
        for tuning in (NO_NORMS, FROZEN)
    )
    assert set(free.trained["text"]) == set(dict(make_text_net().named_parameters()))
    assert free.specs.keys() == {"image"}
    assert free.history.train_loss[-1] < frozen.history.train_loss[-1] - 0.05


@pytest.mark.parametrize("tuning", [{}, {"warmup_steps": 6, "clip_norm": 0.5, "accumulate": 3, "precision": "bf16"}])
def test_killed_after_an_epoch_and_resumed_it_ends_the_same(material: Material, tuning: Mapping[str, Any]) -> None:
    config, snapshots = QUICK.updated(dropout=0.5), list[Snapshot]()

    def keep(snapshot: Snapshot) -> None:
        snapshots.append({name: tensor.clone() for name, tensor in snapshot.items()})

    done = train(material, config, tuning, keep=keep, **joined())
    for snapshot in snapshots[:-1]:
        assert differences(done, train(material, config, tuning, resume=snapshot, **joined())) == []


def test_no_byte_depends_on_the_number_of_workers(material: Material) -> None:
    config = QUICK.updated(epochs=1)
    first = train(material, config, workers=0, **joined())
    assert differences(first, train(material, config, workers=2, **joined())) == []
    assert "train_loss" in differences(first, train(material, config.updated(seed=1), **joined()))


def test_crops_of_each_modality_have_generators_of_their_own(material: Material) -> None:
    parts = {"audio": material.recordings["train"].items, "text": material.texts["train"].items}
    encoders = {"audio": make_encoder(), "text": make_text_encoder()}
    makers = [CropMaker(encoders[own], items) for own, items in parts.items()]
    rows = {"audio": torch.tensor([[4], [2]]), "text": torch.tensor([[0], [7]])}
    labels = {own: torch.tensor([0, 1]) for own in parts}
    (found,) = CropLoader(makers, seed=5, workers=0, device=CPU).fill([Batch(rows, labels)], "crop/3")
    for own, items in parts.items():
        for place, row in enumerate(rows[own][:, 0].tolist()):
            generator = generator_for(f"{own} crop/3/0/{place}", 5)
            assert torch.equal(found.rows[own][place], encoders[own].crop(items[row], generator))
    alone = CropLoader(makers[1:], seed=5, workers=0, device=CPU)
    passages = {
        tuple(crop.tolist())
        for number in range(8)
        for batch in alone.fill([Batch({"text": torch.tensor([[3], [3]])}, {})], f"crop/{number}")
        for crop in batch.rows["text"]
    }
    assert len(passages) > 2  # a text of 30 words has four passages of eight


def test_an_item_of_either_that_cannot_be_read_is_left_out(material: Material, tmp_path: Path) -> None:
    spoilt = make_material(tmp_path)
    (tmp_path / "train-3.wav").write_bytes(b"no sound")
    items = list(spoilt.texts["train"].items)
    items[5] = replace(items[5], text=None, path=tmp_path / "gone.txt")
    spoilt.texts["train"] = replace(spoilt.texts["train"], items=items)
    training = train(spoilt, QUICK, **joined())
    assert training.failures.keys() == {"train-3", "train-5"}
    assert training.history.train_loss.isfinite().all()


def test_what_cannot_be_trained_is_refused_by_the_name_of_its_encoder(material: Material, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="words: the encoder has no batch normalisation to train"):
        train(material, tuning={"unfreeze": "batchnorm"}, **joined())
    with pytest.raises(ConfigError, match="no term of the objective has text"):
        train(material, modalities=BOTH)
    with pytest.raises(ManifestError, match="the train split has no text items"):
        train(material, **joined(modalities=("audio",)))
    (tmp_path / "words.txt").write_text("sea 1 2\nstorm 3 4\n")
    words = load_encoder("word_vectors", checkpoint=tmp_path / "words.txt")  # no file of training would hold its words
    with pytest.raises(ConfigError, match="word_vectors: the encoder has no parameters to train"):
        check_trainable([make_encoder(), words], EncoderTuning(), QUICK, 1, CPU)
