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
from pathlib import Path
from typing import get_type_hints

from pydantic import TypeAdapter, ValidationError

from emoclim.data.datasets.base import Option, Prepared
from emoclim.data.plugins import Plugins
from emoclim.errors import ConfigError, ManifestError

DATASETS = Plugins("emoclim.data.datasets", "data set", ConfigError, beside=frozenset({"base", "files", "loading"}))


dataset_names, find_dataset = DATASETS.names, DATASETS.load


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
    typed: dict[str, Option] = {}
    for key, value in options.items():
        try:
            typed[key] = TypeAdapter(hints[key]).validate_python(value)
        except ValidationError as error:
            told = error.errors()[0]["msg"].replace("Input ", "it ", 1)
            raise ConfigError(f"option {key} of data set {name!r} cannot be {value!r}; {told}") from error
    return typed
