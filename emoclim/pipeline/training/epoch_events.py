"""Show the leading heads, and write event files for TensorBoard, as the epochs of a sweep end.

Each bank of heads has an event file of its own, ``tensorboard/<round>-<bank>/``, with ``train_loss/head_<number>``,
``val_loss/head_<number>`` and, before weighting, ``val_loss_<anchor>_<contrast>/head_<number>``.
"""

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim.errors import ConfigError
from emoclim.learning import Candidate, Epoch, Leaders


@dataclass(frozen=True, slots=True)
class BankEpoch:
    """An epoch of a bank."""

    bank: str  # "<round>-<bank>", both from 0
    numbers: Sequence[int]  # of the candidates in it
    candidates: Sequence[Candidate]
    losses: Epoch


class EpochEvents(ExitStack):
    """Take in epochs; a context manager, which closes the event files."""

    def __init__(self, terms: Sequence[str], show: Callable[[Leaders], None] | None, events: Path | None) -> None:
        super().__init__()
        self._terms = [term.replace(">", "_") for term in terms]
        self._leaders, self._show, self._events = Leaders(terms), show, events
        self._open = summary_writer() if events else None
        self._writers: dict[str, Any] = {}

    def __call__(self, epoch: BankEpoch) -> None:
        """Take in an epoch of a bank."""
        losses = epoch.losses
        if self._events:
            self._write(epoch, self._writer(epoch.bank, self._events / epoch.bank))
        if self._show:
            val_loss, val_terms = losses.val_loss.tolist(), losses.val_terms.tolist()
            self._leaders.update(epoch.numbers, epoch.candidates, losses.number, val_loss, val_terms)
            self._show(self._leaders)

    def _writer(self, bank: str, folder: Path) -> Any:
        if bank not in self._writers:
            shutil.rmtree(folder, ignore_errors=True)  # a run that is resumed tells of all its epochs again
            assert self._open is not None
            self._writers[bank] = self._open(str(folder))
            self.callback(self._writers[bank].close)
        return self._writers[bank]

    def _write(self, epoch: BankEpoch, writer: Any) -> None:
        losses = epoch.losses
        for k, number in enumerate(epoch.numbers):
            scalars = {"train_loss": losses.train_loss[k], "val_loss": losses.val_loss[k]}
            scalars |= {f"val_loss_{term}": losses.val_terms[k, place] for place, term in enumerate(self._terms)}
            for name, loss in scalars.items():
                writer.add_scalar(f"{name}/head_{number}", float(loss), losses.number)
        writer.flush()


def summary_writer() -> Callable[[str], Any]:
    """Return TensorBoard's writer, or raise a :class:`ConfigError` where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "--tensorboard needs TensorBoard; install it with: pip install 'emoclim[tensorboard]'"
        ) from error
    writer: Callable[[str], Any] = SummaryWriter
    return writer
