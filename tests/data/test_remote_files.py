"""Files on servers that stall, cut what they send, and refuse: each item is whole or told, after so many tries."""

import http.server
import importlib.util
import io
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from emoclim.config import ExtractConfig
from emoclim.data.items.remote import is_remote, path_within, url_of
from emoclim.data.manifest import Item
from emoclim.data.media import fetching
from emoclim.errors import MissingLibrary
from emoclim.pipeline import Workspace, extract_features

SMALL = ExtractConfig(encoder="colour", workers=0, settings={"size": 64})


def picture(n: int) -> bytes:
    pixels = np.random.default_rng(n).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream := io.BytesIO(), "PNG")
    return stream.getvalue()


def test_addresses_are_told_from_paths() -> None:
    address = path_within("/data", "https://host/a b/c.png?x=1")
    assert is_remote(address)
    assert url_of(address) == "https://host/a b/c.png?x=1"
    assert url_of(path_within("/data", "s3://bucket/key")) == "s3://bucket/key"
    assert path_within("/data", "a:b/c.png") == Path("/data/a:b/c.png")
    assert not is_remote("C:/music/a.wav")


def test_what_no_library_reads_is_told() -> None:
    with pytest.raises(MissingLibrary, match=r"emoclim\[remote\]"), fetching.fetched(Item("a", Path("odd://host/a"))):
        pass


class Server(http.server.ThreadingHTTPServer):
    """Answers by the first word of a path; counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: Counter[str] = Counter()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.server.asked[self.path] += 1
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        kind, number = self.path.strip("/").removesuffix(".png").split("-")
        content, times = picture(int(number)), self.server.asked[self.path]
        if kind == "gone" or (kind == "busy" and body and times < 3) or (kind == "always" and body):
            self.send_response(404 if kind == "gone" else 503)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        if kind == "stall" and times < 2:
            time.sleep(1.0)
        cut = kind == "cut" and times < 2
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut or kind == "stall":
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    if importlib.util.find_spec("aiohttp") is None:
        pytest.skip("aiohttp is not installed")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_each_item_is_whole_or_told(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "PAUSES", (0.01, 0.01, 0.01))
    monkeypatch.setattr(fetching, "SILENCE", 0.5)
    names = ["good-1", "busy-2", "cut-3", "stall-4", "gone-5", "always-6"]
    address = f"http://127.0.0.1:{server.server_address[1]}"
    (tmp_path / "data").mkdir()
    rows = [f"{name},{address}/{name}.png,{('happy', 'sad')[n % 2]}" for n, name in enumerate(names)]
    (tmp_path / "data" / "images.csv").write_text("\n".join(["id,path,label", *rows, "here,5.png,sad"]) + "\n")
    for n in range(1, 6):
        (tmp_path / "data" / f"{n}.png").write_bytes(picture(n))
    done = extract_features("image", config=SMALL, workspace=Workspace(tmp_path)).extraction
    assert done.encoded == 5
    assert {one.id: one.reason for one in done.failures}.keys() == {"gone-5", "always-6"}
    assert max(server.asked.values()) <= len(fetching.PAUSES) + 1
    there = [f"{n}.png" for n in range(1, 5)]
    (tmp_path / "local.csv").write_text("path\n" + "\n".join(str(tmp_path / "data" / name) for name in there) + "\n")
    local = extract_features("image", tmp_path / "local.csv", config=SMALL, workspace=Workspace(tmp_path)).extraction
    assert (local.encoded, local.reused) == (0, 4)
    before = sum(server.asked.values())
    again = extract_features("image", config=SMALL, workspace=Workspace(tmp_path)).extraction
    assert (again.encoded, again.reused) == (0, 5)
    assert not [path for path, count in server.asked.items() if "good" in path and count > 1]
    assert sum(server.asked.values()) - before == len(fetching.PAUSES) + 2  # those that failed are tried again
