"""What it costs, and what it gains, to train the encoder of music too, instead of heads on its cached features.

For a workspace with a cache of pictures and ``data/audio.csv``. Every arm has the same folds, seeds, batches, steps and
first heads; ``frozen, long`` has more steps. An item is tested in one fold, with the others of that fold as candidates;
its scores are averaged over the seeds. Encoding is that of all music once, for the arms that are frozen; for the other
one, that of the test fold with each encoder that was trained.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from record import Row, command_line, publish
from sklearn.model_selection import StratifiedGroupKFold

from emoclim.cache.memory import MemoryCache
from emoclim.config import TrainConfig
from emoclim.data.content import ContentKeys
from emoclim.data.features import Features, Split
from emoclim.data.labels.taxonomy import LabelMap, match_labels
from emoclim.data.manifest import Item, Manifest, read_manifest
from emoclim.encoders.base import AudioEncoder
from emoclim.encoders.loading import load_encoder
from emoclim.learning.heads import Heads
from emoclim.learning.objectives.loading import make_objective
from emoclim.learning.settings import EncoderTuning
from emoclim.modality import Modality
from emoclim.pipeline.library import labelled_library, read_features
from emoclim.pipeline.workspace import Workspace
from emoclim.reports.comparison import ComparisonReport, System, compare
from emoclim.reports.queries import QueryScores
from emoclim.stages.encoder_training import LabelledItems, LiveModality, train_end_to_end
from emoclim.stages.evaluating import evaluate
from emoclim.stages.extracting import extract
from emoclim.stages.head_training import train_heads

OBJECTIVE = make_objective("emo_clim", ("image", "audio"), [{}])
EVEN = (0.25,) * 4
METRICS = ("P@5", "MRR")
PAIRS: tuple[tuple[Modality, Modality], ...] = (("image", "audio"), ("audio", "image"))
CPU = torch.device("cpu")
Fold = Mapping[str, Mapping[Modality, Sequence[int]]]  # rows of each split


def main() -> None:
    """Train, test and print."""
    parser = command_line(__doc__)
    parser.add_argument("--workspace", type=Path, default=Path())
    parser.add_argument("--images", help="cache of pictures; default the newest")
    parser.add_argument("--audio", type=Path, help="manifest; default data/audio.csv")
    parser.add_argument("--encoder", default="musicnn")
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20, help="of an epoch")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--val-batches", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="of the heads")
    parser.add_argument("--encoder-learning-rate", type=float, default=1e-4)
    parser.add_argument("--long", type=int, default=10, help="how many times the epochs the long arm has")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    study = Study(options)
    comparison = study.run().to_dict()
    details = {"items": study.counts(), "seconds": study.seconds, "comparison": comparison}
    rows = list(told(**details))
    publish("Training the encoder of music too", __doc__, options, rows, details, "torch", "scikit-learn")


def told(comparison: Mapping[str, Any], seconds: Mapping[str, Mapping[str, float]], **_others: object) -> Iterator[Row]:
    """What each arm found, and what it took, against the first."""
    first = next(iter(comparison["systems"]))
    for line in comparison["lines"]:
        if line["system"] != first:
            ours, where = line["mean"]["value"], line["direction"].replace("_", " to ")
            gap, p_value = _in_percent(line["difference"]), line["p_holm"]
            name = f"{line['system']}: {line['metric']}, {where}; difference {gap}, p {p_value:.2g} (Holm)"
            yield Row(name, 100 * ours, "%", first, 100 * (ours - line["difference"]["value"]))
    for arm, spent in seconds.items():
        for work, taken in spent.items():
            if arm != first:
                yield Row(f"{arm}: seconds to {work}", taken, "s", first, seconds[first][work])


def _in_percent(interval: Mapping[str, float | None]) -> str:
    value, low, high = (interval[end] for end in ("value", "low", "high"))
    ends = "" if low is None or high is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{100 * (value or 0):+.1f}{ends}"


class Study:
    """All folds and seeds of each arm, as the command line has it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        workspace = Workspace(options.workspace)
        pictures = labelled_library(workspace, "image", options.images)
        music = read_manifest(options.audio or workspace.manifest("audio"), "audio")
        both: dict[Modality, Manifest] = {"image": pictures.manifest, "audio": music}
        found = {name: {item.label for item in manifest.items if item.label} for name, manifest in both.items()}
        self._map: LabelMap = match_labels(found)
        self._items = {name: self._mapped(manifest) for name, manifest in both.items()}
        self._labels = {
            name: torch.tensor([self._map.class_of(name, item.label) for item in items])
            for name, items in self._items.items()
        }
        self._images = read_features(pictures, self._items["image"], ContentKeys())
        self._encoder = load_encoder(options.encoder, checkpoint=options.checkpoint)
        self.seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def counts(self) -> dict[str, int]:
        """Labelled items with a class, by modality."""
        return {name: len(items) for name, items in self._items.items()}

    def run(self) -> ComparisonReport:
        """Train every arm on every fold with every seed, and compare what they find."""
        begun = time.perf_counter()
        cached = self._encoded(self._encoder, self._items["audio"])
        once = time.perf_counter() - begun
        arms = {"frozen": 1, "frozen, long": self._options.long, "unfrozen": 1}
        for arm in ("frozen", "frozen, long"):
            self.seconds[arm]["encode"] = once
        found: dict[str, dict[int, list[dict[str, QueryScores]]]] = {arm: defaultdict(list) for arm in arms}
        for seed in self._options.seeds:
            for number, fold in enumerate(self._folds()):
                for arm, times in arms.items():
                    tuned = arm == "unfrozen"
                    one = self._unfrozen(fold, seed) if tuned else self._frozen(fold, seed, cached, arm, times)
                    found[arm][seed].append(one)
                    means = {
                        f"{way} {name}": float(of.metrics[name].mean()) for way, of in one.items() for name in METRICS
                    }
                    print(f"seed {seed}, fold {number}, {arm}: {means}", file=sys.stderr, flush=True)
        systems = [
            System(
                arm,
                tuple(f"seed {seed}" for seed in by_seed),
                {
                    f"{a}_{b}": tuple(joined([one[f"{a}_{b}"] for one in folds]) for folds in by_seed.values())
                    for a, b in PAIRS
                },
            )
            for arm, by_seed in found.items()
        ]
        return compare(systems, METRICS)

    def _mapped(self, manifest: Manifest) -> list[Item]:
        return [item for item in manifest.items if self._map.class_of(manifest.modality, item.label) is not None]

    def _folds(self) -> Iterator[Fold]:
        """Whole groups together; the fold after the one to test is for validation."""
        parts: dict[Modality, list[list[int]]] = {}
        for name, items in self._items.items():
            groups = [item.group or item.id for item in items]
            cutter = StratifiedGroupKFold(self._options.folds, shuffle=True, random_state=0)
            parts[name] = [
                rows.tolist() for _, rows in cutter.split(np.zeros(len(items)), self._labels[name].numpy(), groups)
            ]
        count = self._options.folds
        for test in range(count):
            val = (test + 1) % count
            rest = [fold for fold in range(count) if fold not in (test, val)]
            yield {
                split: {name: sorted(row for fold in folds for row in part[fold]) for name, part in parts.items()}
                for split, folds in (("train", rest), ("val", [val]), ("test", [test]))
            }

    def _config(self, seed: int, times: int) -> TrainConfig:
        one = self._options
        return TrainConfig(
            seed=seed,
            epochs=one.epochs * times,
            batches_per_epoch=one.steps,
            batch_size=one.batch_size,
            val_batches=one.val_batches,
            learning_rate=one.learning_rate,
        )

    def _frozen(self, fold: Fold, seed: int, cached: Features, arm: str, times: int) -> dict[str, QueryScores]:
        splits = {name: self._split(rows, cached.select(torch.tensor(rows["audio"]))) for name, rows in fold.items()}
        begun = time.perf_counter()
        training = train_heads(splits["train"], splits["val"], OBJECTIVE, [EVEN], self._config(seed, times), device=CPU)
        self.seconds[arm]["train"] += time.perf_counter() - begun
        return scores(splits["test"], training.heads)

    def _unfrozen(self, fold: Fold, seed: int) -> dict[str, QueryScores]:
        splits = {name: self._split(rows, None) for name, rows in fold.items()}
        recordings = {
            name: LabelledItems(
                [self._items["audio"][row] for row in rows["audio"]], self._labels["audio"][rows["audio"]]
            )
            for name, rows in fold.items()
        }
        begun = time.perf_counter()
        training = train_end_to_end(
            splits["train"],
            splits["val"],
            [LiveModality(self._encoder, recordings["train"], recordings["val"])],
            OBJECTIVE,
            EVEN,
            self._config(seed, 1),
            EncoderTuning(learning_rate=self._options.encoder_learning_rate),
            device=CPU,
        )
        self.seconds["unfrozen"]["train"] += time.perf_counter() - begun
        begun = time.perf_counter()
        module = self._encoder.module
        before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
        module.load_state_dict(training.encoders["audio"])
        features = self._encoded(self._encoder, recordings["test"].items)
        module.load_state_dict(before)
        self.seconds["unfrozen"]["encode"] += time.perf_counter() - begun
        return scores(self._split(fold["test"], features), training.heads(self._encoder.spec))

    def _encoded(self, encoder: AudioEncoder, items: Sequence[Item]) -> Features:
        keys = ContentKeys()
        with MemoryCache(encoder.spec) as cache:
            extract(Manifest("music", "audio", Path("music"), tuple(items)), encoder, cache, device=CPU)
            return replace(cache.read([keys(item) for item in items]), ids=tuple(item.id for item in items))

    def _split(self, rows: Mapping[Modality, Sequence[int]], audio: Features | None) -> Split:
        features: dict[Modality, Features] = {"image": self._images.select(torch.tensor(rows["image"]))}
        if audio is not None:
            features["audio"] = audio
        labels = {name: self._labels[name][rows[name]] for name in features}
        return Split(features, labels, self._map.classes)


def scores(test: Split, heads: Heads) -> dict[str, QueryScores]:
    """Of each query, by direction."""
    report = evaluate(test, heads, ks=(5,), measures=("MRR",), pairs=PAIRS, device=CPU)
    return {name: direction.scores for name, direction in report.directions.items()}


def joined(parts: Sequence[QueryScores]) -> QueryScores:
    """The queries of all folds."""
    return QueryScores(
        tuple(id_ for part in parts for id_ in part.ids),
        tuple(name for part in parts for name in part.classes),
        torch.cat([part.n_relevant for part in parts]),
        torch.cat([part.n_candidates for part in parts]),
        {name: torch.cat([part.metrics[name] for part in parts]) for name in METRICS},
    )


if __name__ == "__main__":
    main()
