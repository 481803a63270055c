"""What each process of a training by several does; a module of its own, so that it can be started anew."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from small_encoder import QUICK, Material, train
from torch import Tensor, distributed

from emoclim.errors import EmoclimError
from emoclim.learning.end_to_end.distributed import ALONE, Replicas
from emoclim.learning.end_to_end.encoder_trainer import JointLearner
from emoclim.learning.objectives.loading import make_objective
from emoclim.modality import Modality

CONFIG = QUICK.updated(epochs=2, batches_per_epoch=2, dropout=0.5)


def trained(
    material: Material,
    tuning: dict[str, Any],
    replicas: Replicas = ALONE,
    modalities: tuple[Modality, ...] = ("audio",),
    name: str = "emo_clim",
) -> dict[str, Tensor]:
    """What a training gives: gradients of its first step, losses, and the parameters at its end."""
    joined: tuple[Modality, ...] = ("image", "audio") if name == "emo_clim" and len(modalities) == 1 else modalities
    objective = make_objective(name, joined, [{}])
    found: dict[str, Tensor] = {}
    update = JointLearner._update

    def noting(learner: JointLearner) -> None:
        update(learner)
        parameters = {f"{own}.{name}": one for own, some in learner.trained.items() for name, one in some.items()}
        parameters |= {str(number): one for number, one in enumerate(learner._heads.parameters())}
        for name, one in parameters.items():
            assert one.grad is not None
            found.setdefault(f"gradient.{name}", one.grad.clone())

    JointLearner._update = noting  # type: ignore[method-assign]
    try:
        given = {"objective": objective, "weights": objective.default_weights}
        training = train(material, CONFIG, tuning, replicas=replicas, modalities=modalities, **given)
    finally:
        JointLearner._update = update  # type: ignore[method-assign]
    found |= {f"loss.{name}": getattr(training.history, name) for name in ("train_loss", "val_loss")}
    encoders = training.encoders.items()
    return found | {f"encoder.{own}.{name}": tensor for own, state in encoders for name, tensor in state.items()}


def run(rank: int, count: int, folder: Path, material: Material, tuning: dict[str, Any]) -> None:
    """Train with others and write what came of it."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=count)
    spoilt = tuning.pop("spoilt", None)
    own = {key: tuning.pop(key) for key in ("modalities", "name") if key in tuning}
    found: dict[str, Any]
    try:
        if rank == spoilt:  # as if the files lay on a disk that this one cannot read
            nowhere = [replace(item, path=folder / "nowhere") for item in material.recordings["train"].items]
            material.recordings["train"] = replace(material.recordings["train"], items=nowhere)
        found = trained(material, tuning, Replicas(rank, count), **own)
    except EmoclimError as error:
        found = {"told": str(error)}
    finally:
        distributed.destroy_process_group()
    torch.save(found, folder / f"{rank}.pt")
