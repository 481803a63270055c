"""Choose which items of a library are ranked, by what is known of them. Used by search."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from emoclim.errors import ConfigError

EXAMPLES = {"emotion": "happy", "folder": "jazz/live", "seconds": "60:300", "format": "flac"}


@dataclass(frozen=True, slots=True)
class Filters:
    """What items must be to be ranked; what is not said does not matter.

    Parameters
    ----------
    emotion
        That which is likeliest of those that are read in an item.
    folder
        Where its file lies, or a folder above, from the library's own; with ``/`` between its parts.
    seconds
        How long it lasts at least and at most; an item of unknown length is left out.
    formats
        Suffixes of its file, one of them, in lower case and without a dot.

    Raises
    ------
    ConfigError
        The seconds are no range.

    Examples
    --------
    >>> Filters(folder="jazz", seconds=(60, 300))
    Filters(emotion=None, folder='jazz', seconds=(60, 300), formats=())
    """

    emotion: str | None = None
    folder: str | None = None
    seconds: tuple[float, float] | None = None
    formats: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds[0] <= self.seconds[1]:
            lo, hi = self.seconds
            raise ConfigError(f"seconds from {lo:g} to {hi:g} are no range; give the least first, as 60:300")
        object.__setattr__(self, "formats", tuple(one.lower().removeprefix(".") for one in self.formats))
        if self.folder is not None:
            object.__setattr__(self, "folder", self.folder.rstrip("/"))


def parse_filters(pairs: Sequence[str]) -> Filters | None:
    """Read ``["emotion=happy", "seconds=60:300"]``, where only the format may be named several times."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if name not in EXAMPLES or not equals or not value:
            examples = ", ".join(f"{name}={value}" for name, value in EXAMPLES.items())
            raise ConfigError(f"--only {pair!r} is nothing that can be asked of items; write one of {examples}")
        if name == "format":
            found["formats"] = (*found.get("formats", ()), value)
        elif name in found:
            raise ConfigError(f"--only {name} is given twice ({found[name]!r}, {value!r}); leave out one of the two")
        else:
            found[name] = _range(value) if name == "seconds" else value
    return Filters(**found) if found else None


def _range(text: str) -> tuple[float, float]:
    least, colon, most = text.partition(":")
    try:
        ends = float(least or 0), float(most or math.inf)
    except ValueError:
        ends = math.nan, math.nan
    if not colon or not ends[0] <= ends[1]:
        raise ConfigError(f"--only seconds={text} is no range; write the least, a colon and the most, as 60:300")
    return ends
