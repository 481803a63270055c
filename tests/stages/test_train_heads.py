"""Training: a sweep equals its solo runs, the best epoch is kept per head, and everything follows from the seed."""

import signal
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from objective_cases import TERMS, emo_clim
from torch import Tensor

from emoclim.config import TrainConfig
from emoclim.data.features import Features, FeatureSpec, Split
from emoclim.errors import CacheError, ConfigError, ManifestError
from emoclim.learning.banks.base import HeadBank
from emoclim.learning.branches import Banks
from emoclim.learning.epochs import Callbacks, Epoch
from emoclim.learning.heads_file import save_heads
from emoclim.learning.learner import BestHeads, Learner
from emoclim.learning.sampling import Batch
from emoclim.seeding import generator_for
from emoclim.stages.head_training import Training, train_heads

CPU = torch.device("cpu")
CLASSES = ("funny", "happy", "sad", "scary")
IMAGE = FeatureSpec("clip", "image", 37, "none", {})  # the widths of features are any; those of heads fill cache lines
AUDIO = FeatureSpec("clap", "audio", 24, "none", {})
QUICK = TrainConfig(
    epochs=4, batches_per_epoch=50, val_batches=10, batch_size=32, hidden_dim=64, embedding_dim=32, learning_rate=1e-3
)
SHORT = QUICK.updated(epochs=2, batches_per_epoch=5, val_batches=2)
EVEN = (0.25, 0.25, 0.25, 0.25)


