"""Tell how much memory this process can still take; a sweep decides by it how many heads it trains at once."""

import re
from collections.abc import Iterator
from pathlib import Path

UNKNOWN = 2**32  # bytes taken to be available where the system does not say, as on macOS and Windows


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that can be taken without swapping: what the system has available, within the limits of control groups."""
    in_system = _amount(root / "proc/meminfo", r"^MemAvailable:\s+(\d+) kB$")
    return min([UNKNOWN if in_system is None else in_system * 1024, *_left_in_groups(root)])


def _left_in_groups(root: Path) -> Iterator[int]:
    """Bytes up to each limit that holds for this process: of version 2 or 1, of its group or of one around it."""
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
    """The number in a file of the kernel; None where it is not told, or is ``max``."""
    try:
        found = re.search(pattern, path.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None
