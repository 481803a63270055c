"""Find plug-ins: the files of one of our folders, and what other installed packages offer by entry points.

Used for encoders, data sets, objectives and recipes. Invariant: a name means one plug-in only, and listing the names
imports no plug-in.
"""

import importlib
import pkgutil
import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from emoclim.config import closest
from emoclim.errors import EmoclimError


@dataclass(frozen=True, slots=True)
class Plugins:
    """The plug-ins of one kind; each file of `package` is one, and so is each entry point of `group`.

    Examples
    --------
    >>> from emoclim.errors import ConfigError
    >>> datasets = Plugins("emoclim.data.datasets", "data set", ConfigError, beside=frozenset({"base"}))
    >>> datasets.group, "isear" in datasets.names(), "base" in datasets.names()
    ('emoclim.datasets', True, False)
    >>> datasets.load("isear").DESCRIPTION.modality
    'text'
    """

    package: str  # ours; its subpackages hold what plug-ins share
    noun: str
    error: type[EmoclimError]
    beside: frozenset[str] = frozenset()  # modules of the package that are no plug-ins

    @property
    def group(self) -> str:
        """The group of entry points by which other packages offer theirs: ``emoclim.`` and the folder's name."""
        return f"emoclim.{self.package.rpartition('.')[2]}"

    def names(self) -> list[str]:
        """List all names, sorted."""
        return sorted(self._found())

    def load(self, name: str) -> Any:
        """Import a plug-in: the module of ours, or whatever the entry point names."""
        found = self._found()
        if name not in found:
            raise self.error(
                f"no {self.noun} is called {name!r}{closest(name, found)}; there are: {', '.join(sorted(found))}"
            )
        point = found[name]
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            if point.dist is None:
                raise
            raise self.error(
                f"{self.noun} {name!r} of the package {point.dist.name} cannot be imported ({error}); mend or remove it"
            ) from error

    def _found(self) -> dict[str, EntryPoint]:
        own = _modules(tuple(importlib.import_module(self.package).__path__))
        found = {
            name: EntryPoint(name, f"{self.package}.{name}", self.group) for name in own if name not in self.beside
        }
        for point in _installed(self.group, tuple(sys.path)):
            if (other := found.get(point.name)) and other.value != point.value:
                raise self.error(
                    f"{self.noun} {point.name!r} is both {other.value} and {point.value}; remove one of the packages"
                )
            found[point.name] = point
        return found


@lru_cache
def _modules(folders: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(module.name for module in pkgutil.iter_modules(folders) if not module.ispkg)


@lru_cache
def _installed(group: str, _path: tuple[str, ...]) -> tuple[EntryPoint, ...]:
    """Read what installed packages offer, once for a search path: that takes milliseconds a hundred packages."""
    return tuple(entry_points(group=group))
