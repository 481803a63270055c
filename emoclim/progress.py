"""How a stage reports progress: it wraps its loop in `track`, and never learns who is watching."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Track(Protocol):
    """Wraps an iterable and shows how far it is; `rich.progress.track` is one."""

    def __call__(self, sequence: Iterable[T], description: str = ..., total: float | None = ...) -> Iterable[T]:
        """Yield what `sequence` does, `total` things if that is known."""
        ...


def silent(
    sequence: Iterable[T],
    description: str = "",  # noqa: ARG001 - of the protocol
    total: float | None = None,  # noqa: ARG001
) -> Iterable[T]:
    """Track nothing."""
    return sequence
