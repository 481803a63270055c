"""Servers that are not there: a few items wait for them, the others are told, until one is reached again."""

import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from file_server import FileServer, picture, server, serving  # noqa: F401 - a fixture

from emoclim.config import ExtractConfig
from emoclim.data import Item, UnreachableHosts, fetched, path_within
from emoclim.data.items import hosts
from emoclim.data.items.hosts import LOST
from emoclim.data.media import fetching
from emoclim.errors import PassingError
from emoclim.pipeline import Workspace, extract_features

pytest.importorskip("aiohttp")
TRIES = 4


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """How often the file of each address was tried for."""
    counts, copy = Counter[str](), fetching._copy

    def counted(url: str, place: Path, seconds: float) -> None:
        counts[url] += 1
        copy(url, place, seconds)

    monkeypatch.setattr(fetching, "_copy", counted)
    monkeypatch.setattr(fetching, "PAUSES", (0.0, 0.0, 0.0))
    yield counts
    fetching._connected.cache_clear()


@pytest.fixture
def nobody() -> Iterator[socket.socket]:
    """A port that refuses connections."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        yield port


def address_of(nobody: socket.socket) -> str:
    return f"http://127.0.0.1:{nobody.getsockname()[1]}"


def told(address: str, known: UnreachableHosts) -> str:
    """Return the reason of a failure; none of what came whole."""
    try:
        with fetched(Item("a", path_within("", address)), known):
            return ""
    except PassingError as error:
        return str(error)


def lose(address: str, known: UnreachableHosts, tries: Counter[str]) -> None:
    """Lose so many files that the host seems dead."""
    for n in range(LOST):
        reason = told(f"{address}/{n}.png", known)
        assert "could not be fetched in 4 tries" in reason
        assert tries.pop(f"{address}/{n}.png") == TRIES


def test_a_host_that_is_not_there_is_tried_for_few_items(
    nobody: socket.socket, tries: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, known = address_of(nobody), UnreachableHosts()
    lose(address, known, tries)
    assert "does not answer" in told(f"{address}/a.png", known)
    assert not tries
    monkeypatch.setattr(hosts, "REST", 0)
    assert "does not answer" in told(f"{address}/a.png", known)
    assert tries == {f"{address}/a.png": 1}
    nobody.close()
    with serving(int(address.rpartition(":")[2])) as server:  # noqa: F811
        server.files["b.png"] = picture(1)
        assert "503" in told(f"{address}/busy/b.png", known)  # an answer, so that it has all its tries
        assert tries[f"{address}/busy/b.png"] == TRIES
        assert told(f"{address}/whole/b.png", known) == ""
    fetching._connected.cache_clear()
    tries.clear()
    lose(address, known, tries)  # from the beginning


def test_a_host_that_answers_seems_never_dead(server: FileServer, tries: Counter[str]) -> None:  # noqa: F811
    known = UnreachableHosts()
    server.files["a.png"] = picture(1)
    for manner, number in {"gone": 1, "refused": 1, "busy": TRIES, "cut": TRIES, "away": TRIES}.items():
        for _ in range(LOST + 1):
            assert told(f"{server.address}/{manner}/a.png", known)
        assert server.asked[f"/{manner}/a.png"] == number * (LOST + 1)


@pytest.mark.parametrize("scheme", ["https", "s3"])
def test_so_is_one_that_nothing_can_be_said_to(
    scheme: str,
    server: FileServer,  # noqa: F811
    nobody: socket.socket,
    tries: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    address, known = server.address.replace("http:", "https:"), UnreachableHosts()
    if scheme == "s3":
        pytest.importorskip("s3fs")
        address = "s3://bucket"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address_of(nobody))
        monkeypatch.setenv("AWS_DEFAULT_REGION", "nowhere-1")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "secret")
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, "/dev/null")
    lose(address, known, tries)
    assert "does not answer" in told(f"{address}/a.png", known)
    assert "does not answer" not in told(server.address + "/gone/0.png", known)  # of another host
    assert tries[f"{address}/a.png"] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="others refuse what is too much")
def test_so_is_one_that_drops_what_is_sent_to_it(
    nobody: socket.socket, tries: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "SILENCE", 0.1)
    monkeypatch.setattr(hosts, "LOST", 1)
    nobody.listen(0)
    address, known = address_of(nobody), UnreachableHosts()
    with ExitStack() as waiting:
        for _ in range(4):  # more than the system accepts for it
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(nobody.getsockname())
        assert "silent" in told(f"{address}/a.png", known)
        assert "does not answer" in told(f"{address}/b.png", known)
    assert tries == {f"{address}/a.png": TRIES}


@pytest.mark.parametrize(
    ("asked", "pause"),
    [("7", 7.0), ("3600", 60.0), ("Fri, 01 Jan 2100 00:00:00 GMT", 60.0), ("soon", 0.0), ("", 0.0), ("0", 0.0)],
)
def test_a_busy_server_is_left_alone_as_long_as_it_asks(
    asked: str,
    pause: float,
    server: FileServer,  # noqa: F811
    tries: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    server.files["a.png"], server.retry_after = picture(1), asked
    assert told(f"{server.address}/later-2/a.png", UnreachableHosts()) == ""
    assert pauses == [pause] * 2
    assert tries.total() == 3


def test_each_item_is_told_and_the_next_run_tries_anew(
    server: FileServer,  # noqa: F811
    nobody: socket.socket,
    tries: Counter[str],
    tmp_path: Path,
) -> None:
    server.files["a.png"] = picture(1)
    rows = [f"{address_of(nobody)}/{n}.png" for n in range(LOST + 4)]
    (tmp_path / "images.csv").write_text("\n".join(["path", *rows, f"{server.address}/whole/a.png"]))
    config = ExtractConfig(encoder="colour", workers=0, settings={"size": 64})
    for again in range(2):
        found = extract_features("image", tmp_path / "images.csv", config=config, workspace=Workspace(tmp_path))
        failures = found.extraction.failures
        assert [one.id for one in failures] == rows
        assert sum("does not answer" in one.reason for one in failures) == 4
        assert found.extraction.encoded == 1 - again
        dead = {url: count for url, count in tries.items() if urlsplit(url).port == nobody.getsockname()[1]}
        assert list(dead.values()) == [TRIES * (again + 1)] * LOST
