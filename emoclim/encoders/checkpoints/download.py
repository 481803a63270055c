"""Download a file, resuming an earlier attempt, and verify its hash.

A hash is ``"sha256:<hex>"``, ``"md5:<hex>"`` or the like, or ``"git-blob:<hex>"``; it may be its first digits only.
"""

import hashlib
import http.client
import re
import shutil
import urllib.error
import urllib.request
from functools import cache
from http import HTTPStatus
from pathlib import Path

from emoclim.files import open_regular
from emoclim.progress import Track

PATIENCE_SECONDS = 10.0  # with a host that does not answer
BLOCK_BYTES = 1 << 20
HUB_FILE = re.compile(r"https://huggingface\.co/([^/]+/[^/]+)/resolve/main/(.+)")
MAX_UNTOLD_BYTES = 10**9  # of a download whose length the host does not tell


def download(url: str, part: Path, *, track: Track) -> None:
    """Bring `part`, which may hold the beginning, to the whole content of an address; raise OSError if that fails."""
    mark = part.with_name(f"{part.name}.etag")
    for own in (part, mark):
        if own.is_symlink() or not own.is_file():
            own.unlink(missing_ok=True)
    held = part.stat().st_size if part.is_file() and mark.is_file() else 0
    try:
        with _open(url, held, _plain(mark.read_text(encoding="ascii", errors="replace")) if held else "") as response:
            mark.write_text(_plain(str(response.headers.get("ETag", ""))), encoding="ascii")
            _save(response, part, track)
        mark.unlink()
    except http.client.HTTPException as error:
        raise OSError(f"no proper answer: {error!r}") from error


def _plain(tag: str) -> str:
    """Return a tag that can be sent, or nothing."""
    return tag if tag.isascii() and tag.isprintable() else ""


def _open(url: str, held: int, mark: str) -> http.client.HTTPResponse:
    """Ask for what follows the bytes that are held, if they are of the present content, or else for everything."""
    wanted = {"Range": f"bytes={held}-"} | ({"If-Range": mark} if mark else {}) if held else {}
    request = urllib.request.Request(url, headers=wanted)
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=PATIENCE_SECONDS)
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
    size = response.length
    if size is not None and size > (free := shutil.disk_usage(part.parent).free):
        raise OSError(f"it is of {size:,} bytes, and {part.parent} has room for {free:,}")
    total = None if size is None else -(-size // BLOCK_BYTES)
    blocks = iter(lambda: response.read(BLOCK_BYTES), b"")
    received = 0
    with part.open("ab" if response.status == HTTPStatus.PARTIAL_CONTENT else "wb") as file:
        for block in track(blocks, f"download {part.stem}", total):
            received += file.write(block)
            if size is None and received > MAX_UNTOLD_BYTES:
                file.truncate(0)
                raise OSError(f"its length is not told, and more than {MAX_UNTOLD_BYTES:,} bytes came")
    if size is not None and received != size:
        raise OSError(f"it broke off after {received} of {size} bytes; run again to go on")


def hub_copy(url: str) -> Path | None:
    """Return the copy of a file of the Hugging Face hub that the hub's own library keeps on this machine, if it does.

    Many repositories were moved to their owner's name since: copies under the older name are of the same files.
    """
    if (found := HUB_FILE.fullmatch(url)) is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    repository, file = found.groups()
    copies = (try_to_load_from_cache(name, file) for name in (repository, repository.rpartition("/")[2]))
    return next((Path(copy) for copy in copies if isinstance(copy, str)), None)


def has_hash(path: Path, expected: str) -> bool:
    """Return whether a file has the hash that is expected of it."""
    kind, _, digits = expected.partition(":")
    return file_hash(path, kind).startswith(digits)


def file_hash(path: Path, kind: str = "sha256") -> str:
    """Hash a file (``git-blob`` is git's own kind); read it once as long as it does not change."""
    stat = path.stat()
    return _hash_version(path.absolute(), kind, stat.st_size, stat.st_mtime_ns)


@cache
def _hash_version(path: Path, kind: str, size: int, _mtime_ns: int) -> str:
    digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if kind == "git-blob" else hashlib.new(kind)
    with open_regular(path) as file:
        return hashlib.file_digest(file, lambda: digest).hexdigest()