def split(seed: int, n: int = 120) -> Split:
    """Features that lean towards a direction per class; three segments per clip, none for the last two."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % len(CLASSES)
    features: dict[Any, Features] = {}
    for spec in (IMAGE, AUDIO):
        centres = torch.randn(len(CLASSES), spec.dim, generator=torch.Generator().manual_seed(spec.dim))
        values = centres[labels] + 2 * torch.randn(n, spec.dim, generator=generator)
        features[spec.modality] = Features(spec, tuple(map(str, range(n))), values)
    segments = features["audio"].values[:-2].repeat_interleave(3, dim=0)
    segments = segments + torch.randn(segments.shape, generator=generator)
    offsets = torch.cat([torch.arange(0, 3 * n - 5, 3), torch.tensor([3 * n - 6] * 2)])
    features["audio"] = replace(features["audio"], segments=segments, offsets=offsets)
    return Split(features, {"image": labels, "audio": labels.clone()}, CLASSES)


def train(weights: Any = (EVEN,), config: TrainConfig = SHORT, **changes: Any) -> Training:
    objective = emo_clim(changes.pop("temperature", [0.07] * len(weights)))
    called = {name: changes.pop(name) for name in ("track", "keep", "watch") if name in changes}
    changes["callbacks"] = Callbacks(**called)
    given: dict[str, Any] = {"train": split(0), "val": split(1, 60), "objective": objective, **changes}
    return train_heads(weights=weights, config=config, device=CPU, **given)


def tensors(training: Training) -> dict[str, Tensor]:
    """Every parameter and statistic of the kept heads, leading with K."""
    return {
        f"{modality}.{name}": tensor
        for modality, bank in training.heads.banks.items()
        for name, tensor in bank.state_dict().items()
    }


def viewed(of: Split, seed: int) -> Split:
    """Two random views of each image."""
    spec = replace(IMAGE, settings={"views": 2})
    table, n = of.features["image"], len(of.features["image"])
    views = torch.randn(2 * n, IMAGE.dim, generator=torch.Generator().manual_seed(seed))
    kept = replace(table, spec=spec, segments=views, offsets=torch.arange(0, 2 * n + 1, 2), starts=torch.zeros(2 * n))
    return replace(of, features={**of.features, "image": kept})


def test_validation_takes_the_centre_of_an_image_and_training_its_views() -> None:
    first, other, third = (
        train(train=viewed(split(0), of_train), val=viewed(split(1, 60), of_val))
        for of_train, of_val in ((1, 2), (1, 3), (4, 2))
    )
    assert torch.equal(first.history.val_loss, other.history.val_loss)
    assert not torch.equal(first.history.train_loss, third.history.train_loss)


def test_views_of_an_item_are_rows_of_training_only(monkeypatch: pytest.MonkeyPatch) -> None:
    objective, sizes = emo_clim([0.07]), set()
    losses = objective.losses

    def noting(outputs: Any, batch: Batch, generator: torch.Generator | None) -> tuple[Tensor, ...]:
        sizes.add((generator is not None, len(batch.labels["image"]), len(batch.rows["audio"])))
        return losses(outputs, batch, generator)

    monkeypatch.setattr(objective, "losses", noting)
    train(config=SHORT.updated(views_per_item=2), objective=objective)
    assert sizes == {(True, 64, 64), (False, 32, 32)}


@pytest.fixture(scope="module")
def sweep_weights() -> Tensor:
    weights = torch.rand(8, 4, generator=torch.Generator().manual_seed(3))
    weights[0] = torch.tensor(EVEN)
    weights[3] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    return weights


@pytest.fixture(scope="module")
def sweep(sweep_weights: Tensor) -> Training:
    return train(sweep_weights, QUICK)


@pytest.mark.parametrize("k", [0, 3, 7])
def test_a_head_of_a_sweep_is_its_solo_run_to_the_bit(sweep: Training, sweep_weights: Tensor, k: int) -> None:
    """200 steps in float32 with dropout: parameters, statistics, losses and best epoch."""
    solo = train(sweep_weights[k : k + 1], QUICK)
    together = tensors(sweep)
    for name, tensor in tensors(solo).items():
        assert torch.equal(tensor[0], together[name][k]), name
    assert torch.equal(solo.history.train_loss[:, 0], sweep.history.train_loss[:, k])
    assert torch.equal(solo.history.val_terms[:, 0], sweep.history.val_terms[:, k])
    assert torch.equal(solo.history.val_loss[:, 0], sweep.history.val_loss[:, k])
    assert solo.best_epoch[0] == sweep.best_epoch[k]


def test_heads_of_different_weights_differ(sweep: Training) -> None:
    out = sweep.heads.banks["image"].out_weight.detach()
    for k in range(1, 8):
        assert not torch.equal(out[0], out[k])


def test_what_a_training_holds(sweep: Training, sweep_weights: Tensor) -> None:
    assert sweep.heads.n_heads == 8
    assert sweep.heads.specs == {"image": IMAGE, "audio": AUDIO}
    assert (sweep.config, sweep.heads.objective.terms) == (QUICK, TERMS)
    assert torch.equal(sweep.weights, sweep_weights)
    assert sweep.history.train_loss.shape == sweep.history.val_loss.shape == (4, 8)
    assert sweep.history.val_terms.shape == (4, 8, 4)
    weighted = (sweep.history.val_terms * sweep_weights).sum(dim=2)
    torch.testing.assert_close(sweep.history.val_loss, weighted)
    assert torch.equal(sweep.best_epoch, sweep.history.val_loss.argmin(dim=0))


def test_a_thousand_heads_train_at_once() -> None:
    weights = torch.rand(1000, 4, generator=torch.Generator().manual_seed(5))
    small = SHORT.updated(hidden_dim=16, embedding_dim=16, batch_size=8)
    many = train(weights, small)
    assert many.best_loss.isfinite().all()
    for k in (0, 999):
        solo = train(weights[k : k + 1], small)
        assert all(torch.equal(tensors(solo)[name][0], tensor[k]) for name, tensor in tensors(many).items())


def test_it_learns_the_classes(sweep: Training) -> None:
    """Items of the validation split are nearest to audio of their own class far more often than by chance (1 in 4)."""
    val = split(1, 60)
    image, audio = (sweep.heads.vectors(val.features[spec.modality])[0][0] for spec in (IMAGE, AUDIO))
    nearest = val.labels["audio"][(image @ audio.T).argmax(dim=1)]
    assert (nearest == val.labels["image"]).double().mean() > 0.6
    assert (sweep.history.val_loss[-1] < sweep.history.val_loss[0]).all()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("one", 42), ("two", 42), ("other", 43)):
        torch.manual_seed(len(name))  # no part of it
        save_heads(train(config=SHORT.updated(seed=seed)).heads, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert (tmp_path / "one").read_bytes() != (tmp_path / "other").read_bytes()


def test_no_global_randomness_is_touched() -> None:
    before = torch.get_rng_state()
    train()
    assert torch.equal(torch.get_rng_state(), before)


def test_validation_batches_are_drawn_once_from_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in every epoch, whatever training drew in between, and other ones for another seed."""
    seen: list[tuple[Tensor, Tensor]] = []
    evaluate = Learner.evaluate

    def noting(learner: Learner, batches: Sequence[Batch]) -> tuple[Tensor, ...]:
        rows = torch.cat([rows.flatten() for batch in batches for rows in batch.rows.values()])
        seen.append((rows, torch.cat([labels for batch in batches for labels in batch.labels.values()])))
        return evaluate(learner, batches)

    monkeypatch.setattr(Learner, "evaluate", noting)
    train()
    train(config=SHORT.updated(batches_per_epoch=3, dropout=0, hidden_dim=16))
    train(config=SHORT.updated(seed=7, epochs=1))
    first, *others, last = seen
    assert len(others) == 3
    assert all(torch.equal(first[0], rows) and torch.equal(first[1], labels) for rows, labels in others)
    assert not torch.equal(first[1], last[1])


