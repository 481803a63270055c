"""What is known of this machine and process: cores, memory, what an output notes of its making, and its digest."""

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from emoclim.cache import from_home

UNKNOWN = 2**32  # bytes taken to be available where the system does not say, as on macOS and Windows
MAX_WORKERS = 8  # processes that decode, by default
PACKAGES = (
    "emoclim",
    "torch",
    "torchaudio",
    "torchvision",
    "numpy",
    "scipy",
    "open_clip_torch",
    "laion_clap",
    "pillow",
    "soundfile",
    "soxr",
    "timm",
)
OPTIONAL = ("av", "pillow_heif")  # they decode some files, where they are installed


def usable_cores() -> int:
    """Count the cores that this process may use, which in a container are often fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def decoders(asked: int | None, cores: int | None = None) -> int:
    """Return how many processes decode: as many as were asked for, or one for each of some cores, by default all."""
    return min(MAX_WORKERS, usable_cores() if cores is None else cores) if asked is None else asked


@contextmanager
def limit_threads(max_threads: int) -> Iterator[None]:
    """Limit the threads of torch within the block.

    Small products gain little from a second thread, and lose much where it shares its core with another process: a
    step with one pair of heads took 5.3 ms on one thread, 4.3 on two, and several times that on two with a neighbour.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(min(before, max_threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def provenance(libraries: Sequence[str] = ()) -> dict[str, Any]:
    """Return what may differ for the same result: time, command line, versions (of `libraries`, too) and platform."""
    program = Path(sys.argv[0]).name
    words = ["emoclim" if program in ("emoclim", "__main__.py") else program, *map(from_home, sys.argv[1:])]
    versions = {name: _version(name) for name in (*PACKAGES, *libraries)}
    for name in OPTIONAL:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = _version(name)
    return {
        "time": datetime.now(UTC).isoformat(timespec="microseconds"),
        "command": list(map(without_password, words)),
        "versions": {"python": platform.python_version(), **versions},
        "platform": platform.platform(),
    }


@cache
def _version(package: str) -> str:
    """Look up the version of a package, whose whole description is parsed for it, once."""
    return metadata.version(package)


def without_password(text: str) -> str:
    """Hide the password of a URL."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", text)


def available_memory(root: Path = Path("/")) -> int:
    """Return the bytes that can be taken without swapping, within the limits of control groups."""
    in_system = _amount(root / "proc/meminfo", r"^MemAvailable:\s+(\d+) kB$")
    return min([UNKNOWN if in_system is None else in_system * 1024, *_left_in_groups(root)])


def _left_in_groups(root: Path) -> Iterator[int]:
    """Yield the bytes up to each limit on this process, of its control group or of one around it, version 2 or 1."""
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    mount = root / "sys/fs/cgroup"
    for controllers, path in (group.split(":", 2)[1:] for group in groups):
        if not controllers:
            yield from _left(mount, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
            yield from _left(mount / "memory", path, *names)


def _left(mount: Path, path: str, limit_name: str, usage_name: str, idle_name: str) -> Iterator[int]:
    own = mount / path.lstrip("/")  # in a container it may not be mounted, and the files of `mount` are its own
    for folder in (own, *own.parents):
        if folder.is_relative_to(mount):
            limit, usage = _amount(folder / limit_name, r"^(\d+)$"), _amount(folder / usage_name, r"^(\d+)$")
            if limit is not None and usage is not None:
                idle = _amount(folder / "memory.stat", rf"^{idle_name} (\d+)$") or 0  # page cache that gives way
                yield max(0, limit - usage + idle)


def _amount(path: Path, pattern: str) -> int | None:
    """Read the number in a file of the kernel; None where it is not told, or is ``max``."""
    try:
        found = re.search(pattern, path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def digest_of(value: Any) -> str:
    """Return 12 hex digits of plain values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
