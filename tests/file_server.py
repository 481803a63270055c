"""A server of files that misbehaves as a path asks for: ``/<manner>/<name>``; S3 clients take a manner for a bucket."""

import gzip
import http.server
import io
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image

CODES = {403: "AccessDenied", 404: "NoSuchKey", 503: "SlowDown"}  # as S3 says it


def picture(n: int) -> bytes:
    pixels = np.random.default_rng(n).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream := io.BytesIO(), "PNG")
    return stream.getvalue()


class FileServer(http.server.ThreadingHTTPServer):
    """Counts what it is asked for, by path without query; what stalls does so until the server ends."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.files: dict[str, bytes] = {}
        self.asked: Counter[str] = Counter()
        self.authorised: dict[str, str | None] = {}
        self.ended = threading.Event()
        self.mended = False  # no path misbehaves any more
        self.retry_after = ""
        self.address = f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients hang up, which is nothing to tell."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: FileServer
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.begin(200, len(self.server.files[self.path.rpartition("/")[2]]))

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked[path] += 1
        self.server.authorised[path] = self.headers["Authorization"]
        manner, _, name = path[1:].partition("/")
        manner, _, number = manner.partition("-")
        content, again = self.server.files[name], self.server.asked[path] > float(number or math.inf)
        if again or manner == "whole" or self.server.mended:
            return self.send(content, len(content))
        return getattr(self, f"do_{manner}")(content, name)

    def send(self, content: bytes, length: int | None, *headers: tuple[str, str], status: int = 200) -> None:
        self.begin(status, length, *headers)
        self.wfile.write(content)

    def begin(self, status: int, length: int | None, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def fail(self, status: int) -> None:
        said = f"<Error><Code>{CODES[status]}</Code><Message>told</Message></Error>".encode()
        self.send(said, len(said), ("Content-Type", "application/xml"), status=status)

    def do_silent(self, content: bytes, name: str) -> None:
        self.server.ended.wait()
        self.close_connection = True

    def do_halting(self, content: bytes, name: str) -> None:
        self.send(content[: len(content) // 2], len(content))
        self.do_silent(content, name)

    def do_cut(self, content: bytes, name: str) -> None:
        self.send(content[: len(content) // 2], len(content))
        self.close_connection = True

    def do_cutunseen(self, content: bytes, name: str) -> None:
        self.send(content[: len(content) // 2], None)
        self.close_connection = True

    def do_endless(self, content: bytes, name: str) -> None:
        self.send(content, None)
        self.close_connection = True

    def do_chunked(self, content: bytes, name: str) -> None:
        self.do_cutchunked(content, name)
        self.wfile.write(b"0\r\n\r\n")
        self.close_connection = False

    def do_cutchunked(self, content: bytes, name: str) -> None:
        self.begin(200, None, ("Transfer-Encoding", "chunked"))
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.close_connection = True

    def do_busy(self, content: bytes, name: str) -> None:
        self.fail(503)

    def do_later(self, content: bytes, name: str) -> None:
        self.send(b"", 0, ("Retry-After", self.server.retry_after), status=429)

    def do_gone(self, content: bytes, name: str) -> None:
        self.fail(404)

    def do_refused(self, content: bytes, name: str) -> None:
        self.fail(403)

    def do_moved(self, content: bytes, name: str) -> None:
        self.send(b"", 0, ("Location", f"{self.server.address}/whole/{name}"), status=302)

    def do_away(self, content: bytes, name: str) -> None:
        self.send(b"", 0, ("Location", "http://localhost:1/"), status=302)

    def do_choice(self, content: bytes, name: str) -> None:
        self.send(content, len(content), status=300)

    def do_part(self, content: bytes, name: str) -> None:
        self.send(content[:-20], len(content) - 20, status=206)

    def do_unreadable(self, content: bytes, name: str) -> None:
        self.begin(200, None, ("Content-Length", "secret"))
        self.close_connection = True

    def do_packed(self, content: bytes, name: str) -> None:
        """Pack the file for who takes that, and cut it where neither its length nor what packs it tells."""
        if "gzip" not in (self.headers["Accept-Encoding"] or ""):
            return self.send(content, len(content))
        part = gzip.compress(content)[: len(content) // 2]
        return self.send(part, len(part), ("Content-Encoding", "gzip"))

    def do_circle(self, content: bytes, name: str) -> None:
        self.send(b"", 0, ("Location", self.path), status=302)

    def do_tooshort(self, content: bytes, name: str) -> None:
        self.send(content, len(content) - 20)
        self.close_connection = True

    def do_toolong(self, content: bytes, name: str) -> None:
        self.send(content, len(content) + 20)
        self.close_connection = True

    def do_slow(self, content: bytes, name: str, pause: float = 0.05) -> None:
        self.begin(200, len(content))
        for first in range(0, len(content), 32):
            self.wfile.write(content[first : first + 32])
            time.sleep(pause)

    def do_dripping(self, content: bytes, name: str) -> None:
        self.begin(200, len(content))
        for first in range(len(content)):
            self.wfile.write(content[first : first + 1])
            if self.server.ended.wait(0.1):
                return

    def do_ranges(self, content: bytes, name: str) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers["Range"] or "")
        if asked is None:
            return self.send(content, len(content), ("Accept-Ranges", "bytes"))
        first, last = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        part = content[first : last + 1]
        told = ("Content-Range", f"bytes {first}-{last}/{len(content)}")
        return self.send(part, len(part), told, status=206)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as server:
        yield server


@contextmanager
def serving(port: int = 0) -> Iterator[FileServer]:
    with FileServer(port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()
