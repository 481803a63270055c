"""A service that runs on loopback, with a secret beside its library, and ways to speak to it without manners."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import uvicorn
from served import open_music

from emoclim.app import Libraries, ServiceSettings, create_app, server_config

SECRET = "the secret of the house"
SETTINGS = ServiceSettings(
    port=0,
    upload_bytes=2_000_000,
    files=3,
    upload_seconds=3.0,
    decode_seconds=30.0,
    decode_bytes=500_000_000,
    decoders=1,
)


@dataclass(frozen=True)
class Target:
    """A service that runs."""

    port: int
    libraries: Libraries
    client: httpx2.Client  # of good manners

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def raw(self, *parts: bytes, pause: float = 0.0, patience: float = 20.0) -> bytes:
        """Send bytes as they are, and return whatever comes until the connection is closed or silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=patience) as connection:
            with contextlib.suppress(OSError):  # it may have heard enough
                for part in parts:
                    connection.sendall(part)
                    time.sleep(pause)
            received = b""
            with contextlib.suppress(OSError):
                while block := connection.recv(65_536):
                    received += block
            return received

    def get(self, path: str, *headers: str, method: str = "GET", host: str | None = None, body: bytes = b"") -> bytes:
        """Send a request whose path is not tidied up, and close."""
        named = [] if host == "" else [f"Host: {host or self.host}"]
        lines = [f"{method} {path} HTTP/1.1", *named, "Connection: close", *headers, "", ""]
        return self.raw("\r\n".join(lines).encode("latin-1") + body)

    def ask(self, query: object, *files: tuple[str, bytes]) -> httpx2.Response:
        """Search, with a query that may be anything."""
        text = query if isinstance(query, str) else json.dumps(query)
        parts = [("query", (None, text)), *(("files", file) for file in files)]
        return self.client.post("/api/search", files=parts)

    def upload(self, name: str, content: bytes) -> httpx2.Response:
        """Search with a file."""
        return self.ask({"library": "audio", "plus": [{"file": 0}]}, (name, content))

    def require_alive(self) -> None:
        """Fail if the service does not answer as it should."""
        answer = self.client.get("/api/about", timeout=30)
        assert answer.status_code == 200
        assert answer.json()["libraries"][0]["id"] == "audio"


def status_of(answer: bytes) -> int:
    """The status of an answer; 0 where the connection was closed without one."""
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0


@contextlib.contextmanager
def running(libraries: Libraries, settings: ServiceSettings) -> Iterator[Target]:
    """Run a service until the block ends."""
    server = uvicorn.Server(server_config(create_app(libraries, settings), settings, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            yield Target(port, libraries, client)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def target(served_workspace: Path) -> Iterator[Target]:
    """The service that is attacked."""
    (served_workspace / "secret.wav").write_text(SECRET)
    with running(open_music(served_workspace, SETTINGS), SETTINGS) as started:
        yield started


@pytest.fixture
def _alive_afterwards(target: Target) -> Iterator[None]:
    yield
    target.require_alive()
