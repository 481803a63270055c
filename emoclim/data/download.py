"""Bring a file of the web to a path, going on where an earlier attempt broke off, and tell whether it is the right one.

Convention: a hash is ``"sha256:<hex>"``, ``"md5:<hex>"`` or the like, or ``"git-blob:<hex>"``; it may be shortened to
its first digits.
"""

import hashlib
import http.client
import queue
import socket
import threading
import urllib.error
import urllib.request
from functools import cache
from http import HTTPStatus
from pathlib import Path

from emoclim.progress import Track

CONNECT_SECONDS = 1.5  # to find a host and be let in
STALL_SECONDS = 30.0
BLOCK_BYTES = 1 << 20


def download(url: str, part: Path, *, track: Track) -> None:
    """Bring `part` to the whole content of an address.

    Bytes that `part` holds already are taken as its beginning if the server can go on from there.

    Raises
    ------
    OSError
        The address cannot be reached, the connection broke off, or the file cannot be written.
    """
    mark = part.with_name(f"{part.name}.etag")
    held = part.stat().st_size if part.is_file() and mark.is_file() else 0
    try:
        with _open(url, held, mark.read_text(encoding="utf-8") if held else "") as response:
            mark.write_text(response.headers.get("ETag", ""), encoding="utf-8")
            _save(response, part, track)
        mark.unlink()
    except http.client.HTTPException as error:
        raise OSError(f"no proper answer: {error!r}") from error


def _open(url: str, held: int, mark: str) -> http.client.HTTPResponse:
    """Ask for what follows the bytes that are held, if they are of the present content, or else for everything."""
    wanted = {"Range": f"bytes={held}-"} | ({"If-Range": mark} if mark else {}) if held else {}
    request = urllib.request.Request(url, headers=wanted)
    opener = urllib.request.build_opener(_PatientHandler)
    try:
        response: http.client.HTTPResponse = opener.open(request, timeout=CONNECT_SECONDS)
    except urllib.error.HTTPError as error:
        if not held or error.code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        error.close()
        return _open(url, 0, "")
    if response.headers.get_content_type() == "text/html":
        response.close()
        raise OSError("a web page came instead of the file; is there a login in between?")
    return response


def _save(response: http.client.HTTPResponse, part: Path, track: Track) -> None:
    size = response.headers.get("Content-Length")
    total = None if size is None else -(-int(size) // BLOCK_BYTES)
    blocks = iter(lambda: response.read(BLOCK_BYTES), b"")
    with part.open("ab" if response.status == HTTPStatus.PARTIAL_CONTENT else "wb") as file:
        received = sum(file.write(block) for block in track(blocks, f"download {part.stem}", total))
    if size is not None and received != int(size):
        raise OSError(f"it broke off after {received} of {size} bytes; run again to go on")


def has_hash(path: Path, expected: str) -> bool:
    """Whether a file has the hash that is expected of it."""
    kind, _, digits = expected.partition(":")
    return file_hash(path, kind).startswith(digits)


def file_hash(path: Path, kind: str = "sha256") -> str:
    """Hex digits of a file's hash; a file is read once per process and state of the file.

    Parameters
    ----------
    path
        An existing file.
    kind
        A name known to :mod:`hashlib`, or ``git-blob``: the SHA-1 under which git keeps the content.
    """
    stat = path.stat()
    return _hash_version(path.absolute(), kind, stat.st_size, stat.st_mtime_ns)


@cache
def _hash_version(path: Path, kind: str, size: int, _mtime_ns: int) -> str:
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if kind == "git-blob" else hashlib.new(kind)
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


class _PatientConnection(http.client.HTTPSConnection):
    """Gives up soon on a host that does not answer, but lets one that answered take its time."""

    def connect(self) -> None:
        self._create_connection = _connect_in_time
        super().connect()
        self.sock.settimeout(STALL_SECONDS)


class _PatientHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PatientConnection, req)


def _connect_in_time(address: tuple[str, int], timeout: float, source: tuple[str, int] | None = None) -> socket.socket:
    """As :func:`socket.create_connection`, but the time is for all of it: the name, and each of its addresses."""
    answers: queue.SimpleQueue[socket.socket | OSError] = queue.SimpleQueue()

    def connect() -> None:
        try:
            answers.put(socket.create_connection(address, timeout, source))
        except OSError as error:
            answers.put(error)

    threading.Thread(target=connect, daemon=True).start()
    try:
        answer = answers.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError("timed out") from None
    if isinstance(answer, OSError):
        raise answer
    return answer
