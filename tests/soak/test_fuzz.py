"""Files that are spoilt by chance: each use of them goes well or is refused, within time and memory."""

from collections.abc import Callable, Iterator

import fuzzing
import processes
import pytest
from forks import REFUSED
from soaking import rounds, soak

Ask = Callable[..., fuzzing.Report]


@pytest.fixture(scope="module")
def fuzz(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with processes.answering(fuzzing.serve, tmp_path_factory.mktemp("fuzz")) as ask:
        yield ask


@soak
@pytest.mark.parametrize("kind", fuzzing.KINDS)
def test_a_spoilt_file_is_read_rightly_or_refused(fuzz: Ask, kind: str) -> None:
    report = fuzz(kind, range(rounds(50)))
    assert report.faults == {}
    assert report.grown < fuzzing.ROOM
    assert report.codes[REFUSED], "nothing was refused, so nothing was spoilt"
