"""The service with many users at once, each of whom waits for one answer before the next question, as fast as it goes.

A library of generated embeddings is searched with photos of chance, which are sent, decoded and encoded each time; of
five questions, one is with a filter, one for a playlist of what was found, and one for an item. The service is the
command's, in a process of its own on the same machine, as are the users. The peer of many users is one alone: with n at
once, nobody should wait longer than n times what one waits, and all together should get no fewer answers a second.
"""

import argparse
import http.client
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from record import Row, command_line, counted, publish

from emoclim.config import ExtractConfig, ImportConfig, TrainConfig
from emoclim.pipeline import HeadsConfig, Resources, TrainHeads, Workspace, extract_features, import_features, start

CLASSES, SPLITS = ("calm", "glad", "wild"), ("train", "train", "val", "test")
WIDTH, EMBEDDED = 64, 128
LABELLED = 120  # items of the library that the run is trained on
PHOTOS = 24
BOUNDARY = "of-a-benchmark"
ADDRESS = re.compile(rb"http://127\.0\.0\.1:(\d+)/")
PATIENCE, TO_START = 120.0, 1800.0  # seconds that an answer may take, and the index of a library
BRIEF = TrainConfig(epochs=1, batch_size=16, batches_per_epoch=2, val_batches=1, hidden_dim=64, embedding_dim=EMBEDDED)


@dataclass
class Asked:
    """What users got."""

    seconds: list[float] = field(default_factory=list)  # of each search
    answers: int = 0
    errors: list[str] = field(default_factory=list)
    taken: float = 0.0  # seconds, in all

    @property
    def p95(self) -> float:
        """Seconds within which 95 of 100 searches are answered."""
        return float(np.percentile(self.seconds, 95))