def test_training_and_validation_draw_segments() -> None:
    """Values of items that have segments are never looked at."""
    train_split, val_split = split(0), split(1, 60)
    first = train(train=train_split, val=val_split)
    for part in (train_split, val_split):
        part.features["audio"].values[:-2] = 7.0
    assert all(
        torch.equal(a, b)
        for a, b in zip(tensors(first).values(), tensors(train(train=train_split, val=val_split)).values(), strict=True)
    )


def test_progress_is_reported_by_epoch() -> None:
    seen: list[tuple[str, float | None, int]] = []

    def track(sequence: Iterable[Any], description: str = "", total: float | None = None) -> Iterable[Any]:
        for done, each in enumerate(sequence, start=1):
            yield each
            seen.append((description, total, done))

    train(track=track)
    assert seen == [("Training heads", 2, 1), ("Training heads", 2, 2)]


def test_each_epoch_is_told_also_of_those_before_a_stop() -> None:
    told: list[Epoch] = []
    snapshots: list[Any] = []
    weights = (EVEN, (1.0, 0.0, 0.0, 0.0))
    whole = train(
        weights, watch=told.append, keep=lambda kept: snapshots.append({k: v.clone() for k, v in kept.items()})
    )
    train(weights, watch=told.append, resume=snapshots[0])
    assert [epoch.number for epoch in told] == [0, 1, 0, 1]
    for epoch in told:
        for name in ("train_loss", "val_loss", "val_terms"):
            assert torch.equal(getattr(epoch, name), getattr(whole.history, name)[epoch.number]), name


def test_products_in_bfloat16_leave_all_else_in_full() -> None:
    full, coarse = train(config=QUICK), train(config=QUICK.updated(precision="bf16"))
    assert all(tensor.dtype == torch.float32 for tensor in tensors(coarse).values())
    assert not torch.equal(full.history.train_loss, coarse.history.train_loss)
    torch.testing.assert_close(coarse.history.train_loss, full.history.train_loss, rtol=0.02, atol=0)
    torch.testing.assert_close(coarse.best_loss, full.best_loss, rtol=0.02, atol=0)
    sharp = train(config=SHORT.updated(precision="bf16"), temperature=[0.005])
    assert sharp.history.train_loss.isfinite().all()
    assert not any(tensor.bfloat16().float().equal(tensor) for tensor in tensors(coarse).values())


