"""What a benchmark says of the machine and the libraries that it was run with."""

import os
import platform
from importlib import metadata
from typing import Any


def facts(*packages: str) -> dict[str, Any]:
    """Of the machine, of Python, and of some packages."""
    return {
        "machine": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
    }
