"""Where manifests, caches and runs lie, and what each output says of its making.

A workspace is a folder: manifests in ``data/``, caches in ``cache/``, runs in ``runs/``.
"""

import os
import platform
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from emoclim.data import ContentKeys, FeatureSpec
from emoclim.errors import ConfigError, ManifestError, RunError
from emoclim.files import read_json
from emoclim.modality import MODALITIES, Modality

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

UNKNOWN = 2**32  # bytes taken to be available where the system does not say, as on macOS and Windows
HEADS_FILE = "heads.safetensors"
PACKAGES = (
    "emoclim",
    "torch",
    "torchaudio",
    "torchvision",
    "numpy",
    "open_clip_torch",
    "laion_clap",
    "soundfile",
    "soxr",
)


@dataclass(frozen=True, slots=True)
class Workspace:
    """One folder that commands work in."""

    root: Path = Path()  # the folder; by default the current one

    @property
    def caches(self) -> Path:
        """Folder of the feature caches."""
        return self.root / "cache"

    @property
    def runs(self) -> Path:
        """Folder of the training runs."""
        return self.root / "runs"

    def manifest(self, modality: Modality) -> Path:
        """Find the manifest of a modality in ``data/``."""
        name = MODALITIES[modality].folder
        candidates = [self.root / "data" / f"{name}{suffix}" for suffix in (".csv", ".parquet", "")]
        for path in candidates:
            if path.exists():
                return path
        raise ManifestError(
            f"there is no manifest at {candidates[0]}, and no folder {candidates[-1]}; "
            "make one of them or name your own CSV or folder"
        )

    def cache_path(self, spec: FeatureSpec, suffix: str) -> Path:
        """Return where the features of a spec are cached: modality, encoder, and 12 hex of the whole spec."""
        return self.caches / f"{spec.modality}-{spec.name}-{spec.digest()}{suffix}"

    def content_keys(self, *, trust: bool = True) -> ContentKeys:
        """Open the memo of the contents of files, which whoever looks them up saves."""
        return ContentKeys(self.caches / "content.json", trust=trust)

    def claim_run(self, name: str | None, encoders: str) -> Path:
        """Make the folder of a new run, of that name or ``<number>-<encoders>``, which nobody else is given."""
        if name is None:
            return self._claim_number(encoders)
        if name in ("", "..") or Path(name).name != name:
            raise RunError(f"{name!r} is no name for a run; give one of letters and digits, without slashes")
        try:
            (self.runs / name).mkdir(parents=True)
        except FileExistsError as error:
            raise RunError(f"{self.runs / name} exists already; give another name") from error
        return self.runs / name

    def _claim_number(self, encoders: str) -> Path:
        """Make the folder of the next run; an empty ``.<number>`` keeps others from the number meanwhile."""
        self.runs.mkdir(parents=True, exist_ok=True)
        number = max((number for number in self._taken() if number < 1000), default=0)  # 2026-01-31-mine has none
        while True:
            number += 1
            reserved = self.runs / f".{number:03d}"
            with suppress(FileExistsError):
                reserved.mkdir()
                try:
                    if number not in self._taken():
                        (folder := self.runs / f"{number:03d}-{encoders}").mkdir()
                        return folder
                finally:
                    reserved.rmdir()

    def _taken(self) -> set[int]:
        """Return the numbers of all runs."""
        numbers = [path.name.partition("-")[0] for path in self.runs.glob("[0-9][0-9][0-9]*-*")]
        return {int(number) for number in numbers if number.isdecimal()}

    def run(self, name: str | None) -> Path:
        """Find the folder of a run, by name or path; the newest one for None."""
        if name is None:
            finished = sorted((path.parent for path in self.runs.glob(f"*/{HEADS_FILE}")), key=_trained_at)
            if not finished:
                raise RunError(f"there is no run in {self.runs}; train one with: emoclim train-heads")
            return finished[-1]
        for folder in (self.runs / name, Path(name)):
            if (folder / HEADS_FILE).is_file():
                return folder
        unfinished = (self.runs / name).is_dir()
        advice = f"finish it with --resume {name}" if unfinished else f"name a folder of {self.runs}"
        raise RunError(f"{name} is no run (no {HEADS_FILE} in {self.runs / name}); {advice}")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several equal parts of an extraction, each of which writes a cache of its own."""

    index: int  # from 1 on
    count: int  # how many there are

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"2/8"``."""
        numbers = [int(part) for part in text.split("/") if part.isdecimal()]
        if text.count("/") != 1 or len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1]:
            raise ConfigError(f"shard {text!r} is none; write 2/8 for the second of eight")
        return cls(*numbers)

    def path(self, cache: Path) -> Path:
        """Return where the shard of a cache lies until it is merged."""
        return cache.with_suffix(".shards") / f"{self.index}-of-{self.count}{cache.suffix}"

    def select(self, items: Sequence[T]) -> Sequence[T]:
        """Return the shard's part of some items."""
        return items[self.index - 1 :: self.count]


def _trained_at(run: Path) -> tuple[str, str]:
    """Return when a run was trained, by its own word."""
    return str(read_json(run / "run.json", RunError, "delete the run, or train it again").get("time", "")), run.name


def usable_cores() -> int:
    """Count the cores that this process may use, which in a container are often fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose_device(name: str) -> "torch.device":
    """Return the device of that name; ``auto`` takes a GPU where there is one."""
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    present = [kind for kind, here in available.items() if here]
    if name != "auto" and name.split(":")[0] not in present:
        raise ConfigError(f"there is no device {name!r} here; use {', '.join(present)}")
    return torch.device(present[0] if name == "auto" else name)


@contextmanager
def few_threads(most: int) -> Iterator[None]:
    """Let torch use at most so many threads for a while.

    Small products gain little from a second thread, and lose much where it shares its core with another process: a
    step with one pair of heads took 5.3 ms on one thread, 4.3 on two, and several times that on two with a neighbour.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(min(before, most))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def provenance(libraries: Sequence[str] = ()) -> dict[str, Any]:
    """Return what may differ for the same result: time, command line, versions (of `libraries`, too) and platform."""
    program = Path(sys.argv[0])
    words = ["emoclim" if program.name in ("emoclim", "__main__.py") else str(program), *sys.argv[1:]]
    return {
        "time": datetime.now(UTC).isoformat(timespec="microseconds"),
        "command": list(map(without_password, words)),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in (*PACKAGES, *libraries)},
        "platform": platform.platform(),
    }


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
