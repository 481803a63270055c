"""Find a data set's tables and files among what lies in a folder, and put that into words for messages."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from emoclim.data.listing import of_modality
from emoclim.data.tables import Table, read_table
from emoclim.errors import ManifestError, name_some
from emoclim.modality import MODALITIES, Modality

SHOWN = 6


def modality_of(paths: Collection[str], source: Path) -> Modality:
    """Return the modality of files, as their suffixes say; beside others, a readme.txt makes no folder one of texts."""
    encoded = [kind for kind, facts in MODALITIES.items() if facts.encoder]
    counts = {kind: len(of_modality(paths, kind)) for kind in encoded}
    there = [kind for kind, count in counts.items() if count and not _is_another(kind, counts)]
    found = [kind for kind in there if MODALITIES[kind].preview] or there
    if len(found) != 1:
        none = f"neither {' nor '.join(MODALITIES[kind].nouns for kind in encoded)}"
        listed = " and ".join(f"{counts[kind]} {kind} files" for kind in found) or none
        raise ManifestError(f"{source} has {listed} ({in_words(paths)}); give one kind, or say which: --modality")
    return found[0]


def _is_another(kind: Modality, counts: Mapping[Modality, int]) -> bool:
    """Return whether files are of another modality: of two that take them, that with the fewest other suffixes."""
    own = MODALITIES[kind].suffixes
    others = [(MODALITIES[other].suffixes, count) for other, count in counts.items() if other != kind]
    return any(
        (own > theirs and count == counts[kind]) or (own < theirs and count > counts[kind]) for theirs, count in others
    )


def in_words(paths: Iterable[str]) -> str:
    """Summarise the top of a folder for a message: ``anger/ (1,266 files), awe/ (3 files), readme.txt``."""
    tops: dict[str, int] = {}
    for path in paths:
        top, slash, _ = path.partition("/")
        tops[top + slash] = tops.get(top + slash, 0) + 1
    named = [f"{top} ({n:,} file{'s' * (n > 1)})" if top.endswith("/") else top for top, n in sorted(tops.items())]
    if not named:
        return "nothing"
    return name_some(named, SHOWN)


def find_table(folder: Path, paths: Iterable[str], name: str) -> Path | None:
    """Find a table by the end of its path, wherever in the folder it lies; None if it is not there."""
    found = [path for path in paths if f"/{path}".lower().endswith(f"/{name.lower()}")]
    if len(found) > 1:
        raise ManifestError(f"{folder} holds {name} {len(found)} times ({', '.join(found[:3])}); keep one of them")
    return folder / found[0] if found else None


def require_table(folder: Path, paths: Sequence[str], name: str) -> Table:
    """Read a table that must be there."""
    source = find_table(folder, paths, name)
    if source is None:
        raise ManifestError(f"{folder} has no {name}; found {in_words(paths)}")
    return read_table(source)


def only_file(folder: Path, files: Sequence[str], noun: str) -> str | None:
    """Return the file of something; None if there is none, and an error if there are two."""
    if len(files) > 1:
        raise ManifestError(f"{folder} has two files of one {noun} ({' and '.join(files[:2])}); keep one of each")
    return files[0] if files else None


def one_of_each(
    folder: Path, paths: Iterable[str], key: Callable[[PurePosixPath], tuple[str, str]], noun: str
) -> dict[str, str]:
    """Choose one file of each key; `key` gives a file's key and format, and mp3 is the first choice."""
    found: dict[str, str] = {}
    for path in sorted(paths, key=lambda path: (not path.lower().endswith(".mp3"), path.endswith(".low.mp3"), path)):
        name, kind = key(PurePosixPath(path))
        first = found.setdefault(name, path)
        if first != path and key(PurePosixPath(first))[1] == kind:
            only_file(folder, (first, path), noun)
    return found
