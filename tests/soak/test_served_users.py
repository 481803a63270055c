"""Many users at once on a large library: each is answered, and what one is answered does not depend on the others."""

import http.client
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from benchmark_scripts import script
from benchmark_scripts import undisturbed as undisturbed
from soaking import LONGER, rounds, soak

USERS = 50


@soak
@pytest.mark.usefixtures("undisturbed")
def test_fifty_users_at_once_are_answered(tmp_path: Path) -> None:
    service = script("service")
    service.build(tmp_path, 100_000 if LONGER > 1 else 3_000)
    with service.served(tmp_path) as port:
        found = service.ask(port, USERS, 60.0 if LONGER > 1 else 3.0)
        assert not Counter(found.errors)
        assert len(found.seconds) >= USERS
        alone, among = (service.ask(port, users, 0.5) for users in (1, 8))
        assert not alone.errors + among.errors
    assert "Traceback" not in (tmp_path / "told.txt").read_text()


@soak
@pytest.mark.usefixtures("undisturbed")
def test_answers_are_those_of_a_user_alone(tmp_path: Path) -> None:
    service = script("service")
    service.build(tmp_path, 2_000)
    with service.served(tmp_path) as port:

        def search(number: int) -> list[tuple[int, float]]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=service.PATIENCE)
            query = {"library": "audio", "plus": [{"file": 0}], "only": {"emotion": service.CLASSES[number % 3]}}
            (result,) = service._search(connection, query, service.photo(number))["results"]
            connection.close()
            return [(hit["item"], hit["score"]) for hit in result["found"]]

        alone = [search(number) for number in range(6)]
        with ThreadPoolExecutor(12) as users:
            assert list(users.map(search, list(range(6)) * rounds(4))) == alone * rounds(4)
