"""Features that other programs wrote: ``.npz``, Parquet, or a folder of ``.npy``.

Conventions: nothing is ever unpickled; numbers become float32; blocks are read anew whenever they are asked for, so
that looking a file over and then keeping it needs memory for one block only (an ``.npz`` is one block).
"""

import hashlib
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from emoclim.cache.checks import name_some
from emoclim.data.download import file_hash
from emoclim.errors import CacheError
from emoclim.pipeline.caches.feature_blocks import Array, Block, make_block
from emoclim.progress import Track, silent

VALUES = "values"
NPZ_ARRAYS = ("ids", "segments", "offsets", "starts", "seconds")


@dataclass(frozen=True, slots=True)
class FeatureFile:
    """Features with the ids that their maker gave them.

    Attributes
    ----------
    path
        The file or folder.
    identity
        ``"<name>@<first 12 hex of a sha256>"``, which changes with any of its bytes.
    values
        What the values are called in it.
    blocks
        Reads it; raises :class:`CacheError` where what it reads cannot be used.
    by_name
        Whether ids are names of files, of which suffix and folder may be left out.
    """

    path: Path
    identity: str
    values: str
    blocks: Callable[[], Iterator[Block]]
    by_name: bool = False


def open_feature_file(path: Path, values: str | None = None) -> FeatureFile:
    """Find out what a file of features is.

    Parameters
    ----------
    path
        An ``.npz`` with arrays ``ids`` (N,), ``values`` (N, D) and optionally ``segments`` (R, D), ``offsets``
        (N + 1,), ``starts`` (R,) and ``seconds`` (N,); with `offsets` alone, `values` (R, D) are segments, whose mean
        is the value. Or Parquet, one file or a folder of them, with a column ``id`` and either a column ``values`` of
        lists or one column per dimension. Or a folder of ``.npy``, each (D,) or, for segments, (S, D).
    values
        Name of the array or column of values; None takes ``values``.

    Raises
    ------
    CacheError
        There is no such file, it is of another kind, or it lacks what is needed.
    """
    if path.is_dir():
        if tables := sorted(path.rglob("*.parquet")):
            return _open_parquet(path, tables, values)
        return _open_folder(path, values)
    if not path.is_file():
        raise CacheError(f"there is no file of features {path}; name an .npz, a .parquet, or a folder of .npy")
    if path.suffix.lower() == ".npz":
        return _open_npz(path, values or VALUES)
    if path.suffix.lower() == ".parquet":
        return _open_parquet(path, [path], values)
    raise CacheError(f"{path} is no .npz, no .parquet and no folder of .npy; save the features as one of these")


@dataclass(frozen=True, slots=True)
class Survey:
    """What :func:`look_over` found.

    Attributes
    ----------
    ids
        Each once.
    dim
        Number of values per feature, D.
    most_segments
        Of any item.
    kinds
        Of the numbers, before they became float32.
    has_starts
        Whether it is known where segments start.
    """

    ids: list[str]
    dim: int
    most_segments: int
    kinds: frozenset[str]
    has_starts: bool

    def notes(self, file: Path) -> tuple[str, ...]:
        """What a user should know of the numbers, one sentence each."""
        notes = [
            f"the {kind} numbers of {file} were {'widened' if kind == 'float16' else 'rounded'} to float32"
            for kind in sorted(self.kinds - {"float32"})
        ]
        if self.most_segments and not self.has_starts:
            notes.append(f"{file} does not say where segments start: a passage that is found begins at 0 s")
        return tuple(notes)


def look_over(file: FeatureFile, track: Track = silent) -> Survey:
    """Read all of a file.

    Raises
    ------
    CacheError
        It cannot be imported; everything that is wrong with it is told.
    """
    ids: list[str] = []
    spoilt: list[str] = []
    dims, kinds = Counter[int](), set[str]()
    most, has_starts = 0, False
    for block in track(file.blocks(), description=f"check {file.path.name}"):
        ids += block.ids
        spoilt += block.spoilt()
        dims[block.dim] += len(block.ids)
        kinds.add(block.kind)
        most = max(most, int((block.offsets[1:] - block.offsets[:-1]).max()))
        has_starts |= bool(block.starts.any())
    problems = []
    if not ids:
        problems.append("it holds no item")
    if len(dims) > 1:
        told = ", ".join(f"{count} items have {dim}" for dim, count in sorted(dims.items()))
        problems.append(f"not all values are equally long ({told})")
    if spoilt:
        what = f"{len(spoilt)} of {len(ids)} items have no segment, or a number that is not finite"
        problems.append(f"{what} ({name_some(spoilt)})")
    if twice := [id_ for id_, count in Counter(ids).items() if count > 1]:
        problems.append(f"{len(twice)} ids occur more than once ({name_some(twice)})")
    if problems:
        raise CacheError(f"{file.path} cannot be imported: {'; '.join(problems)}; correct it")
    return Survey(ids, next(iter(dims)), most, frozenset(kinds), has_starts)


