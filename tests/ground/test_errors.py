"""What a user reads when something beyond this package fails."""

import errno
import os

import pytest
from commands import run

from emoclim.errors import on_one_line, reason_of


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


def test_no_name_steers_the_terminal_or_turns_its_lines_round() -> None:
    assert on_one_line("a\x1b[31m\u202egpj.été\u2028日") == r"a\x1b[31m\u202egpj.été\u2028日"
