"""Attacks by odd queries and files that do harm, none of which may succeed, or keep the service from answering."""

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from attacked import SETTINGS, Target
from attacked import _alive_afterwards as _alive_afterwards
from attacked import target as target
from served import served_workspace as served_workspace

pytestmark = pytest.mark.usefixtures("_alive_afterwards")

QUERIES = {
    "deep": "[" * 100_000,
    "deep objects": '{"only":' * 50_000,
    "huge": json.dumps({"library": "audio", "plus": [{"text": "a" * 1_500_000}]}),
    "parts ever more": json.dumps({"library": "audio", "plus": [{"file": 0}] * 50_000}),
    "numbers ever longer": '{"library": "audio", "top": ' + "9" * 100_000 + "}",
    "no numbers": '{"library": "audio", "plus": [{"file": 0}], "mix": {"emotion": NaN, "content": Infinity}}',
    "beyond all numbers": '{"library": "audio", "plus": [{"file": 0}], "at": [1e999, -1e999]}',
    "too many hits": json.dumps({"library": "audio", "plus": [{"file": 0}], "top": 10**9}),
    "half a letter": '{"library": "audio", "plus": [{"text": "\\ud800"}]}',
    "null byte": '{"library": "audio\\u0000", "plus": [{"file": 0}]}',
    "path as a library": json.dumps({"library": "/etc", "plus": [{"file": 0}]}),
    "path as an item": json.dumps({"library": "audio", "plus": [{"item": "../../secret.wav"}]}),
    "path as words": json.dumps({"library": "audio", "plus": [{"text": "/etc/passwd"}]}),
    "class of Python": json.dumps({"library": "audio", "__class__": "os.system", "plus": [{"file": 0}]}),
    "negative file": json.dumps({"library": "audio", "plus": [{"file": -1}]}),
    "range of no seconds": '{"library": "audio", "plus": [{"file": 0}], "only": {"seconds": [9, 1]}}',
}


@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES.keys())
def test_no_query_is_too_odd(target: Target, query: str) -> None:
    answer = target.ask(query, ("a.png", png(8, 8)))
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["message"]
    assert "root:" not in answer.text


def png(width: int, height: int, pixels: bytes | None = None) -> bytes:
    """A picture of one colour, or of whatever pixels are given."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    pixels = zlib.compress(bytes((1 + 3 * width) * height)) if pixels is None else pixels
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


class Bomb:
    """What makes a folder where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.place),)


def zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../a.png", content)
    return packed.getvalue()


HTML = b"<html><script>alert(1)</script>"
FILES = {
    "picture that fills the memory": ("a.png", png(40_000, 40_000, zlib.compress(bytes(10**6)))),
    "picture of ever more zeros": ("a.png", png(12_000, 12_000, zlib.compress(bytes(12_000 * 36_001)))),
    "zip bomb": ("a.png", zipped(bytes(10**8))),
    "gzip bomb": ("a.wav", gzip.compress(bytes(10**8))),
    "markup": ("a.jpg", HTML),
    "picture of markup that reads a file": (
        "a.png",
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><svg>&b;</svg>',
    ),
    "list that names a file": ("a.mp3", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
    "list that FFmpeg follows": ("a.wav", b"ffconcat version 1.0\nfile /etc/passwd\n"),
    "sound of hours that are not there": (
        "a.wav",
        b"RIFF\x00\x00\x00\x20WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 1, 1, 8_000, 16_000, 2, 16)
        + b"data\xd0\xff\xff\x1f"
        + bytes(99),
    ),
    "sound of no rate": (
        "a.wav",
        b"RIFF\x24\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 0, 0, 0, 0, 0) + b"data\0\0\0\0",
    ),
    "nothing": ("a.png", b""),
    "only zeros": ("a.flac", bytes(10**6)),
    "kind that is not known": ("a.exe", b"MZ" + bytes(100)),
    "no suffix": ("a", png(8, 8)),
}


@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES.keys())
def test_no_upload_does_harm(target: Target, name: str, content: bytes) -> None:
    answer = target.upload(name, content)
    assert answer.status_code in (400, 413)
    assert answer.json()["error"]["message"]
    assert "root:" not in answer.text


@pytest.mark.parametrize("name", ["a.png", "a.wav", "a.npz.flac", "a.txt"])
@pytest.mark.parametrize("protocol", [0, 5])
def test_nothing_is_unpickled(target: Target, tmp_path: Path, name: str, protocol: int) -> None:
    assert target.upload(name, pickle.dumps(Bomb(tmp_path / "made"), protocol)).status_code == 400
    assert not (tmp_path / "made").exists()


NAMES = [
    "../../../tmp/out.png",
    "/etc/out.png",
    "..\\..\\out.png",
    "a\0b.png",
    "<script>alert(1)</script>.png",
    "=1+1.png",
]
NAMES += ["a\r\nX-Injected: 1\r\n\r\n.png", f"{'a' * 5_000}.png", "\u202egnp.exe.png", "CON.png", ".png", "‮💥.png"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_names_of_uploads_are_text_and_lead_nowhere(target: Target, name: str) -> None:
    answer = target.upload(name, png(8, 8))
    assert answer.status_code in (200, 400)
    assert answer.headers["content-type"] == "application/json"
    assert "x-injected" not in answer.headers
    if answer.status_code == 200:
        shown = answer.json()["results"][0]["query"]
        assert "/" not in shown.replace("</script>", "")
        assert len(shown) <= 200
        assert shown.isprintable()


def test_files_of_a_kind_that_breaks_decoders(target: Target, shared: Path) -> None:
    files = [path for place in ("cases", "broken") for path in sorted((shared / place).rglob("*")) if path.is_file()]
    files = [path for path in files if path.stat().st_size < SETTINGS.upload_bytes // 4]
    asked = {"library": "audio", "plus": [{"file": number} for number in range(3)], "separately": True}
    for first in range(0, len(files) - 2, 3):
        answer = target.ask(asked, *((path.name, path.read_bytes()) for path in files[first : first + 3]))
        assert answer.status_code in (200, 400)
        answer.json()
