"""Fetch a file from another machine for whoever decodes it, by fsspec: whole or not at all, in a few tries."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from emoclim.data.items.item import Item
from emoclim.data.items.remote import url_of
from emoclim.data.media.checks import file_of
from emoclim.errors import MissingLibrary, PassingError

PAUSES = (0.5, 2.0, 8.0)  # seconds before each further try
SILENCE = 30.0  # seconds in which a server must say something
LONGEST = 3600.0  # seconds that one file may take
PASSING = (408, 425, 429)  # answers of 4xx that are no final ones


@contextmanager
def fetched(item: Item) -> Iterator[Item]:
    """Yield the item with a copy of its file on this machine, which is removed afterwards.

    Raises
    ------
    PassingError
        The file is not there, is refused, or did not come whole in any try.
    MissingLibrary
        What fsspec needs for such addresses is not installed.
    """
    url = url_of(file_of(item))
    with TemporaryDirectory(prefix="emoclim-", ignore_cleanup_errors=True) as folder:
        place = Path(folder, f"file{PurePosixPath(urlsplit(url).path).suffix}")
        _fetch(url, place)
        yield replace(item, path=place)


def _fetch(url: str, place: Path) -> None:
    for pause in (*PAUSES, None):
        try:
            _copy(url, place)
            return
        except (ImportError, ValueError) as error:  # as fsspec says that it knows no such scheme, or lacks its library
            needed = "addresses of this kind need a library that is not installed; type: pip install 'emoclim[remote]'"
            raise MissingLibrary(needed) from error
        except FileNotFoundError as error:
            raise PassingError("there is no file at its address") from error
        except Exception as error:
            status = getattr(error, "status", 0)
            reason = f"answer {status}" if status else (str(error).partition("\n")[0] or type(error).__name__)
            if 400 <= status < 500 and status not in PASSING:
                raise PassingError(f"its server refuses the file ({reason})") from error
            if pause is None:
                told = f"it could not be fetched in {len(PAUSES) + 1} tries (the last: {reason})"
                raise PassingError(told) from error
            time.sleep(pause)


def _copy(url: str, place: Path) -> None:
    """Copy a file from an address; what comes short of the length that was told raises OSError."""
    from fsspec.core import url_to_fs

    files, path = url_to_fs(url, skip_instance_cache=True, **_patience(url))
    files.get_file(path, str(place))
    if not url.startswith("http"):  # whose library compares what came with what the answer said
        size = files.info(path).get("size")
        if size is not None and place.stat().st_size != size:
            raise OSError(f"{place.stat().st_size} of {size} bytes came")


def _patience(url: str) -> dict[str, Any]:
    """Return the options by which fsspec does not wait for ever."""
    if url.startswith("http"):
        from aiohttp import ClientTimeout

        times = ClientTimeout(total=LONGEST, sock_connect=SILENCE, sock_read=SILENCE)
        return {"client_kwargs": {"timeout": times}}
    if url.startswith("s3"):
        return {"config_kwargs": {"connect_timeout": SILENCE, "read_timeout": SILENCE, "retries": {"max_attempts": 1}}}
    return {}
