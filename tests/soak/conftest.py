"""One warm parent for all tests of chance of a test process."""

from collections.abc import Callable, Iterator
from typing import Any

import processes
import pytest
import warm_parent


@pytest.fixture(scope="session")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """Ask a worker of the warm parent, by its name."""
    with processes.answering(warm_parent.serve, tmp_path_factory.mktemp("warm")) as ask:
        yield ask
