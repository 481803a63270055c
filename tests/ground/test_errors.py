"""What a user reads when something beyond this package fails."""

import errno
import os

import pytest
from commands import run

from emoclim.errors import reason_of


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), os.strerror(errno.EACCES)),
        (OSError("the header is cut short"), "the header is cut short"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_of_the_system_is_told_with_its_reason(
    error: OSError, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise error

    assert reason_of(error) == reason
    monkeypatch.setattr("emoclim.pipeline.describe_encoders", fail)
    assert f"({reason})" in run("encoders", code=2).stderr
