"""Fixtures: the service at an address of this machine, and its page in a browser; what it may never do is checked."""

import base64
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from mimetypes import guess_type
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from emoclim.app import Libraries, ServiceSettings, create_app, server_config

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
MAKE_FILES = """files => {
    const made = new DataTransfer();
    for (const {name, type, data} of files)
        made.items.add(new File([Uint8Array.from(atob(data), (sign) => sign.charCodeAt(0))], name, {type}));
    return made;
}"""
PASTE = "made => document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: made, bubbles: true}))"
ANSWERED = """query => {
    const told = document.getElementById("status").textContent;
    return /match/.test(told) && told.includes(query);
}"""

Visit = Callable[..., Any]


@contextmanager
def serving(app: FastAPI) -> Iterator[str]:
    """Run the service on a free port of this machine."""
    server = uvicorn.Server(server_config(app, ServiceSettings(port=0), log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the service did not start"
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def address(libraries: Libraries) -> Iterator[str]:
    """Where the page of the small workspace is."""
    with serving(create_app(libraries, ServiceSettings(files=3))) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium."""
    driving = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install -e '.[dev]')")
    if not CHROMIUM.is_file():
        pytest.skip(f"needs Chromium at {CHROMIUM} (apt-get install chromium)")
    with driving.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield opened
        opened.close()


@contextmanager
def visiting(browser: Any, address: str) -> Iterator[Visit]:
    """Let pages be opened, of which none may ask another machine, break its own rules, or raise an error."""
    contexts, strangers, faults = [], [], []

    def visit(**options: Any) -> Any:
        contexts.append(context := browser.new_context(**options))
        context.set_default_timeout(60_000)
        context.on("request", lambda one: None if one.url.startswith((address, "blob:")) else strangers.append(one.url))
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda told: faults.append(told.text) if "Content Security Policy" in told.text else None)
        page.on("dialog", lambda dialog: (faults.append(f"dialog {dialog.message}"), dialog.dismiss()))
        page.goto(address)
        page.wait_for_function("() => document.getElementById('about').textContent")
        return page

    yield visit
    for context in contexts:
        context.close()
    assert not strangers, "it asked another machine"
    assert not faults


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Visit]:
    """Open the page; see :func:`visiting`."""
    with visiting(browser, address) as opened:
        yield opened


def drop(page: Any, *paths: Path) -> None:
    """Drop files onto the page."""
    page.dispatch_event("#drop", "drop", {"dataTransfer": _transfer(page, paths)})


def paste(page: Any, *paths: Path) -> None:
    """Paste files into the page."""
    page.evaluate(PASTE, _transfer(page, paths))


def _transfer(page: Any, paths: tuple[Path, ...]) -> Any:
    files = [
        {"name": path.name, "type": guess_type(path.name)[0], "data": base64.b64encode(path.read_bytes()).decode()}
        for path in paths
    ]
    return page.evaluate_handle(MAKE_FILES, files)


def found(page: Any, query: str = "") -> list[str]:
    """Wait for the answer to a query, named by part of the status; return the titles of the cards that are shown."""
    page.wait_for_function(ANSWERED, arg=query)
    return page.locator("#results .card:visible h3 bdi").all_inner_texts()
