"""What a training tells while it runs: the leading heads to whoever shows them, and event files."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from emoclim.learning import EMO_CLIM, Leaders
from emoclim.pipeline.event_files import EventFiles
from emoclim.pipeline.sweeping import BankEpoch


class Watcher(ExitStack):
    """Shows the leading heads, and writes event files, as epochs end."""

    def __init__(self, folder: Path, show: Callable[[Leaders], None] | None, tensorboard: bool) -> None:
        super().__init__()
        self._leaders, self._show = Leaders(EMO_CLIM), show
        self._events = self.enter_context(EventFiles(folder / "tensorboard", EMO_CLIM)) if tensorboard else None

    def __call__(self, epoch: BankEpoch) -> None:
        """Take in an epoch of a bank."""
        if self._events:
            self._events(epoch)
        if self._show:
            losses = epoch.losses
            self._leaders.update(
                epoch.numbers, epoch.candidates, losses.number, losses.val_loss.tolist(), losses.val_terms.tolist()
            )
            self._show(self._leaders)