def main() -> None:
    """Ask alone, then all at once."""
    parser = command_line(__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--alone", type=float, default=10.0, help="seconds with one user")
    asked = parser.parse_args()
    load = round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory() as folder:
        build(Path(folder), asked.items)
        with served(Path(folder)) as port:
            ask(port, 1, 2.0)  # which starts what decodes
            alone, many = ask(port, 1, asked.alone), ask(port, asked.users, asked.seconds)
    publish("Service", __doc__, asked, list(rows(asked, alone, many)), {"load before": load}, "fastapi", "uvicorn")


def rows(asked: argparse.Namespace, alone: Asked, many: Asked) -> Iterator[Row]:
    """What was found."""
    of = f"{counted(asked.users, 'user')}, {counted(asked.items, 'item')}"
    limit = asked.users * statistics.median(alone.seconds)
    yield Row(f"Errors; {of}", len(many.errors), "", goal="<= 0")
    yield Row(f"A search, 95 of 100; {of}", 1e3 * many.p95, "ms", "users x median of one alone", 1e3 * limit, "<= 1.5")
    rate, peer = many.answers / many.taken, alone.answers / alone.taken
    yield Row(f"Answers a second; {of}", rate, "1/s", "one user alone", peer, ">= 1")


def build(root: Path, items: int) -> None:
    """Make a workspace with a library of so many embedded items, and a run that compares photos with them."""
    photos = root / "data" / "images"
    photos.mkdir(parents=True)
    lines = ["path,label,split"]
    for number in range(PHOTOS):
        (photos / f"{number}.png").write_bytes(photo(number))
        lines.append(f"images/{number}.png,{CLASSES[number % 3]},{SPLITS[number // 3 % 4]}")
    (root / "data" / "images.csv").write_text("\n".join(lines) + "\n")
    draw = np.random.default_rng(0)
    centres = draw.standard_normal((2_000, WIDTH), np.float32)
    values = centres[draw.integers(0, len(centres), items)] + 0.3 * draw.standard_normal((items, WIDTH), np.float32)
    ids = [f"piece {number:07d}" for number in range(items)]
    np.savez(root / "given.npz", ids=np.array(ids), values=values)
    lines = ["path,id,label,split"]
    for number, id_ in enumerate(ids):
        label, split = (CLASSES[number % 3], SPLITS[number // 3 % 4]) if number < LABELLED else ("", "")
        lines.append(f"{number % 100}/{id_}.wav,{id_},{label},{split}")
    (root / "data" / "audio.csv").write_text("\n".join(lines) + "\n")
    workspace = Workspace(root)
    extract_features("image", config=ExtractConfig(encoder="colour", workers=0), workspace=workspace)
    import_features(root / "given.npz", "audio", "given", ImportConfig(), workspace=workspace)
    start(TrainHeads(), HeadsConfig(base=BRIEF, settings={"seed": (1,)}), Resources(workspace))


def photo(seed: int) -> bytes:
    """A picture of chance, as a JPEG of 320 x 240."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    written = BytesIO()
    Image.fromarray(pixels).resize((320, 240)).save(written, "JPEG")
    return written.getvalue()


@contextmanager
def served(root: Path) -> Iterator[int]:
    """Run the command in a process of its own, and yield the port that it tells."""
    words = ["-m", "emoclim", "app", "--in", "audio", "--port", "0", "--workspace", str(root), "--device", "cpu"]
    with (root / "told.txt").open("wb") as told:
        process = subprocess.Popen([sys.executable, *words], stdout=told, stderr=subprocess.STDOUT)
        try:
            yield _port(process, root / "told.txt")
        finally:
            process.terminate()
            process.wait()


def _port(process: subprocess.Popen[bytes], told: Path) -> int:
    ends = time.monotonic() + TO_START
    while time.monotonic() < ends and process.poll() is None:
        if found := ADDRESS.search(told.read_bytes()):
            return int(found[1])
        time.sleep(0.1)
    raise RuntimeError(f"the service did not start: {told.read_text()[-2000:]}")


def ask(port: int, users: int, seconds: float) -> Asked:
    """Have so many users ask for so long."""
    found, begun = Asked(), time.monotonic()
    threads = [threading.Thread(target=_use, args=(port, number, begun + seconds, found)) for number in range(users)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found.taken = time.monotonic() - begun
    return found


def _use(port: int, user: int, ends: float, found: Asked) -> None:
    """Ask one thing after another; whatever is no proper answer is an error."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    for turn in itertools.count(user):
        if time.monotonic() >= ends:
            break
        try:
            _take_turn(connection, turn, found)
        except (OSError, http.client.HTTPException, ValueError, KeyError) as error:
            found.errors.append(f"{type(error).__name__}: {error}")
            connection.close()
    connection.close()


def _take_turn(connection: http.client.HTTPConnection, turn: int, found: Asked) -> None:
    query: dict[str, Any] = {"library": "audio", "plus": [{"file": 0}]}
    if turn % 5 == 1:
        query["only"] = {"emotion": CLASSES[turn % 3]}
    begun = time.monotonic()
    hits = _search(connection, query, photo(turn % PHOTOS))["results"][0]["found"]
    found.seconds.append(time.monotonic() - begun)
    found.answers += 1
    if len(hits) != 5:
        raise ValueError(f"{len(hits)} hits")
    if turn % 5 == 2:
        items = [{"row": hit["item"], "start": None} for hit in hits]
        body = json.dumps({"library": "audio", "items": items, "format": "m3u8"}).encode()
        _send(connection, "POST", "/api/playlist", body, "application/json")
        found.answers += 1
    if turn % 5 == 3:
        json.loads(_send(connection, "GET", f"/api/libraries/audio/items/{hits[0]['item']}"))
        found.answers += 1


def _search(connection: http.client.HTTPConnection, query: dict[str, Any], content: bytes) -> dict[str, Any]:
    parts = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="query"\r\n\r\n{json.dumps(query)}\r\n'
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="files"; filename="photo.jpg"\r\n\r\n'
    )
    body = parts.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()
    answer = _send(connection, "POST", "/api/search", body, f"multipart/form-data; boundary={BOUNDARY}")
    return dict(json.loads(answer))


def _send(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None, kind: str = "text/plain"
) -> bytes:
    connection.request(method, path, body, {"Content-Type": kind})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise ValueError(f"{answer.status}: {content[:300]!r}")
    return content


if __name__ == "__main__":
    main()
