"""Extracting again what is extracted already: ``emoclim extract`` over 30,000 generated files, all in the cache.

The whole command, best of some runs, against ``python -c "import torch"``, which is the least it could take. Nothing is
decoded: the files are no pictures, and their features are generated.
"""

import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from record import Row, command_line, publish

from emoclim.cache import open_cache
from emoclim.cache.items import EncodedItem
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Item
from emoclim.encoders.loading import load_encoder
from emoclim.pipeline.workspace import Workspace

LABELS = ("awe", "fear", "sadness")
COMMIT = 1000
LIMIT = [sys.executable, "-c", "import torch"]


def main() -> None:
    """Make a workspace, and run the command in it."""
    parser = command_line(__doc__)
    parser.add_argument("--items", type=int, default=30_000)
    parser.add_argument("--runs", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        make(root, asked.items)
        command = [sys.executable, "-m", "emoclim", "extract", "images", "--encoder", "colour", "--workspace", name]
        told = subprocess.run([*command, "--json"], capture_output=True, check=True, text=True).stdout
        assert json.loads(told)["encoded"] == 0, told
        runs = [(seconds(command), seconds(LIMIT)) for _ in range(asked.runs)]
    again, limit = (min(column) for column in zip(*runs, strict=True))
    name = f"`emoclim extract` of {asked.items:,} files that are there"
    row = Row(name, again, "s", "`import torch`", limit, goal="<= 1.15")
    publish("Extracting again", __doc__, asked, [row], {"seconds": runs}, "torch")


def make(root: Path, items: int) -> None:
    """Files, a manifest, a memo of their content and a cache of generated features."""
    folder = root / "data" / "images"
    folder.mkdir(parents=True)
    files = [folder / f"{n:06d}.png" for n in range(items)]
    with (root / "data" / "images.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "split"))
        for n, path in enumerate(files):
            path.write_bytes(b"%d" % n)
            rows.writerow((f"images/{path.name}", LABELS[n % 3], "train"))
    spec, workspace = load_encoder("colour").spec, Workspace(root)
    keys = ContentKeys(workspace.caches / "content.sqlite")
    generator = torch.Generator().manual_seed(0)
    with open_cache(workspace.cache_path(spec, ".h5"), spec) as cache:
        for first in range(0, items, COMMIT):
            part = files[first : first + COMMIT]
            cache.append(
                [EncodedItem(keys(Item("", path)), torch.randn(spec.dim, generator=generator)) for path in part]
            )
    keys.save()


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
