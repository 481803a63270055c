"""Tell how much memory this process can still take, and how many heads a sweep may train at once."""

import logging
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from emoclim.config import TrainConfig
from emoclim.data import Split

log = logging.getLogger(__name__)

UNKNOWN = 2**32  # bytes taken to be available where the system does not say, as on macOS and Windows
COPIES = 7  # of a head's parameters: its own, gradients, two moments, the best, and two in the making of a snapshot
MEMORY_SHARE = 0.5  # of what is free, for the heads


def max_heads(train: Split, configs: Iterable[TrainConfig], largest: int, device: torch.device) -> int:
    """Return how many pairs of heads, at least 1, fit into half of the memory that is free now."""
    bytes_per_head = max(_bytes_per_head(train, config) for config in set(configs))
    most = max(1, int(MEMORY_SHARE * _free_memory(device) / bytes_per_head))
    if most < largest:
        log.warning("%d pairs of heads do not fit into memory at once; they are trained %d at a time", largest, most)
    return most


def _bytes_per_head(train: Split, config: TrainConfig) -> int:
    """Bytes that a pair of heads takes while it is trained: copies of its parameters, and the rows of a batch."""
    parameters = rows = 0
    for features in train.features.values():
        parameters += config.hidden_dim * (features.spec.dim + config.embedding_dim + 6) + config.embedding_dim
        rows += config.batch_size * (6 * config.hidden_dim + 4 * config.embedding_dim + 12 * config.batch_size)
    return 4 * (COPIES * parameters + rows)


def _free_memory(device: torch.device) -> int:
    """Bytes."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else available_memory()


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
