"""Contract of an engine: it starts workers on tasks, and tells when and why one has ended."""

from abc import abstractmethod
from pathlib import Path
from typing import ClassVar, Protocol, Self

from pydantic import Field

from emoclim.config import Settings


class Running(Protocol):
    """A worker that was started."""

    def ended(self) -> str | None:
        """Return None while it waits or works, an empty string once it found nothing more to do, or why it died."""

    def stop(self) -> None:
        """Ask it to commit what it has and end; idempotent."""

    def wait(self) -> None:
        """See to it that it has ended, by force if need be; called after `stop`."""


class Engine(Settings):
    """Where workers run, and what each may use; its fields may be given behind its name: ``slurm:8,gpus=1``."""

    name: ClassVar[str]

    workers: int = Field(default=1, ge=1, le=100_000)

    @abstractmethod
    def ready(self, device: str) -> Self:
        """Return it with what was not given set as a device needs it; raise :class:`ConfigError` if it is not there."""

    @property
    def cores(self) -> int | None:
        """Cores of each worker; None where the worker finds that out on its machine."""
        return None

    @abstractmethod
    def start(self, folder: Path, number: int) -> Running:
        """Start a worker on the tasks of a folder."""

    def close(self) -> None:
        """Release what starting workers needed; idempotent."""
