"""Say what can be searched with beside files and words: sums and differences, items of the library, places of feelings.

Used by the search, by the command and by programs.
"""

import math
import os
from dataclasses import dataclass
from pathlib import Path

from emoclim.data import is_remote, is_there, shown_path
from emoclim.errors import ConfigError
from emoclim.modality import MODALITIES, modality_by_suffix
from emoclim.reports import shorten


@dataclass(frozen=True, slots=True)
class LibraryItem:
    """An item of the library that is searched, by its id: what is like it is found without its file."""

    id: str


Part = Path | str | LibraryItem


@dataclass(frozen=True, slots=True)
class Blend:
    """What is like some queries and unlike others: items are ranked by the sum of their scores, less those of `minus`.

    Raises
    ------
    ConfigError
        Nothing is asked for.

    Examples
    --------
    >>> shown_query(Blend((Path("photo.jpg"), "rain"), (LibraryItem("voice.wav"),)))
    'photo.jpg + “rain” - voice.wav'
    """

    plus: tuple[Part, ...]  # a folder is all its files
    minus: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        if not self.plus:
            raise ConfigError("what is not wanted is named, and nothing that is; name a file, words or an item, too")


@dataclass(frozen=True, slots=True)
class Point:
    """A feeling by its place: items are ranked by how near to it the emotions lie that are read in them.

    Raises
    ------
    ConfigError
        It is no place.
    """

    valence: float  # unpleasant -1 to pleasant 1
    arousal: float  # asleep -1 to aroused 1

    def __post_init__(self) -> None:
        for name in ("valence", "arousal"):
            value = getattr(self, name)
            if not (math.isfinite(value) and -1 <= value <= 1):
                raise ConfigError(f"{name} {value:g} is not possible; give a number from -1 to 1")


Query = Path | str | LibraryItem | Blend | Point


def file_or_words(value: str) -> Path | str:
    """Take a value for a file where there is one, or where its suffix says that there should be; else for words.

    Examples
    --------
    >>> file_or_words("a quiet evening."), file_or_words("gone.wav").suffix
    ('a quiet evening.', '.wav')
    """
    if is_remote(value):
        told = "is an address, which only the paths of a manifest may be; fetch the file, and search with it"
        raise ConfigError(f"{shown_path(value)} {told}")
    path = Path(os.path.expanduser(value))  # noqa: PTH111 - where shells leave the ~ as it is
    meant = modality_by_suffix(path.suffix, MODALITIES) is not None
    return path if meant or is_there(path) else value


def shown_query(query: Query) -> str:
    """Name a query: a file by its path, words by themselves."""
    match query:
        case Path():
            return str(query)
        case LibraryItem():
            return query.id
        case Point():
            return f"valence {query.valence:+.2f}, arousal {query.arousal:+.2f}"
        case Blend():
            plus, minus = (list(map(shown_query, parts)) for parts in (query.plus, query.minus))
            return " - ".join([" + ".join(plus), *minus])
        case _:
            return f"“{shorten(' '.join(query.split()))}”"
