"""Windows of cached segments: of the seconds of a crop, read by a network whose dropout goes by a seed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from small_encoder import CPU, LENGTH, RATE, make_encoder, write_tone
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.data.manifest import Item
from emoclim.errors import ManifestError
from emoclim.learning.end_to_end.crops import CropLoader, CropMaker
from emoclim.learning.end_to_end.trainable import set_mode
from emoclim.learning.end_to_end.windows import WindowEncoder, WindowNet
from emoclim.learning.epochs import Callbacks, Snapshot
from emoclim.learning.objectives.loading import make_objective
from emoclim.learning.sampling import Batch
from emoclim.learning.settings import EncoderTuning
from emoclim.stages.encoder_training import JointTraining, LabelledItems, LiveModality, train_end_to_end

SPEC = FeatureSpec("frames", "image", 3, "none", {})
SECONDS = 6


def make_features(lengths: list[int], seconds: list[float] | None = None, first: int = 0) -> Features:
    """Features whose segments are the number of their second, thrice."""
    rows = torch.cat([torch.arange(length, dtype=torch.float32) for length in lengths])
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    ids = tuple(str(first + n) for n in range(len(lengths)))
    known = None if seconds is None else torch.tensor(seconds)
    return Features(SPEC, ids, torch.zeros(len(lengths), 3), rows[:, None].expand(-1, 3), offsets, rows, known)


def make_windows(*tables: Features, crop_seconds: float = 6.15) -> WindowEncoder:
    return WindowEncoder.of({str(n): table for n, table in enumerate(tables)}, crop_seconds, seed=1)


def test_a_window_begins_at_the_second_of_the_crop() -> None:
    windows = make_windows(make_features([30, 4], [30.4, 4.2]))
    assert windows.input_shape == (SECONDS, 3)
    begins = set()
    for seed in range(200):
        generator = torch.Generator().manual_seed(seed)
        place = float(torch.rand((), generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
        window = windows.crop(Item("0", text="-"), generator)
        begin = round(place * (30.4 - 6.15))
        assert window[:, 0].tolist() == list(range(begin, begin + SECONDS))
        begins.add(begin)
    assert begins == set(range(25))
    short = windows.crop(Item("1", text="-"), torch.Generator().manual_seed(0))
    assert short[:, 0].tolist() == [0, 1, 2, 3, 3, 3]
    bare = make_windows(make_features([0, 4])).crop(Item("0", text="-"), torch.Generator().manual_seed(0))
    assert not bare.any()


def test_lengths_follow_the_crop_and_segments_are_asked_for() -> None:
    assert make_windows(make_features([9]), crop_seconds=3.69).length == 3
    bare = Features(SPEC, ("0",), torch.zeros(1, 3))
    with pytest.raises(ManifestError, match="have no segments to make windows of"):
        make_windows(bare)


def test_crops_of_a_pair_are_of_the_same_seconds(tmp_path: Path) -> None:
    """A rising recording and its seconds: both tell where the crop is."""
    encoder, n = make_encoder(), 4
    crop_seconds = LENGTH / RATE
    items = [write_tone(tmp_path / f"{i}.wav", 300, 8.0, i) for i in range(n)]
    ramp = torch.linspace(0, 8, 8 * RATE)
    windows = make_windows(make_features([8] * n, [8.0] * n), crop_seconds=crop_seconds)
    makers = [
        CropMaker(encoder, items, lambda _, generator: encoder.cut(ramp, generator)),
        CropMaker(windows, [Item(str(i), text="-") for i in range(n)]),
    ]
    rows = {"audio": torch.arange(n)[:, None], "image": torch.arange(n)[:, None]}
    asked = Batch(rows, {}, pairs={name: torch.arange(n) for name in rows})
    for paired in (True, False):
        loader = CropLoader(makers, seed=0, workers=0, device=CPU, paired=paired)
        (batch,) = loader.fill([asked], "crop")
        starts, seconds = batch.rows["audio"][:, 0], batch.rows["image"][:, 0, 0]
        assert torch.equal(starts.round(), seconds) == paired


def test_dropout_goes_by_its_seed_and_is_off_in_validation() -> None:
    net = WindowNet(SECONDS, 3)
    windows = torch.randn(2, SECONDS, 3)
    (dropout,) = set_mode(net, "train")
    assert not net.output.training
    found: list[Tensor] = []
    for dropout.seed in (1, 1, 2):
        found.append(net(windows))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    net.eval()
    assert torch.equal(net(windows), net(windows))
    assert all(layer.training for layer in net.layers)  # else there are no gradients on a GPU


def train(tmp_path: Path, **how: Any) -> JointTraining:
    parts = {}
    splits = {}
    for place, name in enumerate(("train", "val")):
        recordings = [write_tone(tmp_path / f"{name}-{i}.wav", 200 * (1 + i), 3.0, i) for i in range(6)]
        pairs = torch.arange(6)
        features = make_features([3] * 6, [3.0] * 6, 6 * place)
        labels = torch.full((6,), -1)
        splits[name] = Split({"image": features}, {"image": labels}, (), pairs={"image": pairs})
        shown = [Item(id_, text="-") for id_ in features.ids]
        parts[name] = [LabelledItems(items, labels, pairs=pairs) for items in (recordings, shown)]
    windows = make_windows(*(split.features["image"] for split in splits.values()), crop_seconds=2.0)
    live = [
        LiveModality(encoder, parts["train"][place], parts["val"][place])
        for place, encoder in enumerate((make_encoder(), windows))
    ]
    objective = make_objective("nt_xent", ("image", "audio"), [{"head": "projector"}])
    config = TrainConfig(
        epochs=2, batches_per_epoch=2, val_batches=1, batch_size=4, hidden_dim=16, embedding_dim=16, dropout=0.0
    )
    tuning = EncoderTuning(learning_rate=1e-2, unfreeze="after:1", batchnorm="trained")
    return train_end_to_end(splits["train"], splits["val"], live, objective, (1.0,), config, tuning, device=CPU, **how)


def test_a_network_is_trained_beside_windows_and_goes_on_with_the_same_bytes(tmp_path: Path) -> None:
    snapshots: list[Snapshot] = []

    def keep(snapshot: Snapshot) -> None:
        snapshots.append({name: tensor.clone() for name, tensor in snapshot.items()})

    whole = train(tmp_path, callbacks=Callbacks(keep=keep))
    for how in ({"resume": snapshots[0]}, {"workers": 1}):
        again = train(tmp_path, **how)
        for own, state in whole.encoders.items():
            assert all(torch.equal(again.encoders[own][name], tensor) for name, tensor in state.items()), own
        assert torch.equal(again.history.val_loss, whole.history.val_loss)
    before = make_encoder().module.state_dict()
    moved = {name for name, tensor in before.items() if not torch.equal(whole.encoders["audio"][name], tensor)}
    assert not any(name.startswith("layer1") for name in moved)  # nor its statistics
    assert {"layer2.weight", "bn.running_mean"} <= moved
    assert whole.trained["image"][0].startswith("layers.0.")
