"""Write trained heads to a file, and read them as they were written, or not at all."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import torch
from pydantic_core import from_json
from torch import Tensor

from emoclim.data import FeatureSpec
from emoclim.encoders import zero_denormals
from emoclim.errors import RunError, reason_of
from emoclim.files import atomic, require_regular
from emoclim.learning.branches import KINDS, Banks, Branch
from emoclim.learning.heads import Heads
from emoclim.learning.objectives.loading import make_objective
from emoclim.modality import Modality

FORMAT = 3
CHECKSUM = "crc32"  # its name among the metadata


def save_heads(heads: Heads, path: Path | str) -> None:
    """Write heads to one safetensors file; the same heads give the same bytes.

    Tensors are called ``<branch>.<parameter>``; all else stands as JSON in the file's metadata.

    Parameters
    ----------
    heads
        Any number of them.
    path
        Of the file, which is replaced if it is there.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in heads.banks.state_dict().items()}
    banks = {
        name: {"kind": type(heads.banks.bank(name)).__name__, "about": heads.banks.bank(name).about()}
        | {"branch": asdict(branch)}
        for name, branch in heads.banks.branches.items()
    }
    objective = {
        "name": heads.objective.name,
        "modalities": list(heads.objective.modalities),
        "settings": [one.model_dump(mode="json") for one in heads.objective.settings],
    }
    about = {"format": FORMAT, "banks": banks, "objective": objective}
    about |= {"specs": {modality: spec.to_dict() for modality, spec in heads.specs.items()}}
    about |= {CHECKSUM: checksum(tensors, about)}
    with atomic(Path(path)) as partial:
        partial.write_bytes(safetensors.torch.save(tensors, metadata={"emoclim": json.dumps(about)}))


def load_heads(path: Path | str) -> Heads:
    """Read what :func:`save_heads` wrote.

    Parameters
    ----------
    path
        ``heads.safetensors`` of a run, for example.

    Raises
    ------
    RunError
        The file is not there, is damaged, is none of heads, or they are no numbers.
    """
    try:
        require_regular(Path(path))
        with safetensors.safe_open(path, framework="pt") as file:
            about = from_json(file.metadata()["emoclim"])
        tensors, told = safetensors.torch.load_file(path), about.pop(CHECKSUM, None)
        found = checksum(tensors, about)
        heads = _from_file(about, tensors)  # first, for it tells more
        if told != found:
            raise ValueError("it is not as it was written")
        return heads
    except Exception as error:  # to which values of other types than ours may lead
        reason = reason_of(error) if isinstance(error, OSError) else error
        raise RunError(f"{path} is no file of heads ({reason}); name one that train-heads wrote") from error


def checksum(tensors: Mapping[str, Tensor], about: Any = None) -> str:
    """Sum up tensors and plain values: what a disk has changed would be used without a word."""
    total = zlib.crc32(json.dumps(about).encode())
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), total)
        total = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, total)
    return str(total)


def _from_file(about: Any, tensors: dict[str, Tensor]) -> Heads:
    if about["format"] != FORMAT:
        raise ValueError(f"its format is {about['format']}, not {FORMAT}: it is of another version")
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32 or not tensor.numel():
            raise ValueError(f"{name} is {tuple(tensor.shape)} of {tensor.dtype}, not of float32")
        if not tensor.isfinite().all() or (name.endswith(".running_var") and (tensor < 0).any()):
            raise ValueError(f"{name} holds values that no training leaves, such as NaN")
    zero_denormals(tensors.values())
    banks = {
        name: KINDS[bank["kind"]].from_state(
            {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")},
            **bank["about"],
        )
        for name, bank in about["banks"].items()
    }
    branches = {name: Branch(**bank["branch"]) for name, bank in about["banks"].items()}
    specs = {cast(Modality, name): FeatureSpec.from_dict(spec) for name, spec in about["specs"].items()}
    return Heads(Banks(banks, branches), specs, make_objective(**about["objective"]))
