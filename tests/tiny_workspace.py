"""A workspace that is made in a moment, with something of every kind of file in it; what the tests of chance spoil.

Its pictures are 8 pixels wide, and lie in an HDF5 cache; the features of its music are given, and lie in a Zarr one.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from emoclim.cache import open_cache
from emoclim.config import EvaluateConfig, ExtractConfig, ImportConfig, TrainConfig
from emoclim.errors import CacheError
from emoclim.pipeline import (
    HeadsConfig,
    Resources,
    Shard,
    TrainHeads,
    Workspace,
    evaluate_run,
    extract_features,
    import_features,
    start,
)

Rows = dict[str, tuple[Tensor | None, ...]]  # by key
CLASSES = ("calm", "glad", "wild")
SPLITS = ("train", "train", "train", "val", "val", "test", "test")
DIM = 6
RUN, STOPPED = "001-colour-given", "stopped"
BRIEF = TrainConfig(epochs=3, batch_size=8, batches_per_epoch=2, val_batches=1, hidden_dim=16, embedding_dim=16)
PICTURES = ExtractConfig(encoder="colour", workers=0)
TRAINED = HeadsConfig(base=BRIEF, settings={"seed": (1, 2)})
GIVEN = ImportConfig(backend="zarr", allow_extra=True)


def build(root: Path) -> Workspace:
    """Make manifests, caches, a run that was evaluated, and one that was stopped after an epoch."""
    write_pictures(root, "images", 0)
    write_music(root)
    workspace = Workspace(root)
    extract_features("image", config=PICTURES, workspace=workspace, shard=Shard(1, 2))
    extract_features("image", config=PICTURES, workspace=workspace)
    import_features(root / "given.npz", "audio", "given", GIVEN, workspace=workspace)
    start(TrainHeads(), TRAINED, Resources(workspace))
    evaluate_run(config=EvaluateConfig(), plots=False, workspace=workspace)
    stop_after_an_epoch(workspace, STOPPED)
    return workspace


def rows_of(cache: Path) -> Rows:
    """All that can be read of a cache."""
    found: Rows = {}
    with open_cache(cache) as opened:
        for key in opened:
            try:
                one = opened.read([key])
            except CacheError:
                continue
            found[key] = (one.values, one.segments, one.starts)
    return found


def require_same(found: Rows, written: Rows) -> None:
    """What was read of each item is what was written of it."""
    for key, row in found.items():
        for one, other in zip(row, written[key], strict=True):
            same = one is None if other is None else one is not None and torch.equal(one, other)
            assert same, f"wrong numbers of {key}"


def copy(root: Path, place: Path) -> Workspace:
    """Copy a workspace; files that are never written in place are linked."""

    def copied(source: str, target: str) -> object:
        return (shutil.copy2 if "/cache/" in source else os.link)(source, target)

    shutil.copytree(root, place, copy_function=copied)
    return Workspace(place)


def stop_after_an_epoch(workspace: Workspace, name: str) -> None:
    def watch(leaders: object) -> None:
        raise KeyboardInterrupt

    try:
        start(TrainHeads(), TRAINED, Resources(workspace, watch=watch), name=name)
    except KeyboardInterrupt:
        return


def write_pictures(root: Path, name: str, seed: int, n: int = len(CLASSES) * len(SPLITS)) -> Path:
    """Write pictures of chance, and the manifest ``data/<name>.csv``."""
    folder, draw = root / "data" / name, np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = ["path,label,split"]
    for number in range(n):
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{number}.png")
        rows.append(f"{name}/{number}.png,{CLASSES[number % 3]},{SPLITS[number // 3 % 7]}")
    manifest = root / "data" / f"{name}.csv"
    manifest.write_text("\n".join(rows) + "\n")
    return manifest


def write_music(root: Path) -> None:
    """Write a manifest of music that is not there, the same with tags, and features of it and of ``more.csv``."""
    n = len(CLASSES) * len(SPLITS)
    ids = [f"piece {number}" for number in range(n)]
    more = [f"another {number}" for number in range(3)]
    places = [(CLASSES[number % 3], SPLITS[number // 3]) for number in range(n)]
    rows = [f"{id_}.wav,{id_},{label},{split}" for id_, (label, split) in zip(ids, places, strict=True)]
    (root / "data" / "audio.csv").write_text("\n".join(["path,id,label,split", *rows]) + "\n")
    (root / "data" / "more.csv").write_text("\n".join(["path,id", *(f"{id_}.wav,{id_}" for id_ in more)]) + "\n")
    tagged = [
        f"{id_}.wav,{id_},{label}|{'odd' if number % 2 else 'even'},{split}"
        for number, (id_, (label, split)) in enumerate(zip(ids, places, strict=True))
    ]
    (root / "data" / "tagging.csv").write_text("\n".join(["path,id,tags,split", *tagged]) + "\n")
    ids += more
    counts = np.array([2 if number % 3 else 0 for number in range(len(ids))])
    draw = np.random.default_rng(0)
    values, segments = (draw.standard_normal((rows, DIM)).astype(np.float32) for rows in (len(ids), counts.sum()))
    offsets = np.concatenate([[0], counts.cumsum()])
    np.savez(root / "given.npz", ids=np.array(ids), values=values, segments=segments, offsets=offsets)
