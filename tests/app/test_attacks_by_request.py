"""Attacks by requests of bad manners, none of which may succeed, or keep the service from answering others."""

import socket
import time
from collections.abc import Callable

import pytest
from attacked import SECRET, SETTINGS, Target, status_of
from attacked import _alive_afterwards as _alive_afterwards
from attacked import target as target
from served import served_workspace as served_workspace

pytestmark = pytest.mark.usefixtures("_alive_afterwards")

CHUNKED = ("Transfer-Encoding: chunked", "Content-Type: multipart/form-data; boundary=x")
OPENED = b'--x\r\nContent-Disposition: form-data; name="query"\r\n\r\n'
PATHS = {
    "traversal": "/static/../../settings.py",
    "encoded traversal": "/static/%2e%2e/%2e%2e/settings.py",
    "encoded slashes": "/static/..%2f..%2fsettings.py",
    "encoded twice": "/static/%252e%252e%252fsettings.py",
    "dots that are stripped": "/static/....//....//settings.py",
    "backslashes": "/static/..\\..\\settings.py",
    "absolute path": "/static//etc/passwd",
    "null byte": "/static/settings.py%00.css",
    "letters too long in UTF-8": "/static/%c0%ae%c0%ae/settings.py",
    "library that is a path": "/api/libraries/..%2f..%2fetc/items/0/media",
    "negative row": "/api/libraries/audio/items/-1/media",
    "row that is a path": "/api/libraries/audio/items/..%2f..%2fsecret.wav/media",
    "row beyond any number": f"/api/libraries/audio/items/{'9' * 4_000}/media",
    "form that is a path": "/api/libraries/audio/items/0/media?as=../../secret.wav",
    "source of the program": "/emoclim/app/service.py",
}
REQUESTS: dict[str, Callable[[Target], bytes]] = {
    "name of another host": lambda to: to.get("/api/about", host="evil.example"),
    "name that begins as ours": lambda to: to.get("/api/about", host="localhost.evil.example"),
    "user before the host": lambda to: to.get("/api/about", host=f"{to.host}@evil.example"),
    "host as a number": lambda to: to.get("/api/about", host="2130706433"),
    "no host": lambda to: to.get("/api/about", host=""),
    "two hosts": lambda to: to.get("/api/about", "Host: evil.example"),
    "another host in the address": lambda to: to.get("http://evil.example/api/about", host="evil.example"),
    "host as proxies tell it": lambda to: to.get("/", f"X-Forwarded-Host: {to.host}", host="evil.example"),
    "page of another site": lambda to: to.get("/api/search", "Origin: https://evil.example", method="POST"),
    "page of no site": lambda to: to.get("/api/search", "Origin: null", method="POST"),
    "page of another port": lambda to: to.get("/api/search", "Origin: http://127.0.0.1:1", method="POST"),
    "sound in a page of another site": lambda to: to.get(
        "/api/libraries/audio/items/0/media", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"
    ),
    "script of another site": lambda to: to.get("/static/main.js", "Sec-Fetch-Site: cross-site"),
    "form of another site": lambda to: to.get(
        "/api/libraries", "Content-Type: text/plain", "Content-Length: 13", method="POST", body=b'{"path": "/"}'
    ),
    "leave for another site": lambda to: to.get(
        "/api/search", "Origin: https://evil.example", "Access-Control-Request-Method: POST", method="OPTIONS"
    ),
    "method that mirrors": lambda to: to.get("/", "Cookie: a=b", method="TRACE"),
    "method of a proxy": lambda to: to.get("evil.example:443", method="CONNECT"),
    "negative length": lambda to: to.get("/api/playlist", "Content-Length: -1", method="POST"),
    "two lengths": lambda to: to.get(
        "/api/playlist", "Content-Length: 1", "Content-Length: 90", method="POST", body=b"{"
    ),
    "smuggled request": lambda to: to.get(
        "/api/playlist",
        "Content-Length: 4",
        "Transfer-Encoding: chunked",
        method="POST",
        body=b"0\r\n\r\nGET /api/about HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    ),
    "body of which too much is told": lambda to: to.get("/api/search", f"Content-Length: {10**15}", method="POST"),
    "body without an end": lambda to: to.raw(
        *[head(to, "/api/search", *CHUNKED)],
        b'8\r\n--x\r\nCon\r\n31\r\ntent-Disposition: form-data; name="files"; filename=\r\n7\r\n"a"\r\n\r\n\r\n',
        *[b"10000\r\n" + bytes(65_536) + b"\r\n"] * 60,
    ),
    "header without an end": lambda to: to.raw(f"GET / HTTP/1.1\r\nHost: {to.host}\r\nX: ".encode() + b"a" * 10**6),
    "ten thousand headers": lambda to: to.get("/", *[f"X-{number}: a" for number in range(10_000)]),
    "line broken in a header": lambda to: to.get("/", "X: a\r\n\tb\r\nBad Name: c"),
    "no HTTP at all": lambda to: to.raw(bytes(range(256)) * 64),
    "greeting of TLS": lambda to: to.raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)),
    "greeting of HTTP/2": lambda to: to.raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)),
    "socket of another site": lambda to: to.get(
        "/",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        "Origin: https://evil.example",
    ),
    "parts without a boundary": lambda to: to.get(
        "/api/search", "Content-Type: multipart/form-data", "Content-Length: 5", method="POST", body=b"--x--"
    ),
    "ten thousand fields": lambda to: multipart(to, b"".join(field(f"f{number}") for number in range(10_000))),
    "files that are ever more": lambda to: multipart(
        to, b"".join(field("files", f"{number}.png") for number in range(9_000))
    ),
    "headers of a part without an end": lambda to: multipart(to, b"--x\r\n" + b"X-A: a\r\n" * 100_000),
}


