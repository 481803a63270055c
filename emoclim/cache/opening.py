"""Opening a cache on disk; the suffix of its path picks the file format, whose library is loaded on first use only."""

import importlib
from functools import partial
from pathlib import Path
from typing import cast

from emoclim.cache.contract import FeatureCache
from emoclim.cache.disk import DiskCache, explained
from emoclim.cache.files import aside, remove
from emoclim.cache.lock import WriterLock
from emoclim.cache.store import Backend
from emoclim.data import FeatureSpec
from emoclim.errors import CacheError

BACKENDS = {".h5": "emoclim.cache.hdf5", ".zarr": "emoclim.cache.zarr"}


def open_cache(path: Path | str, spec: FeatureSpec | None = None) -> FeatureCache:
    """Open a cache on disk.

    Parameters
    ----------
    path
        Ends in ``.h5`` or ``.zarr``.
    spec
        Opens for appending, by this process alone. A cache that is not there yet is made, and its folder too, when
        something is first put into it. None opens for reading what is committed at that moment, also while another
        process appends.

    Raises
    ------
    CacheMismatch
        The cache holds features of another spec.
    CacheError
        The suffix is another one, there is no cache to read, what is there is no cache or is damaged, another process
        is writing it, or the folder cannot be written.
    """
    path = Path(path)
    if path.suffix not in BACKENDS:
        raise CacheError(f"the name of cache {path} must end in {' or '.join(BACKENDS)}")
    backend = cast(Backend, importlib.import_module(BACKENDS[path.suffix]))
    remedy = "check its permissions, or delete it and extract anew if it is damaged"
    if spec is not None:
        with explained(f"cache {path} cannot be opened for writing", remedy):
            return _open_to_write(path, spec, backend)
    if not path.exists():
        raise CacheError(f"there is no cache {path}; make one with `emoclim extract`")
    with explained(f"cache {path} cannot be opened for reading", remedy):
        return _open_to_read(path, backend)


def _open_to_read(path: Path, backend: Backend) -> FeatureCache:
    store = backend.open_store(path, writable=False)
    try:
        return DiskCache(path, store.spec, store, partial(backend.create_store, path, store.spec))
    except BaseException:
        store.close()
        raise


def _open_to_write(path: Path, spec: FeatureSpec, backend: Backend) -> FeatureCache:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = WriterLock(path)
    store = None
    try:
        remove(aside(path.resolve()))  # what a writer left that died while it made a cache
        if not _is_vacant(path):
            store = backend.open_store(path, writable=True)
            store.spec.require(spec, f"cache {path}")
        return DiskCache(path, spec, store, partial(backend.create_store, path, spec), lock)
    except BaseException:
        if store is not None:
            store.close()
        lock.release()
        raise


def _is_vacant(path: Path) -> bool:
    """Whether there is nothing, or an empty folder."""
    return not path.exists() or (path.is_dir() and not any(path.iterdir()))
