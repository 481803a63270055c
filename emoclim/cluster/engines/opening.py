"""Find the engine that ``--on`` names, and see that it answers."""

import pkgutil
from importlib.util import find_spec
from typing import Any

from emoclim.cluster.contract import Engine
from emoclim.config import closest
from emoclim.data import read_setting
from emoclim.errors import ConfigError, MissingLibrary

ENGINES = {
    "local": ("emoclim.cluster.engines.local:Local", None),
    "slurm": ("emoclim.cluster.engines.slurm:Slurm", "submitit"),
    "ray": ("emoclim.cluster.engines.on_ray:Ray", "ray"),
}  # by name: its class, and the package that it needs


def open_engine(text: str, device: str = "auto") -> Engine:
    """Read ``"slurm:16,partition=gpu"`` and make sure that the engine answers.

    Raises
    ------
    ConfigError
        No engine is called so, a setting is unknown, or the engine does not answer.
    MissingLibrary
        What it needs is not installed.

    Examples
    --------
    >>> open_engine("local:2").workers
    2
    """
    first, *pairs = text.split(",")
    name, _, count = first.partition(":")
    if name not in ENGINES:
        raise ConfigError(f"no engine is called {name!r}{closest(name, ENGINES)}; there are {', '.join(ENGINES)}")
    kind, package = ENGINES[name]
    if package is not None and find_spec(package) is None:
        raise MissingLibrary(
            f"--on {name} needs {package}, which is not installed; type: pip install 'emoclim[{name}]'"
        )
    engine: type[Engine] = pkgutil.resolve_name(kind)
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(f"--on {text!r} cannot be read; write as in slurm:16,partition=gpu,gpus=1")
        settings[key.strip()] = read_setting(value.strip())
    if count:
        settings["workers"] = read_setting(count)
    if ":" in device:
        raise ConfigError(f"--device {device} is one GPU, but workers share all; leave out the number, or --on {text}")
    try:
        read = engine(**settings)
    except ConfigError as error:
        raise ConfigError(f"--on {text}: {error}") from error
    return read.ready(device)