def head(to: Target, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", f"Host: {to.host}", *headers, "", ""]).encode()


def field(name: str, file: str | None = None) -> bytes:
    named = f'; filename="{file}"' if file else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\na\r\n'.encode()


def multipart(to: Target, body: bytes) -> bytes:
    body += b"--x--\r\n"
    kind, length = "Content-Type: multipart/form-data; boundary=x", f"Content-Length: {len(body)}"
    return to.get("/api/search", kind, length, method="POST", body=body)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_no_path_leads_out(target: Target, path: str) -> None:
    answer = target.get(path)
    assert 400 <= status_of(answer) < 500
    assert b"class ServiceSettings" not in answer
    assert b"root:" not in answer
    assert SECRET.encode() not in answer


@pytest.mark.parametrize("attack", REQUESTS.values(), ids=REQUESTS.keys())
def test_no_request_of_bad_manners_is_answered(target: Target, attack: Callable[[Target], bytes]) -> None:
    answer = attack(target)
    assert status_of(answer) == 0 or 400 <= status_of(answer) < 500
    assert b"libraries" not in answer
    assert b"access-control" not in answer.lower()
    assert b"Traceback" not in answer


def test_who_sends_a_body_slowly_is_told(target: Target) -> None:
    begun = time.monotonic()
    answer = target.raw(
        head(target, "/api/search", *CHUNKED),
        b"%x\r\n%b\r\n" % (len(OPENED), OPENED),
        *[b"1\r\na\r\n"] * 10,
        pause=SETTINGS.upload_seconds / 8,
    )
    assert status_of(answer) == 408
    assert b"connection: close" in answer.lower()  # it keeps no place either
    assert time.monotonic() - begun < 5 * SETTINGS.upload_seconds


def test_who_never_ends_asking_keeps_nobody_waiting(target: Target) -> None:
    waiting = [socket.create_connection(("127.0.0.1", target.port)) for _ in range(100)]
    try:
        for connection in waiting:
            connection.sendall(b"GET /api/about HTTP/1.1\r\nHo")
        target.require_alive()
    finally:
        for connection in waiting:
            connection.close()


def test_who_leaves_amid_an_upload_leaves_nothing(target: Target) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", target.port)) as connection:
            connection.sendall(head(target, "/api/search", "Content-Length: 900000", CHUNKED[1]) + field("files")[:-2])


@pytest.mark.parametrize(
    "given", ["bytes=" + ",".join(f"{n}-{n + 1}" for n in range(0, 12_000, 3))[:30_000], "bytes=-", "bytes=9-1", "a=\0"]
)
def test_no_range_costs_more_than_the_file(target: Target, given: str) -> None:
    answer = target.get("/api/libraries/audio/items/0/media", f"Range: {given}")
    size = target.libraries["audio"].items.item(0).path.stat().st_size
    assert len(answer) < 10 * size
    assert status_of(answer) in (0, 200, 206, 400, 416, 431)
