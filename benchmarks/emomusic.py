"""Valence and arousal of music, predicted by heads and by the usual regressions from the same features, in ten folds.

``--features`` names an npz with ids, values and valence_arousal, such as the 744 clips of emoMusic (M. Soleymani et
al., "1000 songs for emotional analysis of music", CrowdMM 2013) in the features of K. Choi et al., "Transfer learning
for music classification and regression tasks", ISMIR 2017; without it, so many items are generated, which only tries
whether everything works.

Everything goes through the commands' own steps: the features are imported once, a manifest for each fold says which
items are in which part, heads are trained by ``va_regression`` and evaluated. The fold after the tested one is
validation: it chooses the epoch. Peers are scikit-learn's support vectors, as they come, and ridge regression with a
strength found by itself, both on standardised features; they take the validation fold for training, too. R2 is of the
items of all folds together, and that of heads the mean over seeds. Goals are the public figures of a plain support
vector regression, 0.512 for valence and 0.651 for arousal, less 0.02.
"""

import csv
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from record import Row, command_line, publish
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from emoclim.config import EvaluateConfig, TrainConfig
from emoclim.metrics import bootstrap_regression
from emoclim.pipeline import HeadsConfig, Resources, TrainHeads, Workspace, evaluate_run, import_features, start

Floats = NDArray[np.float64]
NAMES = ("valence", "arousal")
GOALS = {"valence": ">= 0.492 R2", "arousal": ">= 0.631 R2"}
PEERS = {"support vectors": SVR, "ridge regression": lambda: RidgeCV(np.logspace(-1, 4, 20))}


@dataclass(frozen=True)
class Data:
    """Features, and valence and arousal, of items."""

    ids: list[str]
    values: NDArray[np.float32]  # (N, D)
    numbers: Floats  # (N, 2)


def main() -> None:
    """Train, predict, compare."""
    parser = command_line(__doc__)
    parser.add_argument("--features", type=Path, help="npz file; default generated")
    parser.add_argument("--generated", type=int, default=200, help="items, without --features")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0, help="of the folds")
    asked = parser.parse_args()
    data = generated(asked.generated) if asked.features is None else read(asked.features)
    order = np.random.default_rng(asked.seed).permutation(len(data.ids))
    folds = np.array_split(order, asked.folds)
    config = TrainConfig(
        batch_size=32,
        learning_rate=asked.learning_rate,
        epochs=asked.epochs,
        batches_per_epoch=20,
        val_batches=10,
        hidden_dim=64,
        patience=20,
    )
    with tempfile.TemporaryDirectory() as scratch:
        ours = by_heads(data, folds, config, asked.seeds, Path(scratch))
    theirs = {name: by_peer(make, data, folds) for name, make in PEERS.items()}
    publish("Valence and arousal", __doc__, asked, *report(data, ours, theirs), "scikit-learn", "torch")


def read(path: Path) -> Data:
    """Read an npz."""
    with np.load(path) as arrays:
        return Data(arrays["ids"].astype(str).tolist(), arrays["values"], arrays["valence_arousal"].astype(float))


def generated(count: int) -> Data:
    """Items whose features say something of their numbers."""
    draw = np.random.default_rng(0)
    numbers = draw.random((count, 2))
    values = numbers @ draw.standard_normal((2, 16)) + draw.standard_normal((count, 16))
    return Data([str(n) for n in range(count)], values.astype(np.float32), numbers)


def by_heads(data: Data, folds: list[NDArray[np.int64]], config: TrainConfig, seeds: int, root: Path) -> Floats:
    """Predict each item by heads that have not seen it, (seeds, N, 2)."""
    np.savez(root / "features.npz", ids=np.array(data.ids), values=data.values)
    workspace, found = Workspace(root), np.zeros((seeds, *data.numbers.shape))
    places = {id_: place for place, id_ in enumerate(data.ids)}
    for number, test in enumerate(folds):
        name, val = f"fold{number}", folds[(number + 1) % len(folds)]
        write_manifest(root / f"{name}.csv", data, dict.fromkeys(val, "val") | dict.fromkeys(test, "test"))
        import_features(root / "features.npz", "audio", "given", source=root / f"{name}.csv", workspace=workspace)
        asked = HeadsConfig(
            libraries={"audio": name},
            objective="va_regression",
            base=config,
            settings={"seed": tuple(range(seeds))},
        )
        start(TrainHeads(), asked, Resources(workspace, "cpu"), name=name)
        for seed in range(seeds):
            done = evaluate_run(name, EvaluateConfig(head=seed), plots=False, workspace=workspace, device="cpu")
            items = pq.read_table(done.folder / "numbers.parquet").to_pydict()
            rows = [places[id_] for id_ in items["id"]]
            found[seed, rows] = np.column_stack([items[f"predicted_{name}"] for name in NAMES])
    return found


def write_manifest(path: Path, data: Data, splits: Mapping[int, str]) -> None:
    """List all items, in one part each."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "path", *NAMES, "split"])
        for place, id_ in enumerate(data.ids):
            numbers = [repr(float(value)) for value in data.numbers[place]]
            rows.writerow([id_, f"{id_}.mp3", *numbers, splits.get(place, "train")])


def by_peer(make: type, data: Data, folds: list[NDArray[np.int64]]) -> Floats:
    """Predict each item by a regression that has not seen it, (N, 2)."""
    found = np.zeros(data.numbers.shape)
    for test in folds:
        train = np.setdiff1d(np.arange(len(data.ids)), test)
        for column in range(2):
            model = make_pipeline(StandardScaler(), make())
            model.fit(data.values[train], data.numbers[train, column])
            found[test, column] = model.predict(data.values[test])
    return found


def report(data: Data, ours: Floats, theirs: Mapping[str, Floats]) -> tuple[list[Row], dict[str, object]]:
    """A row for each number and peer, and all metrics with their intervals."""
    of_ours = [measure(one, data.numbers) for one in ours]
    mean = {name: float(np.mean([one["R2"][name][0] for one in of_ours])) for name in NAMES}
    of_theirs = {peer: measure(found, data.numbers) for peer, found in theirs.items()}
    rows = [
        Row(f"R2 of {name}", mean[name], "R2", peer, found["R2"][name][0], GOALS[name])
        for name in NAMES
        for peer, found in of_theirs.items()
    ]
    of_mean = measure(ours.mean(axis=0), data.numbers)
    rows += [
        Row(f"R2 of {name}, predictions averaged over seeds", of_mean["R2"][name][0], "R2", goal=GOALS[name])
        for name in NAMES
    ]
    return rows, {"value, low, high": {"seeds": of_ours, "seeds averaged": of_mean, **of_theirs}}


def measure(predictions: Floats, numbers: Floats) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Value and 95 % interval by metric and number."""
    draws = torch.Generator().manual_seed(0)
    found = bootstrap_regression(torch.from_numpy(predictions), torch.from_numpy(numbers), draws)
    return {
        metric: {
            name: (float(one.value[column]), float(one.low[column]), float(one.high[column]))
            for column, name in enumerate(NAMES)
        }
        for metric, one in found.items()
    }


if __name__ == "__main__":
    main()
