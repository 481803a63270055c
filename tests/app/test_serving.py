"""The page is opened: its port taken, its address told, and it is served until it is interrupted."""

import json
import socket
import threading
from contextlib import closing
from pathlib import Path

import pytest
from asking import ask_and_interrupt, free_port
from commands import mistake, run
from few_pictures import pictures as pictures
from wordy_preset import OWN
from wordy_preset import preset as preset
from wordy_preset import wordy as wordy

from emoclim.app import ServiceSettings, open_browser, open_page
from emoclim.app.serving import take_port
from emoclim.commands import app as command
from emoclim.errors import ConfigError
from emoclim.pipeline import Workspace

TOKEN = "a-token-of-some-length"


@pytest.fixture(autouse=True)
def compared_by_words(preset: None) -> None:
    """Nothing need be trained."""


@pytest.fixture
def port() -> int:
    return free_port()


def test_the_command_serves_until_it_is_interrupted(pictures: Path, tmp_path: Path, port: int) -> None:
    address, answers = f"http://127.0.0.1:{port}/", []
    ask_and_interrupt(f"{address}api/about", answers)
    shown = run("app", "--workspace", tmp_path, "--port", port, "--in", pictures, *OWN).stdout
    assert [one["name"] for one in json.loads(answers[0])["libraries"]] == ["pictures"]
    assert "pictures: " in shown
    assert address in shown


def test_a_port_that_is_taken_is_told_before_anything_is_opened(tmp_path: Path, port: int) -> None:
    with closing(socket.create_server(("127.0.0.1", port))):
        told = mistake("app", "--workspace", tmp_path, "--port", port, "--in", "nowhere")
    assert f"port {port} of 127.0.0.1 cannot be taken" in told
    assert "--port" in told


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid"])
def test_a_host_that_is_not_this_machine_is_told(host: str) -> None:
    with pytest.raises(ConfigError, match="--host"):
        take_port(ServiceSettings(host=host, port=0, token=TOKEN))


def test_a_port_is_given_back_where_no_library_can_be_opened(tmp_path: Path, port: int) -> None:
    settings = ServiceSettings(port=port)
    for _ in range(2):
        with pytest.raises(Exception, match="nowhere"):
            open_page(Workspace(tmp_path), ["nowhere"], settings, words={})


def test_with_a_host_there_is_a_token_that_the_address_holds(tmp_path: Path) -> None:
    page = open_page(Workspace(tmp_path), [], ServiceSettings(host="0.0.0.0", port=0))
    token = page.settings.token
    assert token
    assert len(token) >= 32
    assert page.address.startswith(f"http://{socket.gethostname()}:")
    assert page.address.endswith(f"/?token={token}")
    page.taken.close()
    assert page.lacking
    assert ServiceSettings().token is None
    assert ServiceSettings(host="0.0.0.0").token != token


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "LIBRARIES", ("json", "no_such_library"))
    assert "pip install 'emoclim[app]'" in mistake("app", "--workspace", tmp_path)


@pytest.mark.parametrize("there", [True, False])
def test_a_browser_is_shown_the_address_or_its_lack_told(there: bool, caplog: pytest.LogCaptureFixture) -> None:
    shown: list[str] = []

    def show(address: str) -> bool:
        shown.append(address)
        return there

    open_browser("http://127.0.0.1:1/", show)
    for thread in threading.enumerate():
        if thread.name == "browser":
            thread.join(10)
    assert shown == ["http://127.0.0.1:1/"]
    assert ("no browser" in caplog.text) is not there