def test_a_temperature_for_each_head() -> None:
    both = train((EVEN, EVEN), temperature=(0.07, 0.5))
    for k, temperature in enumerate((0.07, 0.5)):
        alone = train(temperature=[temperature])
        assert torch.equal(alone.history.train_loss[:, 0], both.history.train_loss[:, k])
        assert all(torch.equal(tensors(alone)[name][0], tensor[k]) for name, tensor in tensors(both).items())


@pytest.mark.parametrize(
    ("temperature", "told"), [((0.1,), "2 rows of loss weights for 1 heads"), ((0.1, 0.0), "temperature = 0.0")]
)
def test_temperatures_that_cannot_be_used(temperature: Sequence[float], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        train((EVEN, EVEN), temperature=temperature)


@pytest.mark.parametrize(("patience", "stopped_after"), [(None, 1), (None, 3), (None, 4), (2, 2)])
def test_what_goes_on_after_a_stop_gives_the_bytes_of_what_was_never_stopped(
    patience: int | None, stopped_after: int
) -> None:
    config = SHORT.updated(epochs=4, patience=patience)
    weights, snapshots = (EVEN, (1.0, 0.0, 0.0, 0.0)), []
    whole = train(weights, config, keep=lambda kept: snapshots.append({k: v.clone() for k, v in kept.items()}))
    resumed = train(weights, config, resume=snapshots[stopped_after - 1])
    for name, tensor in tensors(whole).items():
        assert torch.equal(tensors(resumed)[name], tensor), name
    for name in ("train_loss", "val_loss", "val_terms"):
        assert torch.equal(getattr(resumed.history, name), getattr(whole.history, name)), name
    assert torch.equal(resumed.best_epoch, whole.best_epoch)


def test_an_early_stop_stays_one() -> None:
    wild = SHORT.updated(learning_rate=0.3, epochs=40, patience=1)
    snapshots: list[Any] = []
    whole = train(config=wild, keep=snapshots.append)
    assert len(whole.history.val_loss) < 40
    again = train(config=wild, resume=snapshots[-1])
    assert len(again.history.val_loss) == len(whole.history.val_loss)


def test_an_interrupt_ends_with_what_is_done() -> None:
    def interrupt(kept: Any) -> None:
        seen.append(kept)
        if len(seen) == 2:
            raise KeyboardInterrupt

    seen: list[Any] = []
    config = SHORT.updated(epochs=9)
    stopped = train(config=config, keep=interrupt)
    assert stopped.interrupted
    assert len(stopped.history.val_loss) == 2
    finished = train(config=SHORT.updated(epochs=2))
    assert not finished.interrupted
    assert all(torch.equal(tensors(stopped)[name], tensor) for name, tensor in tensors(finished).items())


def test_a_head_that_is_lost_spares_the_others(caplog: pytest.LogCaptureFixture) -> None:
    steep = train((EVEN, EVEN), SHORT.updated(learning_rate=0.1), temperature=(0.07, 1e-42))
    assert steep.best_loss[0].isfinite()
    assert steep.best_loss[1].isinf()
    assert "the validation loss of 1 of 2 heads was never finite; lower the learning rate" in caplog.text


def follow(losses: list[list[float]], patience: int | None) -> tuple[BestHeads, list[bool]]:
    """A bank of three whose output biases are the number of the epoch, judged by given losses."""
    bank = HeadBank(3, 4, 4, 2, dropout=0, generator=generator_for("init", 0))
    best = BestHeads(Banks({"image": bank}), patience, CPU)
    goes_on = []
    for epoch, loss in enumerate(losses):
        with torch.no_grad():
            bank.out_bias.fill_(epoch)
            bank.running_mean.fill_(epoch)
        goes_on.append(best.update(epoch, torch.tensor(loss)))
    return best, goes_on


def test_each_head_keeps_its_own_best_epoch() -> None:
    best, goes_on = follow([[3.0, 3.0, 3.0], [2.0, 4.0, 3.0], [1.0, 4.0, float("nan")], [2.0, 2.5, 2.0]], patience=None)
    assert best.epoch.tolist() == [2, 3, 3]
    assert best.loss.tolist() == [1.0, 2.5, 2.0]
    assert best.kept["image"].out_bias[:, :2].tolist() == [[2, 2], [3, 3], [3, 3]]
    assert best.kept["image"].running_mean[:, 0].tolist() == [2, 3, 3]
    assert goes_on == [True] * 4


def test_the_first_of_equal_epochs_is_kept() -> None:
    assert follow([[1.0] * 3, [1.0] * 3], patience=None)[0].epoch.tolist() == [0, 0, 0]


def test_epochs_after_the_patience_do_not_count() -> None:
    """Patience 2: head 0 gets better just in time, head 1 one epoch too late, head 2 never."""
    losses = [[3.0, 3.0, 3.0], [4.0, 4.0, 4.0], [2.0, 4.0, 4.0], [4.0, 1.0, 4.0], [4.0, 1.0, 4.0]]
    best, goes_on = follow(losses, patience=2)
    assert best.epoch.tolist() == [2, 0, 0]
    assert best.kept["image"].out_bias[:, 0].tolist() == [2, 0, 0]
    assert goes_on == [True, True, True, True, False]


def test_the_loop_ends_when_all_heads_are_past_their_patience() -> None:
    wild = SHORT.updated(learning_rate=0.3, epochs=40, patience=2)
    training = train((EVEN, (1, 0, 0, 0)), wild)
    ran = len(training.history.val_loss)
    assert ran == int(training.best_epoch.max()) + 3 < 40


def test_losses_that_are_never_finite_are_told_and_leave_the_head_as_it_began(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = train(config=SHORT.updated(learning_rate=1e30))
    assert "the validation loss of 1 of 1 heads was never finite" in caplog.text
    assert lost.best_loss.isinf().all()
    assert all(tensor.isfinite().all() for tensor in tensors(lost).values())


def test_ctrl_c_waits_for_the_end_of_what_belongs_together() -> None:
    def press(epoch: Epoch) -> None:
        signal.raise_signal(signal.SIGINT)
        told.append(epoch.number)

    before = signal.getsignal(signal.SIGINT)
    told: list[int] = []
    snapshots: list[Any] = []
    stopped = train(watch=press, keep=lambda kept: snapshots.append(len(kept["history.1"])))
    assert stopped.interrupted
    assert told == [0]
    assert snapshots == [1]  # kept, though it came before
    assert len(stopped.history.val_loss) == 1
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ([], "0 rows of loss weights for 0 heads"),
        ((0.25, 0.25, 0.25, 0.25), "a row each"),
        (torch.ones(4), "a row each"),
        (((1, 1, 1),), r"loss weights \(1, 1, 1\) must be 4 finite numbers"),
        (((1, 1, 1, 1), (0, 0, 0, 0)), r"loss weights \(0, 0, 0, 0\)"),
        (torch.full((2, 4), torch.nan), r"loss weights \(nan"),
    ],
)
def test_weights_that_cannot_be_used(weights: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        train(weights)


@pytest.mark.parametrize("name", ["train", "val"])
def test_a_class_without_items_is_told_with_modality_and_split(name: str) -> None:
    part = split(0)
    part.labels["audio"][part.labels["audio"] == 2] = 1
    with pytest.raises(ManifestError, match=f"audio items of the {name} split lack class 'sad'"):
        train(train=part if name == "train" else split(0), val=part if name == "val" else split(1))


def test_features_that_are_not_finite_are_told() -> None:
    part = split(0)
    part.features["image"].values[4, 1] = torch.inf
    with pytest.raises(CacheError, match="1 of the 120 rows of image features of the train split"):
        train(train=part)
