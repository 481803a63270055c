"""Attacks on the token of a service that others can reach, and the ways in which it is given rightly."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from served import open_music
from served import served_workspace as served_workspace

from emoclim.app import Libraries, ServiceSettings, create_app
from emoclim.errors import ConfigError

TOKEN = "a-token-of-many-letters"
OWN = "http://192.0.2.7:8765"
SETTINGS = ServiceSettings(host="0.0.0.0", token=TOKEN)


@pytest.fixture(scope="module")
def libraries(served_workspace: Path) -> Libraries:
    return open_music(served_workspace, SETTINGS)


@pytest.fixture
def client(libraries: Libraries) -> TestClient:
    app = create_app(libraries, SETTINGS)
    return TestClient(app, OWN, follow_redirects=False)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}a"},
        {"Authorization": f"Bearer {TOKEN.upper()}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer \xe9"},
        {"Cookie": f"emoclim_token_8765={TOKEN[1:]}"},
        {"Cookie": f"token={TOKEN}"},
        {"Cookie": f"emoclim_token_8765={TOKEN}; emoclim_token_8765=a"},
        {"Cookie": 'emoclim_token_8765="\\"; a[=;;'},
        {"X-Token": TOKEN},
    ],
    ids=range(13),
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/api/about"), ("POST", "/api/search"), ("GET", "/openapi.json")]
)
def test_nobody_enters_without_it(client: TestClient, headers: dict[str, str], method: str, path: str) -> None:
    raw = {name: value.encode("latin-1") for name, value in headers.items()}
    answer = client.request(method, path, headers=raw)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "Unauthorized"
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/?token=", f"/?token={TOKEN}x", "/?token=%00", f"/?Token={TOKEN}", f"/#token={TOKEN}"]
)
def test_no_address_without_it_opens_the_page(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 401


def test_it_is_no_part_of_what_is_sent(client: TestClient) -> None:
    assert client.post(f"/api/playlist?token={TOKEN}", json={}).status_code == 401


def test_the_address_that_bears_it_is_exchanged_for_a_cookie(client: TestClient) -> None:
    answer = client.get(f"/?view=map&token={TOKEN}")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?view=map")
    for text in ("httponly", "samesite=strict"):
        assert text in answer.headers["set-cookie"].lower()
    assert client.get("/api/about").status_code == 200


def test_two_services_of_one_host_keep_theirs_apart(client: TestClient) -> None:
    client.get(f"/?token={TOKEN}")
    other = f"http://192.0.2.7:8766/?token={TOKEN}"  # cookies know no ports
    given = client.get(other).headers["set-cookie"].partition("=")[0]
    assert given not in client.get(f"/?token={TOKEN}").headers["set-cookie"]
    client.cookies.set(given, "another token", domain="192.0.2.7")
    assert client.get("/api/about").status_code == 200


def test_it_leads_to_no_other_host(client: TestClient) -> None:
    for path in ("//evil.example/", "/\\evil.example/", "/%0d%0aX:a/"):
        place = client.get(f"{OWN}{path}?token={TOKEN}").headers.get("location", "/")
        assert place.startswith("/")
        assert not place.startswith(("//", "/\\"))
        assert "\n" not in place


def test_programs_bear_it(client: TestClient) -> None:
    assert client.get("/api/about", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "192.0.2.7.evil.example", "192.0.2.7@evil.example", "[::1", "a:b"])
def test_no_name_of_others_leads_here(client: TestClient, host: str) -> None:
    answer = client.get("/api/about", headers={"Authorization": f"Bearer {TOKEN}", "Host": host})
    assert answer.status_code == 403


def test_who_lets_others_in_has_one() -> None:
    drawn = {ServiceSettings(host=host).token or "" for host in ("0.0.0.0", "::", "192.0.2.7")}
    assert len(drawn) == 3
    assert min(map(len, drawn)) >= 32
    assert ServiceSettings().token is None
    with pytest.raises(ConfigError):
        ServiceSettings(token="short")
