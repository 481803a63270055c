"""Define what a data set says of itself, and what it makes of a folder.

Conventions: nothing is ever downloaded. A data set reads tables and names of files; whether files can be used, and
which are equal, is looked at later, once for all data sets. Ids follow from the data set alone, never from where the
folder lies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from emoclim.data.items.item import Item
from emoclim.modality import Modality

Option = str | int | float | bool | None
GIVEN = "given"  # the split that the user's own material states; where there is one, it is the one that is used


@dataclass(frozen=True, slots=True)
class Description:
    """What there is to know of a data set before it is prepared."""

    about: str
    what: str  # a sentence or two: what it holds, how it was labelled
    layouts: tuple[str, ...]
    modality: Modality | None = None  # of its items; None if that follows from the files
    licence: str = ""  # of the data set, in words; this and the next two are empty for the user's own files
    citation: str = ""
    source: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()  # every label, or every tag, that an item may have; empty if any
    published: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # by who counted: items of each label
    splits: Mapping[str, str] = field(default_factory=dict)  # how each published one was made; "official" is the first
    split_sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    default_split: str = "80-10-10"  # a published one, or shares, such as these of Emo-CLIM, section 4.1
    max_missing: float = 0.1  # share of files that may be missing or broken: with more, it is half a download


class LeftOut(NamedTuple):
    """Something that the folder or its tables name and that is no item: which, of what kind, and why.

    ``missing`` files are listed and not there; ``broken`` ones are there and no use; anything else is ``unused``. Equal
    causes have equal reasons, so that they can be counted: what is special about one thing stands in its id. A reason
    is a phrase, such as ``not in the folder``.
    """

    id: str
    kind: Literal["missing", "broken", "unused"]
    reason: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a data set makes of a folder."""

    modality: Modality
    items: tuple[Item, ...]  # in any order, without a split; ids are unique
    left_out: tuple[LeftOut, ...] = ()
    splits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # by name: part of each id that is in it
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # further ones of the manifest: cell by id
    notes: tuple[str, ...] = ()
    incomparable: frozenset[str] = frozenset()  # ids whose contents say nothing if equal, such as "no response"
