"""Addresses of files: what they are called, what is shown of them, and how a file comes whole or not at all."""

import errno
import os
import subprocess
from pathlib import Path

import pytest
from file_server import FileServer, picture, server  # noqa: F401 - a fixture

from emoclim.data.content import ContentKeys
from emoclim.data.items.known_files import Fingerprint
from emoclim.data.items.remote import is_remote, name_of, path_within, shown_path, url_of, without_secrets
from emoclim.data.manifest import Item, read_manifest
from emoclim.data.media import fetching
from emoclim.data.media.images.image import read_image
from emoclim.errors import ConfigError, ManifestError, MissingLibrary, PassingError
from emoclim.pipeline import file_or_words
from emoclim.processes import own_prefix


@pytest.mark.parametrize(
    "address",
    [
        "https://host/a b/c.png?x=1",
        "s3://bucket//key",
        "file:///data/a.png",
        "https://host/get/./?of=http://other/a.png",
        "https://user:p@ss@host:8080/a/",
    ],
)
def test_an_address_comes_back_from_a_path(address: str) -> None:
    path = path_within("/data", address)
    assert is_remote(path)
    assert url_of(path) == url_of(Path(str(path))) == address


def test_paths_are_none_that_look_like_addresses() -> None:
    assert path_within("/data", "a:b/c.png") == Path("/data/a:b/c.png")
    assert not is_remote("C:/music/a.wav")
    assert name_of("a//b?c.png") == shown_path("a//b?c.png") == "a//b?c.png"


SIGNED = "X-Amz-Algorithm=A&X-Amz-Credential=secret&X-Amz-Signature={}&X-Amz-Expires=60"


def test_nothing_secret_is_shown_and_a_new_signature_changes_no_name() -> None:
    first, again = (f"https://me:secret@host/a.png?{SIGNED.format(n)}" for n in ("s3cret1", "s3cret2"))
    assert shown_path(first) == name_of(first) == name_of(again) == "https://host/a.png"
    one, other = (f"https://host/get?id={n}&{SIGNED.format('secret')}" for n in (1, 2))
    assert name_of(one) != name_of(other)
    assert "secret" not in name_of(one)
    assert name_of("https://host/get?se=1") != name_of("https://host/get?se=2")  # no signature, so they say what
    said = without_secrets(f"cannot connect to {first} nor to 'ftp://me:secret@host/b?secret'", first)
    assert said == "cannot connect to https://host/a.png nor to 'ftp://host/b'"


def test_the_memo_knows_an_address_by_its_name(tmp_path: Path) -> None:
    def item(address: str) -> Item:
        return Item("a", path_within("", address))

    keys = ContentKeys(tmp_path / "memo.db")
    keys.learn(item("https://me:secret@host/a.png?key=secret"), Fingerprint(1, 2, "f" * 32))
    keys.save()
    assert b"secret" not in (tmp_path / "memo.db").read_bytes()
    assert ContentKeys(tmp_path / "memo.db")(item("https://host/a.png?key=secret")) == "f" * 32
    with pytest.raises(PassingError, match="another machine"):  # nothing is fetched to tell it
        keys(item("https://host/a.png?key=other"))


def test_only_extract_reads_what_lies_elsewhere() -> None:
    with pytest.raises(PassingError, match="another machine"):
        read_image(Item("a", path_within("", "https://host/a.png")))
    with pytest.raises(ManifestError, match="host/list.csv is an address"):
        read_manifest("https://me:secret@host/list.csv?secret", "image")
    with pytest.raises(ConfigError, match="host/a.png is an address"):
        file_or_words("https://me:secret@host/a.png?secret")


def test_what_no_library_reads_is_told() -> None:
    with pytest.raises(MissingLibrary, match=r"emoclim\[remote\]"), fetching.fetched(Item("a", Path("odd://host/a"))):
        pass


@pytest.mark.parametrize("address", ["http://[host/a.png", "http://host:port/a.png"])
def test_what_is_no_address_is_told(address: str) -> None:
    pytest.importorskip("aiohttp")
    with pytest.raises(PassingError, match="cannot be asked for"):
        fetch(address)


def fetch(address: str) -> bytes:
    with fetching.fetched(Item("a", path_within("", address))) as here:
        assert here.path is not None
        return here.path.read_bytes()


def test_a_full_disk_is_told_and_nothing_is_asked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fill(*given: object) -> None:
        asked.append(given)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching, "_copy", fill)
    with pytest.raises(PassingError, match="No space left"):
        fetch("http://host/a.png")
    assert len(asked) == 1
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(PassingError, match="TMPDIR"):
        fetch("http://host/a.png")


def test_what_a_killed_process_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (killed := subprocess.Popen(["true"])).wait()
    (left := tmp_path / f"{own_prefix().replace(str(os.getpid()), str(killed.pid))}x").mkdir()
    (left / "file.mp4").touch()
    (others := tmp_path / f"{own_prefix()}x").mkdir()
    fetching._remove_left.cache_clear()
    with pytest.raises(MissingLibrary):
        fetch("odd://host/a")
    assert list(tmp_path.iterdir()) == [others]


def test_what_comes_too_slowly_is_told(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(fetching, "LONGEST", 0.5)
    server.files["a.png"] = picture(1)
    with pytest.raises(PassingError, match="too slow"):
        fetch(f"{server.address}/dripping/a.png")
    assert server.asked.total() == 1


def test_what_users_set_for_a_library_counts(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    pytest.importorskip("aiohttp")
    from fsspec.config import conf

    server.files["a.png"] = picture(1)
    monkeypatch.setitem(conf, "http", {"client_kwargs": {"headers": {"Authorization": "mine"}}})
    fetching._connected.cache_clear()
    assert fetch(f"{server.address}/whole/a.png") == picture(1)
    assert server.authorised == {"/whole/a.png": "mine"}
    fetching._connected.cache_clear()
