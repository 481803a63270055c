"""Downloads and hashes, as the files of parameters use them."""

import hashlib
import http.server
import os
import socket
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from emoclim.encoders import Published, checkpoints, file_hash, identity, location, obtain
from emoclim.encoders.checkpoints import download
from emoclim.errors import CheckpointError
from emoclim.progress import silent

CONTENT = bytes(range(256)) * 10_000  # three blocks of the download


class Server(http.server.ThreadingHTTPServer):
    """Sends `content`, from the byte asked for; breaks off after `limit` bytes; notes the ranges asked for."""

    content: bytes = CONTENT
    limit: int = 1 << 30
    understands_ranges: bool = True
    garbled: bool = False
    length: str | None = None
    endless: bool = False
    tag: str | None = None
    kind: str = "application/octet-stream"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []

    def handle_error(self, request: object, address: object) -> None:
        """Whoever asked may have gone."""

    @property
    def published(self) -> Published:
        url = f"http://127.0.0.1:{self.server_port}/best_model.pth"
        return Published("net.pth", url, f"sha256:{hashlib.sha256(CONTENT).hexdigest()}", "MIT", ("a data set",))


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        self.server.ranges.append(asked)
        if self.server.garbled:
            self.wfile.write(b"nonsense\r\n")
            return
        same = self.headers["If-Range"] in (None, self.server.tag)
        goes_on = asked and self.server.understands_ranges and same
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and goes_on else 0
        rest = self.server.content[start:]
        self.send_response((206 if start else 200) if rest else 416)
        if not self.server.endless:
            self.send_header("Content-Length", self.server.length or str(len(rest)))
        self.send_header("Content-Type", self.server.kind)
        if self.server.tag:
            self.send_header("ETag", self.server.tag)
        self.end_headers()
        self.wfile.write(rest[: self.server.limit])
        while self.server.endless:
            self.wfile.write(rest)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    return tmp_path / "home"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_files_lie_in_the_project_home_or_the_users_cache(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = Published("net.pth", "http://nowhere.invalid/x", None, "MIT", ())
    assert location(published) == home / "checkpoints" / "net.pth"
    monkeypatch.delenv("EMOCLIM_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert location(published) == tmp_path / "xdg" / "emoclim" / "checkpoints" / "net.pth"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert location(published) == tmp_path / ".cache" / "emoclim" / "checkpoints" / "net.pth"


def test_a_file_is_downloaded_once_with_progress(server: Server) -> None:
    seen: list[tuple[int, str, float | None]] = []

    def track(sequence: Iterable[Any], description: str = "", total: float | None = None) -> Iterable[Any]:
        blocks = list(sequence)
        seen.append((len(blocks), description, total))
        return blocks

    path = obtain(server.published, track=track)
    assert path.read_bytes() == CONTENT
    assert seen == [(3, "download net.pth", 3)]
    assert obtain(server.published, track=track) == path
    assert server.ranges == [None]
    assert [entry.name for entry in path.parent.iterdir()] == ["net.pth"]


@pytest.mark.parametrize("understands_ranges", [True, False])
def test_a_broken_download_goes_on_where_it_stopped(server: Server, *, understands_ranges: bool) -> None:
    server.limit, server.understands_ranges = 1_500_000, understands_ranges
    with pytest.raises(CheckpointError, match="after 1500000 of 2560000 bytes"):
        obtain(server.published, track=silent)
    assert not location(server.published).exists()
    server.limit = 1 << 30
    assert obtain(server.published, track=silent).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1500000-"]


def test_a_file_that_was_exchanged_meanwhile_is_begun_anew(server: Server) -> None:
    server.limit, server.tag = 1_500_000, '"one"'
    with pytest.raises(CheckpointError, match="broke off"):
        obtain(server.published, track=silent)
    server.limit, server.tag, server.content = 1 << 30, '"two"', CONTENT[::-1]
    published = replace(server.published, hash=None)
    assert obtain(published, track=silent).read_bytes() == CONTENT[::-1]
    assert server.ranges == [None, "bytes=1500000-"]


def test_a_web_page_is_no_checkpoint(server: Server) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(CheckpointError, match="a web page came instead"):
        obtain(replace(server.published, hash=None), track=silent)
    assert list(location(server.published).parent.iterdir()) == []


def test_a_part_that_is_too_long_is_begun_anew(server: Server) -> None:
    part = location(server.published).with_name("net.pth.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT + b"more")
    part.with_name("net.pth.part.etag").touch()
    assert obtain(server.published, track=silent).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT) + 4}-", None]


def test_a_download_with_another_hash_is_deleted(server: Server) -> None:
    server.content = b"something else"
    with pytest.raises(CheckpointError, match=r"is not the file of .* \(sha256:\w+\)"):
        obtain(server.published, track=silent)
    assert list(location(server.published).parent.iterdir()) == []


def test_a_file_put_there_by_hand_is_verified_and_kept(server: Server) -> None:
    path = location(server.published)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"something else")
    with pytest.raises(CheckpointError, match=r"is not the file of .* remove it"):
        obtain(server.published, track=silent)
    assert path.read_bytes() == b"something else"
    path.write_bytes(CONTENT)
    assert obtain(server.published, track=silent) == path
    assert server.ranges == []


