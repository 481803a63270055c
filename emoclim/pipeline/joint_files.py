"""The files of a run that trained an encoder: those of any run, and ``encoder.safetensors``.

That file has the names that the encoder's own checkpoints have, so that it can be used as one; its metadata has the key
``emoclim``: JSON with what it was trained from and how.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from emoclim.heads import Heads, save_heads
from emoclim.losses import Terms
from emoclim.pipeline.run_files import history_entry
from emoclim.pipeline.runs import ENCODER_FILE
from emoclim.pipeline.workspace import HEADS_FILE, provenance, write_json
from emoclim.reports.plots import plot_history
from emoclim.stages.train_end_to_end import JointTraining


def write_encoder(folder: Path, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> Path:
    """Write the encoder, whole or not at all; the same tensors and words give the same bytes."""
    path = folder / ENCODER_FILE
    aside = path.with_name(f"{path.name}.partial")
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    aside.write_bytes(safetensors.torch.save(tensors, metadata={"emoclim": json.dumps(about)}))
    aside.replace(path)
    return path


def write_joint_run(
    folder: Path, settings: Mapping[str, Any], training: JointTraining, heads: Heads, terms: Terms
) -> None:
    """Write all else; the heads come last and make it a run, once more if it was one."""
    (folder / HEADS_FILE).unlink(missing_ok=True)
    history = training.history
    names = [f"{anchor}_{contrast}" for anchor, contrast in terms]
    write_json(folder / "settings.json", settings)
    write_json(folder / "history.json", {"terms": names, "heads": [history_entry(0, history)]})
    seconds = {"training": training.seconds, "waiting_for_files": training.waiting}
    write_json(folder / "run.json", provenance() | {"seconds": seconds})
    best = torch.tensor([training.best_epoch])
    plot_history(history.train_loss, history.val_loss, best, folder / "history.png")
    save_heads(heads, folder / HEADS_FILE)
