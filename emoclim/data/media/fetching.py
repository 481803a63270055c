"""Fetch a file from another machine for whoever decodes it, by fsspec: whole or not at all, in a few tries.

Invariants: each try is one request, for what the libraries would try again by themselves is told not to; a file has so
many tries and so much time; and no reason names a user, a password or a signature.
"""

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from emoclim.data.items.hosts import DEAD, UnreachableHosts, UnreachedError, is_unreached
from emoclim.data.items.item import Item
from emoclim.data.items.remote import url_of, without_secrets
from emoclim.data.media.checks import file_of
from emoclim.errors import MissingLibrary, PassingError, reason_of
from emoclim.processes import own_prefix, remove_left

PAUSES = (0.5, 2.0, 8.0)  # seconds before each further try
SILENCE = 30.0  # seconds in which a server must say something
LONGEST = 3600.0  # seconds that one file may take, all tries together
PATIENCE = 60.0  # seconds that a busy server may ask for before each further try
PASSING = (408, 425, 429)  # answers below 500 that are no final ones
GONE = (404, 410)
WHOLE = (200, 203)  # answers with a file; the others have a part of it, a choice of some, or nothing yet
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_ROOM = "there is no room for a copy of it ({}); make some, or name a larger place by TMPDIR"
NOT_ASKED = "its address cannot be asked for ({})"
ENDLESS = "its server does not say how long it is, so that a cut would go unseen"
CUT = "it was cut short"
TOLD = {  # of what libraries tell less well
    "ClientPayloadError": CUT,
    "ClientResponseError": "its answer cannot be read as HTTP",  # for which aiohttp makes up a 400
    "IncompleteRead": CUT,
    "IncompleteReadError": CUT,
    "ResponseStreamingError": CUT,
    "TooManyRedirects": "it is redirected without end",
}
# what another try does not change: an address that is none, or keys that are not there
UNUSABLE = (
    "NoCredentialsError",
    "ParamValidationError",
    "PartialCredentialsError",
    "ProfileNotFound",
    "TooManyRedirects",
)


class RefusalError(Exception):
    """An answer of a server that is no file."""

    def __init__(self, status: int, retry_after: str = "") -> None:
        super().__init__(f"answer {status}")
        self.status, self.retry_after = status, retry_after


@contextmanager
def fetched(item: Item, hosts: UnreachableHosts | None = None) -> Iterator[Item]:
    """Yield the item with a copy of its file on this machine, which is removed afterwards; note how its host answers.

    Raises
    ------
    PassingError
        The file is not there, is refused, or did not come whole in any try.
    MissingLibrary
        What fsspec needs for such addresses is not installed.
    """
    url = url_of(file_of(item))
    try:
        _remove_left(os.getpid())
        suffix = PurePosixPath(urlsplit(url).path).suffix
        room = TemporaryDirectory(prefix=own_prefix(), ignore_cleanup_errors=True)
    except ValueError as error:
        raise PassingError(NOT_ASKED.format("it is no URL")) from error
    except OSError as error:
        raise PassingError(NO_ROOM.format(reason_of(error))) from error
    with room as folder:
        place = Path(folder, f"file{suffix}")
        with (hosts or UnreachableHosts()).asked(url) as dead:
            _fetch(url, place, dead=dead)
        yield replace(item, path=place)


@lru_cache(1)
def _remove_left(process: int) -> None:  # noqa: ARG001
    """Remove what killed processes left, once in each."""
    remove_left()


def _fetch(url: str, place: Path, *, dead: bool) -> None:
    """Copy a file in a few tries; of a server that seems dead the first must reach it."""
    end, reached = time.monotonic() + LONGEST, False
    for number, pause in enumerate((*PAUSES, None), start=1):
        try:
            _copy(url, place, end - time.monotonic())
            return
        except (MissingLibrary, PassingError):
            raise
        except Exception as error:
            if told := _told_at_once(error, reason := without_secrets(_reason(error), url)):
                raise PassingError(told) from error
            reached = reached or not is_unreached(error, url)
            if dead and not reached:
                raise UnreachedError(DEAD) from error
            if pause is None or time.monotonic() + (pause := max(pause, _asked_pause(error))) > end:
                tries = f"in {number} tries (the last: {reason})" if number > 1 else f"({reason})"
                told = f"it could not be fetched {tries}"
                raise PassingError(told) if reached else UnreachedError(told) from error
            time.sleep(pause)


def _copy(url: str, place: Path, seconds: float) -> None:
    """Copy a file from an address; what comes short of the length that was told raises OSError."""
    from fsspec.callbacks import Callback

    files, path = _opened(url)
    sent, limit = Callback(), {"timeout": seconds} if files.async_impl else {}
    files.get_file(path, str(place), callback=sent, **limit)
    if url.startswith("http"):  # whose library compares what came with what the answer said
        return
    if (size := files.info(path).get("size") if sent.size is None else sent.size) is None:
        raise PassingError(ENDLESS)
    if (came := place.stat().st_size) != size:
        raise OSError(f"{came} of {size} bytes came")