def test_where_no_hash_is_known_the_first_download_sets_it(server: Server) -> None:
    published = replace(server.published, hash=None)
    path = obtain(published, track=silent)
    assert path.with_name("net.pth.sha256").read_text() == f"{hashlib.sha256(CONTENT).hexdigest()}  net.pth\n"
    path.unlink()
    server.content = b"exchanged"
    with pytest.raises(CheckpointError, match=r"delete .*net.pth.sha256"):
        obtain(published, track=silent)
    server.content = CONTENT
    assert obtain(published, track=silent) == path
    path.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="remove it"):
        obtain(published, track=silent)


def test_hashes_are_those_of_sha256sum_and_git(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"what is up, doc?")
    assert file_hash(file, "git-blob") == "bd9dbf5aae1a3862dd1526723246b20206e5fc37"  # the example of the git book
    assert identity(file) == f"file@{hashlib.sha256(b'what is up, doc?').hexdigest()[:12]}"
    file.write_bytes(b"changed")
    assert identity(file) == f"file@{hashlib.sha256(b'changed').hexdigest()[:12]}"
    blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    assert obtain(replace(server.published, hash=f"git-blob:{blob[:8]}"), track=silent).is_file()


def test_without_network_the_message_says_what_to_put_where(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "PATIENCE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent_host:
        port = silent_host.getsockname()[1]
        for url, reason in [(f"https://127.0.0.1:{port}/x", "timed out"), ("https://127.0.0.1:9/x", "refused")]:
            with pytest.raises(CheckpointError, match=reason) as told:
                obtain(Published("net.pth", url, None, "MIT", ()), track=silent)
            assert str(told.value).startswith(f"cannot download {url} (")
            assert str(told.value).endswith(f"); try again, or put the file at {home / 'checkpoints' / 'net.pth'}")


def test_an_address_that_is_gone_is_told(server: Server) -> None:
    server.content = b""
    with pytest.raises(CheckpointError, match=r"cannot download .*HTTP Error 416"):
        obtain(server.published, track=silent)


def test_an_answer_that_is_none_is_told(server: Server) -> None:
    server.garbled = True
    with pytest.raises(CheckpointError, match=r"BadStatusLine\('nonsense"):
        obtain(server.published, track=silent)


def test_a_length_that_is_none_is_taken_for_unknown(server: Server) -> None:
    server.length = "abc"
    assert obtain(server.published, track=silent).read_bytes() == CONTENT


def test_a_download_without_end_is_ended(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_UNTOLD_BYTES", 10_000_000)
    server.endless = True
    with pytest.raises(CheckpointError, match="its length is not told, and more than 10,000,000 bytes came"):
        obtain(server.published, track=silent)
    assert location(server.published).with_name("net.pth.part").stat().st_size == 0


def test_a_download_that_the_disk_cannot_hold_is_not_begun(server: Server) -> None:
    server.length = str(10**18)
    with pytest.raises(CheckpointError, match=r"is of 1,000,000,000,000,000,000 bytes, and .* has room for"):
        obtain(server.published, track=silent)


def test_a_mark_that_is_no_text_is_no_obstacle(server: Server) -> None:
    server.tag, server.limit = '"\xe9\x01"', 1_500_000
    with pytest.raises(CheckpointError, match="broke off"):
        obtain(server.published, track=silent)
    server.limit = 1 << 30
    assert obtain(server.published, track=silent).read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_parts_that_are_no_regular_files_are_replaced(kind: str, server: Server, tmp_path: Path) -> None:
    part = location(server.published).with_name("net.pth.part")
    part.parent.mkdir(parents=True)
    (tmp_path / "theirs").write_text("kept")
    part.with_name("net.pth.part.etag").touch()
    if kind == "pipe":
        os.mkfifo(part)
    else:
        part.symlink_to(tmp_path / "theirs")
    assert obtain(server.published, track=silent).read_bytes() == CONTENT
    assert (tmp_path / "theirs").read_text() == "kept"


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"])
def test_a_record_that_is_damaged_is_one_sentence_or_none(content: bytes, server: Server) -> None:
    published = replace(server.published, hash=None)
    record = obtain(published, track=silent).with_name("net.pth.sha256")
    record.write_bytes(content)
    if content:
        with pytest.raises(CheckpointError, match=f"delete {record}"):
            obtain(published, track=silent)
    else:
        assert obtain(published, track=silent).read_bytes() == CONTENT


def test_what_the_hubs_own_library_has_is_copied(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blob").write_bytes(CONTENT)
    (tmp_path / "link").symlink_to("blob")  # as it keeps them
    found = {("roberta-base", "deep/net.pth"): str(tmp_path / "link")}  # under the name that it had then
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *asked: found.get(asked))
    asked: list[str] = []
    monkeypatch.setattr(checkpoints.published, "download", lambda url, part, track: asked.append(url) or part.touch())
    known = replace(server.published, url="https://huggingface.co/FacebookAI/roberta-base/resolve/main/deep/net.pth")
    path = obtain(known, track=silent)
    assert path.read_bytes() == CONTENT
    assert not path.is_symlink()
    path.unlink()
    untold = replace(known, hash=None)
    record = obtain(untold, track=silent).with_name("net.pth.sha256")
    assert record.read_text().split() == [hashlib.sha256(CONTENT).hexdigest(), "net.pth"]
    assert asked == []
    path.unlink()
    (tmp_path / "blob").write_bytes(b"of another time")
    with pytest.raises(CheckpointError, match="what was downloaded is not"):
        obtain(known, track=silent)
    assert asked == [known.url]
