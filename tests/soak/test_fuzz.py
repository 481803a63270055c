"""Files that are spoilt by chance: each use of them goes well or is refused, within time and memory."""

from collections.abc import Callable

import fuzzing
import pytest
from forks import REFUSED
from soaking import LONGER, rounds, soak


@soak
@pytest.mark.parametrize("kind", fuzzing.KINDS)
def test_a_spoilt_file_is_read_rightly_or_refused(ask: Callable[..., fuzzing.Report], kind: str) -> None:
    report = ask("fuzz", kind, range(rounds(50) if LONGER > 1 else 25))
    assert report.faults == {}
    assert report.grown < fuzzing.ROOM
    assert report.codes[REFUSED], "nothing was refused, so nothing was spoilt"