def _text(ids: Array, where: str) -> list[str]:
    """Ids as text; numbers become their digits."""
    if ids.ndim != 1 or ids.dtype.kind not in "USiu":
        raise CacheError(f"the ids of {where} are {ids.dtype} {ids.shape}, not a list of texts; save them as that")
    if ids.dtype.kind == "S":
        ids = np.char.decode(ids, "utf-8")
    return [str(id_) for id_ in ids.tolist()]


def _open_npz(path: Path, values: str) -> FeatureFile:
    arrays = _read_npz(path, values)
    ids, where = _text(arrays["ids"], str(path)), str(path)
    only_segments = "offsets" in arrays and "segments" not in arrays
    block = make_block(
        where,
        ids,
        None if only_segments else arrays[VALUES],
        arrays[VALUES] if only_segments else arrays.get("segments"),
        *(arrays.get(name) for name in ("offsets", "starts", "seconds")),
    )
    return FeatureFile(path, _identity(path, [path]), values, lambda: iter([block]))


def _read_npz(path: Path, values: str) -> Mapping[str, Array]:
    """The arrays that are of use; those called `values` as ``values``."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:  # numpy would leave it open
            if lacking := [name for name in ("ids", values) if name not in archive.files]:
                there = ", ".join(f"{name} {archive[name].shape}" for name in archive.files)
                raise CacheError(f"{path} has no array {lacking[0]!r} (it has: {there}); name the values with --values")
            return {name: archive[name] for name in NPZ_ARRAYS if name in archive.files} | {VALUES: archive[values]}
    except (ValueError, OSError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error, "savez") from error


def _open_folder(path: Path, values: str | None) -> FeatureFile:
    files = sorted(path.rglob("*.npy"))
    if not files:
        raise CacheError(f"folder {path} has no .npy and no .parquet; name a folder with one .npy for each item")
    if values is not None:
        raise CacheError(f"each file of folder {path} is one array, and none is called {values!r}; leave out --values")

    def blocks() -> Iterator[Block]:
        for file in files:
            array = _read_npy(file)
            id_ = file.relative_to(path).with_suffix("").as_posix()
            if array.ndim == 2:
                yield make_block(str(file), [id_], None, array, np.array([0, len(array)]))
            else:
                yield make_block(str(file), [id_], array[None])

    return FeatureFile(path, _identity(path, files), "npy", blocks, by_name=True)


def _read_npy(file: Path) -> Array:
    try:
        with file.open("rb") as opened:
            array = np.load(opened, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise _unreadable(file, error, "save") from error
    if not isinstance(array, np.ndarray):
        raise CacheError(f"{file} is no single array; save it again with numpy.save")
    return array


def _unreadable(file: Path, error: Exception, function: str) -> CacheError:
    if "pickle" in str(error):
        what = "it holds Python objects, which could run code and are never read; save texts and floats only"
        return CacheError(f"{file} cannot be used: {what}")
    return CacheError(f"{file} cannot be read as NumPy's format ({error}); save it again with numpy.{function}")


def _open_parquet(path: Path, files: Sequence[Path], values: str | None) -> FeatureFile:
    from emoclim.pipeline.caches.feature_tables import open_tables

    name, blocks = open_tables(files, values)
    return FeatureFile(path, _identity(path, files), name, blocks)


def _identity(path: Path, files: Sequence[Path]) -> str:
    """The name of a file or folder, and what all of its bytes and names come to."""
    if [path] == list(files):
        return f"{path.name}@{file_hash(path)[:12]}"
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file_hash(file)} {file.relative_to(path).as_posix()}\n".encode(errors="surrogateescape"))
    return f"{path.resolve().name}@{digest.hexdigest()[:12]}"
