"""Read the tensors of a file of parameters without running anything from it, and put them into a network."""

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from emoclim.encoders.arithmetic import zero_denormals
from emoclim.encoders.checkpoints.published import require_file
from emoclim.encoders.checkpoints.torch_archive import is_script, read_archive
from emoclim.errors import CheckpointError, name_some


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read parameters by name, to the CPU; take off a wrapping ``state_dict`` and a common prefix ``module.``.

    Notes
    -----
    No code of the file is run: TorchScript, and zip archives that ``torch.load(weights_only=True)`` refuses, go
    to :func:`~emoclim.encoders.checkpoints.torch_archive.read_archive`.
    """
    require_file(path)
    try:
        content = _read(path)
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise CheckpointError(f"{path} cannot be read as a checkpoint ({reason}); name or download another") from error
    table = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    entries = table.items() if isinstance(table, Mapping) else ()
    tensors = {name: value for name, value in entries if isinstance(name, str) and isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{path} holds no table of named tensors; name a checkpoint")
    prefix = "module." if all(name.startswith("module.") for name in tensors) else ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def fit(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy tensors into a module, every one of them into its place, and zero in place of denormal numbers."""
    needed = module.state_dict()
    missing = [name for name in needed if name not in tensors]
    unexpected = [name for name in tensors if name not in needed]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} for {tuple(tensor.shape)}"
        for name, tensor in needed.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    faults = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    if told := "; ".join(f"{len(names)} {fault}: {name_some(names)}" for fault, names in faults.items() if names):
        raise CheckpointError(f"{source} does not fit {type(module).__name__} ({told}); name one made for it")
    module.load_state_dict(dict(tensors))
    zero_denormals(module.state_dict().values())


def _read(path: Path) -> object:
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":
        return safetensors.torch.load_file(path)
    zipped = head.startswith(b"PK")
    if zipped and is_script(path):
        return read_archive(path)
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of the pickle protocol before it refuses it
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        if zipped:
            return read_archive(path)
        raise pickle.UnpicklingError(
            "neither safetensors nor torch.save of nothing but tensors; where you trust it, save it anew with torch"
        ) from error
