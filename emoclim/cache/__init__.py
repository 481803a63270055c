"""Caches of features; the suffix of the path picks the file format, whose library is loaded on first use only."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.cache.base import FeatureCache
from emoclim.cache.disk import DiskCache, explained
from emoclim.errors import CacheError
from emoclim.features import FeatureSpec

if TYPE_CHECKING:
    from emoclim.cache.store import Store

BACKENDS = {".h5": "emoclim.cache.hdf5", ".zarr": "emoclim.cache.zarr"}


def open_cache(path: Path, spec: FeatureSpec | None = None) -> FeatureCache:
    """Open a cache on disk.

    Parameters
    ----------
    path
        Ends in ``.h5`` or ``.zarr``.
    spec
        Opens for appending, and creates the cache (and its folder) where there is none. None opens for reading what is
        committed at that moment, also while another process appends.

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
    if spec is None and not path.exists():
        raise CacheError(f"there is no cache {path}; make one with `emoclim extract`")
    open_store: Callable[[Path, FeatureSpec | None], Store] = importlib.import_module(BACKENDS[path.suffix]).open_store
    what = f"cache {path} cannot be opened for {'reading' if spec is None else 'writing'}"
    with explained(what, "check its permissions, or delete it and extract anew if it is damaged"):
        if spec is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        store = open_store(path, spec)
    try:
        if spec is not None:
            store.spec.require(spec, f"cache {path}")
        return DiskCache(store, writable=spec is not None)
    except BaseException:
        store.close()
        raise
