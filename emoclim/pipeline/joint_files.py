"""The file of a trained encoder, ``encoder.safetensors``, beside the files that any run has.

It has the names that the encoder's own checkpoints have, so that it can be used as one; its metadata has the key
``emoclim``: JSON with what it was trained from and how.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from emoclim.data import FeatureSpec
from emoclim.pipeline.augmenting import without_place
from emoclim.pipeline.joint_plans import TRAINED, JointPlan
from emoclim.pipeline.runs import ENCODER_FILE

FORMAT = 1  # of what the file says of itself


def write_encoder(folder: Path, state: Mapping[str, Tensor], about: Mapping[str, Any]) -> Path:
    """Write the encoder, whole or not at all; the same tensors and words give the same bytes."""
    path = folder / ENCODER_FILE
    aside = path.with_name(f"{path.name}.partial")
    tensors = {name: tensor.contiguous() for name, tensor in state.items()}
    aside.write_bytes(safetensors.torch.save(tensors, metadata={"emoclim": json.dumps(about)}))
    aside.replace(path)
    return path


def about_encoder(plan: JointPlan, images: FeatureSpec, best_epoch: int) -> dict[str, object]:
    """Where a trained encoder comes from: the same for the same seed."""
    added = {"augmentations": without_place(plan.augmentations)} if plan.augmentations else {}
    return {
        "format": FORMAT,
        "start": plan.start.to_dict(),
        "config": plan.config.model_dump() | {"encoder": plan.tuning.model_dump()},
        "loss_weights": list(plan.weights),
        "classes": list(plan.label_map.classes),
        "label_map": plan.label_map.maps,
        "similarity": plan.similarity,
        "images": images.to_dict(),
        "manifests": {"image": plan.images["digest"], TRAINED: plan.audio["digest"]},
        "contents": plan.contents,
        "store": plan.store,
        "best_epoch": best_epoch,
        "processes": plan.processes,
        **added,
    }
