"""How well moods of music can be read from features by a linear classifier: pretrained, random and other encoders.

``--manifest`` lists recordings with labels, and a group (the track) of each; without it, so many of each label are
generated, which only tries whether everything works. ``--checkpoint`` is what ``emoclim pretrain`` made of an encoder;
the random networks are what it starts from, by its seed. An item's features are the mean over its segments,
standardised on training folds. The classifier is scikit-learn's logistic regression, whose strength is chosen within
the training folds; tracks are whole in one fold. An item is tested in one fold; moods of fewer tracks than folds are
left out, and told. Numbers are macro ROC-AUC over moods, of the items of all folds, in percent; intervals of 95 %, and
differences, are of one bootstrap over tracks. If the pretraining heard the items, without labels, so did the encoder
that is tested here.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from record import Row, command_line, publish
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from emoclim.cache import open_cache
from emoclim.config import ExtractConfig
from emoclim.data.generated.corpus import generate
from emoclim.data.grouping import number_groups
from emoclim.data.manifest import Item, Manifest, read_manifest
from emoclim.encoders.loading import load_encoder, untrained_file
from emoclim.metrics.tagging import draw_counts, resampled_metrics, tag_metrics
from emoclim.pipeline import Workspace, extract_features

STRENGTHS = {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1, 1.0]}
PRETRAINED = "pretrained"


def main() -> None:
    """Encode, classify, resample."""
    parser = command_line(__doc__)
    parser.add_argument("--manifest", type=Path, help="default generated")
    parser.add_argument("--generated", type=int, default=8, help="recordings of each label, without --manifest")
    parser.add_argument("--workspace", type=Path, help="where caches are kept; default nowhere")
    parser.add_argument("--encoder", default="sample_cnn")
    parser.add_argument("--checkpoint", type=Path, help="file of the pretrained encoder; default none")
    parser.add_argument("--length", type=int, default=98_415, help="samples of its input")
    parser.add_argument("--random", type=int, nargs="+", default=[42, 43, 44], help="seeds of random networks")
    parser.add_argument("--beside", nargs="*", default=[], help="other encoders")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of folds and resamples")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        if asked.manifest is None:
            generate(Path(scratch), pictures_per_label=4, pieces_per_label=asked.generated)
        manifest = read_manifest(asked.manifest or Path(scratch) / "audio.csv", "audio")
        workspace = Workspace(asked.workspace or Path(scratch))
        features = {name: encoded(asked, name, seed, manifest, workspace) for name, seed in named(asked)}
    rows, details = probe(asked, manifest.items, features)
    publish("Moods by a linear probe", __doc__, asked, rows, details, "torch", "scikit-learn")


def named(asked: argparse.Namespace) -> Iterator[tuple[str, int | None]]:
    """Name what is compared; the seed is that of a random network."""
    if asked.checkpoint:
        yield PRETRAINED, None
    for seed in asked.random:
        yield f"random network, seed {seed}", seed
    for name in asked.beside:
        yield name, None


def encoded(
    asked: argparse.Namespace, name: str, seed: int | None, manifest: Manifest, workspace: Workspace
) -> NDArray[np.float64]:
    """Features (N, D) of items, the mean over their segments; what a cache holds is not made again."""
    settings = {} if name in asked.beside else {"length": asked.length}
    begun = None if seed is None else untrained_file(asked.encoder, settings, seed)
    file = asked.checkpoint if name == PRETRAINED else begun
    encoder = load_encoder(name if name in asked.beside else asked.encoder, checkpoint=file, **settings)
    config = ExtractConfig(encoder=encoder.spec.name, checkpoint=file, settings=settings, unlabelled=True, workers=0)
    extract_features("audio", manifest.source, config, workspace=workspace, device="cpu")
    keys = workspace.content_keys()
    with open_cache(workspace.cache_path(encoder.spec, ".h5")) as cache:
        return cache.read([keys(item) for item in manifest.items]).values.double().numpy()


def probe(
    asked: argparse.Namespace, items: Sequence[Item], features: Mapping[str, NDArray[np.float64]]
) -> tuple[list[Row], dict[str, object]]:
    """Predict each item by a classifier that has not heard its track, and compare."""
    pairs = {(item.label, track) for item, track in zip(items, number_groups(items), strict=True)}
    tracks = Counter(mood for mood, _ in pairs)
    moods = sorted(mood for mood, count in tracks.items() if mood and count >= asked.folds)
    kept = [n for n, item in enumerate(items) if item.label in moods]
    items = [items[n] for n in kept]
    labels, groups = np.array([moods.index(item.label or "") for item in items]), np.array(number_groups(items))
    relevant = torch.eye(len(moods), dtype=torch.bool)[torch.from_numpy(labels)]
    generator = torch.Generator().manual_seed(asked.seed)
    counts = draw_counts(len(items), asked.resamples, generator, groups=torch.from_numpy(groups))
    values, drawn = dict[str, float](), dict[str, Tensor]()
    for name, own in features.items():
        scores = torch.from_numpy(predicted(own[kept], labels, groups, asked.folds, asked.seed))
        values[name] = float(tag_metrics(scores, relevant).roc_auc.mean())
        drawn[name] = resampled_metrics(scores, relevant, counts)[0].mean(dim=0)
    first, *others = features
    rows = [Row(f"{first}: {_told(values[first], drawn[first])}", 100 * values[first], "%", "chance", 50.0)]
    for name in others:
        gap = _told(values[first] - values[name], drawn[first] - drawn[name], signed=True)
        told = f"{name}: {_told(values[name], drawn[name])}; {first} has {gap}"
        rows.append(Row(told, 100 * values[name], "%", first, 100 * values[first]))
    details: dict[str, object] = {"items": len(items), "tracks": int(groups.max()) + 1, "moods": moods}
    return rows, details | {"left_out": {str(mood): count for mood, count in tracks.items() if mood not in moods}}


def predicted(
    features: NDArray[np.float64], labels: NDArray[np.int64], groups: NDArray[np.int64], folds: int, seed: int
) -> NDArray[np.float64]:
    """Probabilities (N, C) of items in the fold where they are tested."""
    found = np.zeros((len(labels), int(labels.max()) + 1))
    cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for train, test in cutter.split(features, labels, groups):
        steps = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        rarest = int(np.unique(labels[train], return_counts=True)[1].min())
        within = StratifiedGroupKFold(max(2, min(3, rarest)), shuffle=True, random_state=seed)
        search = GridSearchCV(steps, STRENGTHS, scoring=_likelihood, cv=within)
        search.fit(features[train], labels[train], groups=groups[train])
        found[np.ix_(test, search.classes_)] = search.predict_proba(features[test])
    return found


def _likelihood(model: Pipeline, features: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean log probability of the true moods, of those that the training part has at all."""
    known = np.isin(labels, model.classes_)
    places = np.searchsorted(model.classes_, labels[known])
    return float(model.predict_log_proba(features[known])[np.arange(len(places)), places].mean())


def _told(value: float, drawn: Tensor, *, signed: bool = False) -> str:
    """``"61.20 (57.02 to 65.18)"``."""
    low, high = torch.nanquantile(drawn, torch.tensor([0.025, 0.975], dtype=drawn.dtype)).tolist()
    form = "+.2f" if signed else ".2f"
    return f"{100 * value:{form}} ({100 * low:{form}} to {100 * high:{form}})"


if __name__ == "__main__":
    main()