def _opened(url: str) -> tuple[Any, str]:
    """Return the file system of an address, and the path in it."""
    from fsspec.core import get_filesystem_class, url_to_fs

    try:
        kind = get_filesystem_class(scheme := url.partition(":")[0])
    except (ImportError, ValueError) as error:  # as fsspec says that it knows no such scheme, or lacks its library
        needed = "addresses of this kind need a library that is not installed; type: pip install 'emoclim[remote]'"
        raise MissingLibrary(needed) from error
    if "::" in url and not scheme.startswith("http"):  # of a file in an archive, say
        files, path = url_to_fs(url, skip_instance_cache=True)
        return files, path
    given = tuple(sorted(kind._get_kwargs_from_urls(url).items()))
    connect = _connected if kind.async_impl else _connected.__wrapped__  # others keep a connection that was cut
    return connect(os.getpid(), threading.get_ident(), scheme, given, SILENCE), kind._strip_protocol(url)


@lru_cache(8)
def _connected(process: int, thread: int, scheme: str, given: tuple[tuple[str, Any], ...], silence: float) -> Any:  # noqa: ARG001
    """Open a file system, whose connections serve all files of a process; a fork must not use those of another."""
    from fsspec.config import apply_config
    from fsspec.core import get_filesystem_class

    kind = get_filesystem_class(scheme)
    ours, users = _patience(scheme, silence), apply_config(kind, {})
    merged = {
        name: one | users.get(name, {}) if isinstance(one, dict) else users.get(name, one) for name, one in ours.items()
    }
    files = kind(**users | merged | dict(given), skip_instance_cache=True)
    if scheme.startswith("s3"):
        files.retries = 1
    return files


def _patience(scheme: str, silence: float) -> dict[str, Any]:
    """Return the options by which a file system asks once, and does not wait for ever."""
    if scheme.startswith("http"):
        from aiohttp import ClientTimeout

        patience = ClientTimeout(total=None, sock_connect=silence, sock_read=silence)
        headers = {"Accept-Encoding": "identity"}  # of a file that was packed for the way, a cut may go unseen
        ours = {"timeout": patience, "raise_for_status": _require_file, "trust_env": True, "headers": headers}
        return {"client_kwargs": ours}
    if scheme.startswith("s3"):
        times = {"connect_timeout": silence, "read_timeout": silence, "retries": {"total_max_attempts": 1}}
        return {"config_kwargs": times, "max_concurrency": 1}
    return {}


async def _require_file(answer: Any) -> None:
    """Raise for an answer that is no file, or one that ends where the connection does, be it cut or not."""
    if answer.status not in WHOLE:
        raise RefusalError(answer.status, answer.headers.get("Retry-After", ""))
    if "Content-Length" not in answer.headers and "chunked" not in answer.headers.get("Transfer-Encoding", "").lower():
        raise PassingError(ENDLESS)


def _told_at_once(error: Exception, reason: str) -> str | None:
    """Say of an error that another try would raise it again; None of one that may be gone."""
    status, _ = _answer(error)
    if isinstance(error, FileNotFoundError) or status in GONE:
        return "there is no file at its address"
    if isinstance(error, PermissionError) or (300 <= status < 500 and status not in PASSING):
        return f"its server refuses the file ({reason})"
    if isinstance(error, OSError) and error.errno in FULL:
        return NO_ROOM.format(reason)
    if isinstance(error, ValueError) or type(error).__name__ in UNUSABLE:
        return NOT_ASKED.format(reason)
    return None


def _asked_pause(error: Exception) -> float:
    """Return the seconds that a busy server asks to wait, as a number or a date, within bounds; 0 if it does not."""
    asked = _answer(error)[1]
    try:
        seconds = float(asked) if asked.isdecimal() else parsedate_to_datetime(asked).timestamp() - time.time()
    except (OverflowError, TypeError, ValueError):
        return 0.0
    return min(max(seconds, 0.0), PATIENCE)


def _answer(error: Exception) -> tuple[int, str]:
    """Return the number of an answer that an error tells of, 0 where there is none, and when one may ask again."""
    if isinstance(error, RefusalError):
        return error.status, error.retry_after
    answer = getattr(error.__cause__, "response", None)  # of botocore
    told = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
    status = 0 if isinstance(error, TimeoutError) else int(told.get("HTTPStatusCode", 0))
    return status, told.get("HTTPHeaders", {}).get("retry-after", "")


def _reason(error: Exception) -> str:
    if status := _answer(error)[0]:
        return f"answer {status}"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "its server was silent or too slow"
    if told := TOLD.get(type(error).__name__):
        return told
    told = reason_of(error) if isinstance(error, OSError) else str(error)
    return told.partition("\n")[0] or type(error).__name__
