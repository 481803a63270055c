"""A generated library of many items whose features were imported: what each step takes against the least it could.

Vectors of 128 numbers lean towards the class of their item. Importing is compared with reading the bytes of the file of
features and writing them, brought to the disk; verifying with reading the cache; an epoch of training with one on a
cache of a hundredth of the items; P@1, P@5, P@10 and MRR of pictures that ask for recordings, with heads of the usual
size, with the bare products of as many vectors in single precision. Each is a process of its own that did the same with
1,000 recordings and as many pictures before: what is loaded by then, the program and its libraries with what these keep
ready, counts neither as time nor as memory. Memory is the most that it held of its own (anonymous memory) above that,
against the matrix of all features.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from record import Row, command_line, counted, publish

DIM, CLASSES, BLOCK = 128, 6, 1 << 16
NAMES = [f"class {n}" for n in range(CLASSES)]
LOOK_SECONDS = 0.01
SMALL = {"items": 1_000, "pictures": 1_000}  # of the library that each part is tried on first
EPOCHS, ROUNDS = 5, 3  # of a training, and of trainings

Found = dict[str, float]


def main() -> None:
    """Measure all parts, or as a process of its own one of them."""
    parser = command_line(__doc__)
    parser.add_argument("--items", type=int, default=1_000_000, help="recordings")
    parser.add_argument("--pictures", type=int, default=8_000, help="pictures, which are the queries")
    parser.add_argument("--folder", type=Path, help="where files are made; default the system's for such files")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.part:
        PARTS[asked.part](asked.folder / "small", argparse.Namespace(**SMALL))
        print(json.dumps(_watched(partial(PARTS[asked.part], asked.folder, asked))))
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        (small := Path(folder, "small")).mkdir()
        for where, size in ((small, SMALL), (Path(folder), vars(asked))):
            generate(where, "audio", size["items"])
            generate(where, "image", size["pictures"])
        rows = list(_rows(Path(folder), asked))
    publish("Large caches", __doc__, asked, rows, {"dim": DIM, "classes": CLASSES}, "torch", "pyarrow")


def _rows(folder: Path, asked: argparse.Namespace) -> Iterator[Row]:
    items, size = counted(asked.items, "recording"), 4e-6 * DIM * asked.items
    told = {
        "import": (f"import of {items}", "its bytes read and written", "<= 3"),
        "verify": (f"verifying {items}", "its bytes read", None),
        "train": (f"an epoch on {items}", "one on a hundredth of them", "<= 1.3"),
        "evaluate": (f"evaluating {asked.pictures:,} x {asked.items:,}", "bare products", "<= 1.5"),
    }
    for part, (name, against, goal) in told.items():
        command = [sys.executable, __file__, "--items", str(asked.items), "--pictures", str(asked.pictures)]
        done = subprocess.run(
            [*command, "--folder", str(folder), "--part", part], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        yield Row(name, found["ours"], "s", against, found["theirs"], goal)
        yield Row(f"{name}: memory", found["bytes"] / 1e6, "MB", "the matrix", size, "<= 1.3")


def generate(folder: Path, modality: str, count: int) -> None:
    """Write a manifest and a file of features."""
    import pyarrow as pa
    from pyarrow import parquet

    draw = np.random.default_rng(len(modality))
    labels, parts = draw.integers(CLASSES, size=count), np.array(["train"] * 8 + ["val", "test"])
    ids = pa.array([f"{modality}/{n // 1000:05d}/{n:09d}" for n in range(count)])
    columns = {"path": ids, "label": np.array(NAMES)[labels], "split": parts[draw.integers(10, size=count)]}
    parquet.write_table(pa.table(columns), folder / f"{modality}.parquet")
    centres = np.random.default_rng(0).standard_normal((CLASSES, DIM), np.float32)
    with parquet.ParquetWriter(folder / f"{modality}-features.parquet", _schema(), compression="none") as file:
        for first in range(0, count, BLOCK):
            own = labels[first : first + BLOCK]
            values = 0.3 * centres[own] + draw.standard_normal((len(own), DIM), np.float32)
            lists = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), DIM)
            file.write_table(pa.table([ids[first : first + len(own)], lists], schema=_schema()))


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema({"id": pa.string(), "values": pa.list_(pa.float32(), DIM)})


def bring(folder: Path, modality: str) -> None:
    """Import the features of one modality."""
    from emoclim.pipeline import Workspace
    from emoclim.pipeline.caches.importing import import_features

    file, source = folder / f"{modality}-features.parquet", folder / f"{modality}.parquet"
    import_features(file, modality, "generated", source=source, workspace=Workspace(folder))  # type: ignore[arg-type]


def importing(folder: Path, _asked: argparse.Namespace) -> Found:
    """Import the recordings, and copy their file."""
    theirs = _seconds(lambda: _copy(folder / "audio-features.parquet", folder / "copy"))
    return {"ours": _seconds(lambda: bring(folder, "audio")), "theirs": theirs}


def verifying(folder: Path, _asked: argparse.Namespace) -> Found:
    """Verify the cache, and read it."""
    from emoclim.pipeline import Workspace
    from emoclim.pipeline.caches.verify import verify_cache

    (cache,) = (folder / "cache").glob("audio-*.h5")
    theirs = _seconds(lambda: _copy(cache, None))
    return {"ours": _seconds(lambda: verify_cache(str(cache), workspace=Workspace(folder))), "theirs": theirs}


def training(folder: Path, asked: argparse.Namespace) -> Found:
    """Train an epoch on all that the command would read, and on few."""
    import torch

    from emoclim.config import TrainConfig
    from emoclim.data import match_labels
    from emoclim.learning import Callbacks, make_objective
    from emoclim.pipeline import Workspace
    from emoclim.pipeline.library import labelled_library, labels_of
    from emoclim.pipeline.splits import read_splits
    from emoclim.stages import train_heads

    bring(folder, "image")
    workspace = Workspace(folder)
    libraries = {name: labelled_library(workspace, name, None) for name in ("image", "audio")}  # type: ignore[arg-type]
    splits = read_splits(libraries, match_labels(labels_of(libraries)), ("train", "val"), workspace.content_keys())
    objective = make_objective("emo_clim", ("image", "audio"), [{}])
    shares = {"train": 8 * asked.items // 1000, "val": asked.items // 1000}  # of a hundredth of the items
    few = {name: split.select({"audio": torch.arange(max(60, shares[name]))}) for name, split in splits.items()}

    def epochs(of: Any) -> list[float]:
        ends: list[float] = []
        watch = Callbacks(watch=lambda _: ends.append(time.perf_counter()))
        config = TrainConfig(epochs=EPOCHS, val_batches=1)
        train_heads(of["train"], of["val"], objective, [(0.25,) * 4], config, device="cpu", callbacks=watch)
        return np.diff(ends).tolist()  # but for the first, with what is done once

    took = [(epochs(splits), epochs(few)) for _ in range(ROUNDS)]  # in turn, so that other load meets both
    ours, theirs = (float(np.median(np.concatenate(one))) for one in zip(*took, strict=True))
    return {"ours": ours, "theirs": theirs}


def evaluating(folder: Path, asked: argparse.Namespace) -> Found:
    """Evaluate heads of the usual size on all that the command would read, and multiply as many vectors."""
    import torch

    from emoclim.config import TrainConfig
    from emoclim.data import match_labels
    from emoclim.learning import Banks, HeadBank, Heads
    from emoclim.pipeline import Workspace
    from emoclim.pipeline.library import labelled_library, labels_of
    from emoclim.pipeline.splits import read_splits
    from emoclim.stages import evaluate

    workspace, config, draw = Workspace(folder), TrainConfig(), torch.Generator().manual_seed(0)
    libraries = {name: labelled_library(workspace, name, None) for name in ("image", "audio")}  # type: ignore[arg-type]
    splits = read_splits(libraries, match_labels(labels_of(libraries)), ("all",), workspace.content_keys())
    sizes = 1, DIM, config.hidden_dim, config.embedding_dim
    banks = Banks({name: HeadBank(*sizes, dropout=config.dropout, generator=draw) for name in libraries})
    heads = Heads(banks, {name: features.spec for name, features in splits["all"].features.items()})
    del libraries  # whose items nothing asks for any more
    vectors = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (asked.items, DIM))
    for first in range(0, asked.items, BLOCK):  # which the file holds, not memory
        vectors[first : first + BLOCK] = np.random.default_rng(first).standard_normal(
            vectors[first : first + BLOCK].shape
        )
    queries, candidates = torch.randn(asked.pictures, DIM), torch.from_numpy(vectors)

    def products() -> None:
        block = torch.empty(max(1, (1 << 28) // (4 * asked.items)), asked.items)
        for rows in torch.split(queries, len(block)):
            torch.mm(rows, candidates.T, out=block[: len(rows)])

    def ranked() -> None:
        how = {"ks": (1, 5, 10), "measures": ("MRR",), "pairs": [("image", "audio")], "device": "cpu"}
        evaluate(splits["all"], heads, **how)

    theirs = _seconds(products)
    return {"ours": _seconds(ranked), "theirs": theirs}


def _copy(source: Path, target: Path | None) -> None:
    with source.open("rb") as read, Path(target or os.devnull).open("wb") as written:
        while content := read.read(1 << 22):
            written.write(content)
        if target:
            written.flush()
            os.fsync(written.fileno())


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _watched(work: Callable[[], Found]) -> Found:
    """Do some work, and tell the most anonymous memory that it took; 0 where the system does not tell."""
    from emoclim.extraction import trim

    gc.collect()
    trim()
    before, most, ended = _anonymous(), [0], threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            most[0] = max(most[0], _anonymous())

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    found = work()
    ended.set()
    looking.join()
    return found | {"bytes": float(max(0, most[0] - before))}


def _anonymous() -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0)


PARTS = {"import": importing, "verify": verifying, "train": training, "evaluate": evaluating}

if __name__ == "__main__":
    main()
