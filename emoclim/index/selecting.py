"""Find the items of a library that filters ask for, column by column. Used by search."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from emoclim.errors import ConfigError, name_some
from emoclim.index.filters import Filters
from emoclim.index.items import ItemTable, flags

OfEmotion = Callable[[str], NDArray[np.bool_]]


def select(only: Filters, items: ItemTable, library: str, of_emotion: OfEmotion) -> NDArray[np.bool_]:
    """Flag the items of a library that are asked for, ``(N,)``; raise :class:`ConfigError` for what none of them is."""
    path, chosen = items.table["path"], []
    if only.folder is not None:
        # of the library's own where a / begins it, too; of files that a table lists from elsewhere, as it says
        found = flags(pc.starts_with(path, f"{only.folder}/")) | flags(
            pc.starts_with(path, f"{only.folder.lstrip('/')}/")
        )
        chosen.append(_known(found, f"lies in a folder {only.folder!r}", items.folders, library))
    if only.formats:
        lower = pc.utf8_lower(path)
        each = [flags(pc.ends_with(lower, f".{one}")) for one in only.formats]
        for one, own in zip(only.formats, each, strict=True):
            _known(own, f"is of the format {one!r}", items.formats, library)
        chosen.append(np.any(each, axis=0))
    if only.seconds is not None:
        lengths = _known(items.seconds > 0, "has a length that is known", (), library) * items.seconds
        chosen.append((lengths > 0) & (lengths >= only.seconds[0]) & (lengths <= only.seconds[1]))
    if only.emotion is not None:
        chosen.append(of_emotion(only.emotion))
    return np.all(chosen, axis=0) if chosen else np.ones(len(items), bool)


def _known(found: NDArray[np.bool_], what: str, there: Sequence[str], library: str) -> NDArray[np.bool_]:
    if not found.any():
        advice = f"there are: {name_some(there, 8)}" if there else "ask for something else"
        raise ConfigError(f"no item of {library} {what}; {advice}")
    return found
