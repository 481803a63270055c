"""Keep a study of Optuna in a file whose lines are whole, also after a full disk or a kill.

Optuna reads no line that follows one that was cut short, so that a study would be lost for what comes after it.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock


class _MendingLock(JournalFileSymlinkLock):
    """Optuna's own lock on a journal, within which the line that a writer did not end is taken away."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = Path(path)

    def acquire(self) -> bool:
        held = super().acquire()
        self._mend()  # what a killed process left
        return held

    def release(self) -> None:
        self._mend()  # what did not find room
        super().release()

    def _mend(self) -> None:
        with suppress(OSError), self._path.open("r+b") as file:
            if not (size := file.seek(0, 2)):
                return
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)


def journal(path: str) -> Any:
    """Open or make a journal."""
    return JournalFileBackend(path, lock_obj=_MendingLock(path))
