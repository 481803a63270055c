"""What a data set says of itself, and what it makes of a folder.

Conventions: nothing is ever downloaded. A data set reads tables and names of files; whether files can be used, and
which are equal, is looked at later, once for all data sets. Ids follow from the data set alone, never from where the
folder lies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from emoclim.data.manifest import Item
from emoclim.modality import Modality

Option = str | int | float | bool | None
GIVEN = "given"  # the split that the user's own material states; where there is one, it is the one that is used


@dataclass(frozen=True, slots=True)
class Description:
    """What there is to know of a data set before it is prepared.

    Attributes
    ----------
    modality
        What its items are; None if that follows from the files.
    what
        A sentence or two: what it holds, how it was labelled.
    licence, citation
        Of the data set, in words; empty for the user's own files.
    source
        Where to get it; empty for the user's own files.
    layouts
        What may be in the folder, one in a line.
    labels
        Every label, or every tag, that an item may have; empty if any.
    published
        By who counted: how many items of each label there were.
    splits
        By name, how a published split was made; the first one is also known as ``official``.
    split_sizes
        By name of a published split, the items in each of its parts.
    default_split
        The one to use where the user names none: a published one, or shares such as ``80-10-10``.
    max_missing
        Share of the files that may be missing or broken before the folder is taken for half a download.
    """

    modality: Modality | None
    what: str
    licence: str
    citation: str
    source: str
    layouts: tuple[str, ...]
    labels: tuple[str, ...] = ()
    published: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)
    split_sizes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    default_split: str = "80-10-10"  # of the papers (Emo-CLIM, section 4.1)
    max_missing: float = 0.1


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
    """What a data set makes of a folder.

    Attributes
    ----------
    modality
        What the items are.
    items
        In any order; ids are unique. Their splits are in `splits`.
    left_out
        What is no item, and why.
    splits
        By name of a split: by id, ``train``, ``val`` or ``test``. An item that a split does not name is no part of it.
    columns
        By name of a further column of the manifest: by id, what stands there.
    notes
        What looked odd, one sentence each.
    incomparable
        Ids of items whose contents say nothing where they are equal, such as the words "no response".
    """

    modality: Modality
    items: tuple[Item, ...]
    left_out: tuple[LeftOut, ...] = ()
    splits: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    incomparable: frozenset[str] = frozenset()
