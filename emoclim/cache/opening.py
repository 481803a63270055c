"""Open a cache on disk by its path, or only hash what it holds."""

import copyreg
import hashlib
import pkgutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from emoclim.cache.contract import FeatureCache
from emoclim.cache.disk import EXTRACT_ANEW, DiskCache
from emoclim.cache.formats.store import Store, explained, partial_of
from emoclim.cache.lock import WriterLock
from emoclim.cache.note import BACKENDS, SHARDS
from emoclim.data import FeatureSpec
from emoclim.errors import CacheError
from emoclim.files import remove


def open_cache(path: Path | str, spec: FeatureSpec | None = None) -> FeatureCache:
    """Open a cache on disk.

    Parameters
    ----------
    path
        Ends in ``.h5`` or ``.zarr``, which picks the file format.
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

    Examples
    --------
    >>> import tempfile, torch
    >>> from emoclim import EncodedItem, FeatureSpec
    >>> path = tempfile.mkdtemp() + "/text-letters.h5"
    >>> with open_cache(path, FeatureSpec("letters", "text", 2, "none", {})) as cache:
    ...     cache.append([EncodedItem("a", torch.tensor([1.0, 2.0]))])
    >>> with open_cache(path) as cache:
    ...     cache.read(["a"]).values
    tensor([[1., 2.]])
    """
    path = Path(path)
    if path.suffix not in BACKENDS:
        raise CacheError(f"the name of cache {path} must end in {' or '.join(BACKENDS)}")
    purpose = "reading" if spec is None else "writing"
    remedy = "check its permissions, or delete it and extract anew if it is damaged"
    with explained(f"cache {path} cannot be opened for {purpose}", remedy), ExitStack() as opened:
        backend: type[Store] = pkgutil.resolve_name(BACKENDS[path.suffix])
        if spec is None and not path.exists():
            raise CacheError(f"there is no cache {path}; make one with `emoclim extract`")
        if path.parent.suffix == SHARDS and path.parent.is_symlink():
            raise CacheError(f"{path.parent} is a link, which is not followed; put the folder itself there")
        if spec is None:
            store = _open_store(backend, path, opened)
            cache = DiskCache(path, store.spec, backend, store)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = WriterLock(path)
            opened.callback(lock.release)
            remove(partial_of(path.resolve()))  # what a writer left that died while it made a cache
            is_there = path.exists() and not (path.is_dir() and not any(path.iterdir()))  # more than an empty folder
            made = _open_store(backend, path, opened, spec) if is_there else None
            cache = DiskCache(path, spec, backend, made, lock)
        opened.pop_all()
    return cache


def ledger_digest(path: Path) -> str:
    """Hash what a cache holds, without counting it up: two caches of one digest hold the same features."""
    with explained(f"cache {path} cannot be read", EXTRACT_ANEW), ExitStack() as opened:
        backend: type[Store] = pkgutil.resolve_name(BACKENDS[path.suffix])
        hashed = hashlib.blake2b(digest_size=16)
        for block in _open_store(backend, path, opened).read_ledger():
            hashed.update(block)
        return hashed.hexdigest()


def _open_store(backend: type[Store], path: Path, opened: ExitStack, spec: FeatureSpec | None = None) -> Store:
    """Open a store, for writing if a spec is given, and close it unless all goes well."""
    store = backend(path, writable=spec is not None)
    opened.callback(store.close)
    if spec is not None:
        store.spec.require(spec, f"cache {path}")
    return store


def _as_path(cache: DiskCache) -> tuple[Any, ...]:
    """Pickle a cache as its path, which is opened again for reading."""
    return open_cache, (cache.path.absolute(),)


copyreg.pickle(DiskCache, _as_path)
