"""Event files for TensorBoard: one run of its own for each bank of heads, ``tensorboard/<round>-<bank>/``."""

import shutil
from pathlib import Path

from emoclim.errors import ConfigError
from emoclim.learning import Terms
from emoclim.pipeline.sweeping import BankEpoch


class EventFiles:
    """Writes the losses of each epoch as they come; a context manager.

    Scalars are called ``train_loss/head_<number>``, ``val_loss/head_<number>`` and, before weighting,
    ``val_loss_<anchor>_<contrast>/head_<number>``.
    """

    def __init__(self, folder: Path, terms: Terms) -> None:
        try:
            from torch.utils import tensorboard
        except ImportError as error:
            raise ConfigError(
                "--tensorboard needs TensorBoard; install it with: pip install 'emoclim[tensorboard]'"
            ) from error
        self._folder, self._open = folder, tensorboard.SummaryWriter
        self._names = [f"val_loss_{anchor}_{contrast}" for anchor, contrast in terms]
        self._writers: dict[str, tensorboard.SummaryWriter] = {}

    def __enter__(self) -> "EventFiles":
        return self

    def __exit__(self, *error: object) -> None:
        for writer in self._writers.values():
            writer.close()

    def __call__(self, epoch: BankEpoch) -> None:
        """Write one epoch of one bank."""
        name = f"{epoch.round}-{epoch.bank}"
        if name not in self._writers:
            shutil.rmtree(self._folder / name, ignore_errors=True)  # a run that goes on tells of all its epochs again
            self._writers[name] = self._open(str(self._folder / name))
        writer, losses = self._writers[name], epoch.losses
        for k, number in enumerate(epoch.numbers):
            writer.add_scalar(f"train_loss/head_{number}", float(losses.train_loss[k]), losses.number)
            writer.add_scalar(f"val_loss/head_{number}", float(losses.val_loss[k]), losses.number)
            for term, loss in zip(self._names, losses.val_terms[k].tolist(), strict=True):
                writer.add_scalar(f"{term}/head_{number}", loss, losses.number)
        writer.flush()
