"""Find a data set by its name, and prepare it.

Every module beside this one is a data set, called like its file, and so is every module that another installed package
names by an entry point of the group ``emoclim.datasets``. It states

* ``DESCRIPTION``, a :class:`~emoclim.data.datasets.base.Description`;
* ``prepare(folder: Path, *, <options>) -> Prepared``, whose options are plain values with a default. The folder is
  there (a data set that reads one table of the user's is given that instead); where it does not hold the data set, a
  ``ManifestError`` says in one sentence what was looked for and what was found.
"""

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from emoclim.data.datasets.base import Option, Prepared
from emoclim.data.plugins import Plugins
from emoclim.errors import ConfigError, ManifestError

DATASETS = Plugins("emoclim.data.datasets", "data set", ConfigError, beside=frozenset({"base", "files", "loading"}))


def dataset_names() -> list[str]:
    """List the names of all data sets, sorted; import none of them."""
    return DATASETS.names()


def find_dataset(name: str) -> Any:
    """Import one data set."""
    return DATASETS.load(name)


def own_options(name: str) -> dict[str, Option]:
    """Return the options of a data set's ``prepare``: name and default."""
    parameters = inspect.signature(find_dataset(name).prepare).parameters
    return {key: parameter.default for key, parameter in list(parameters.items())[1:]}


def read_dataset(name: str, folder: Path, options: Mapping[str, Option] | None = None) -> Prepared:
    """Make items of what is in a folder, or for a data set that reads one table, of that table."""
    prepare: Callable[..., Prepared] = find_dataset(name).prepare
    typed = _typed(name, prepare, options or {})
    if not folder.exists():
        raise ManifestError(f"there is no {folder}; name what the data set {name!r} is to be made of")
    return prepare(folder, **typed)


def _typed(name: str, prepare: Callable[..., Prepared], options: Mapping[str, Option]) -> dict[str, Option]:
    """Convert options to the types that the data set states."""
    hints, allowed = get_type_hints(prepare), list(own_options(name))
    if unknown := sorted(options.keys() - set(allowed)):
        takes = f"it takes {', '.join(allowed)}" if allowed else "it takes none"
        raise ConfigError(f"data set {name!r} has no option {', '.join(unknown)}; {takes}")
    return {key: _as_kind(name, key, value, get_args(hints[key]) or (hints[key],)) for key, value in options.items()}


def _as_kind(name: str, key: str, value: Option, kinds: tuple[type, ...]) -> Option:
    """Convert an option to the first of its types that it can be."""
    if isinstance(value, kinds) and isinstance(value, bool) == (bool in kinds and not isinstance(value, str)):
        return value
    for kind in kinds:
        if kind is bool and value in ("true", "false"):
            return value == "true"
        if kind in (int, float) and isinstance(value, str | int) and not isinstance(value, bool):
            with suppress(ValueError):
                return kind(value)
    named = " or ".join("true or false" if kind is bool else kind.__name__ for kind in kinds if kind is not NoneType)
    raise ConfigError(f"option {key} of data set {name!r} takes {named}, not {value!r}")
