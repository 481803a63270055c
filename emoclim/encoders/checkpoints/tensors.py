"""Read the tensors of a file of parameters without running anything from it, and put them into a network."""

import pickle
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import safetensors.torch
import torch
from torch import Tensor, nn

from emoclim.encoders.arithmetic import zero_denormals
from emoclim.encoders.checkpoints.published import require_file
from emoclim.encoders.checkpoints.tensorflow_files import DamagedTable, is_tensorflow, read_tensorflow
from emoclim.encoders.checkpoints.torch_files import read_torch
from emoclim.errors import CheckpointError, name_some
from emoclim.files import open_regular

WRAPPERS = re.compile(r"(?<![^.])(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
AVERAGED = re.compile(r"(?<![a-z])(?:ema|swa|avg|averaged?|polyak|shadow|teacher|target)(?![a-z])", re.IGNORECASE)
COUNTERS = "num_batches_tracked"  # of batch normalisation, which count for nothing once it is trained
# errors whose messages can be understood
TOLD = (pickle.UnpicklingError, safetensors.SafetensorError, BadZipFile, DamagedTable, OSError)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a file to the CPU, by name; names of tables within tables are joined by dots.

    No code of the file is run, and no more memory is taken than the size of the file warrants.
    """
    require_file(path)
    try:
        with open_regular(path) as file:
            if not (head := file.read(9)):
                raise CheckpointError(f"{path} is empty; name or download another")
            if is_tensorflow(path):
                tensors = {name: torch.from_numpy(values) for name, values in read_tensorflow(path).items()}
            else:
                tensors = safetensors.torch.load_file(path) if head[8:] == b"{" else read_torch(path, file)
    except CheckpointError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0] if isinstance(error, TOLD) else "what it says of its tensors is damaged"
        raise CheckpointError(f"{path} cannot be read as a checkpoint ({reason}); name or download another") from error
    if not tensors:
        raise CheckpointError(f"{path} holds no table of named tensors; name a checkpoint")
    return tensors


def fit(module: nn.Module, tensors: Mapping[str, Tensor], source: Path, *, aside: tuple[str, ...] = ()) -> None:
    """Copy tensors into a module, every one of them into its place, and zero in place of denormal numbers.

    Frameworks wrap names (``state_dict.module.conv.weight``): whatever prefix brings all parameters into their places
    is taken off, and what lies beside it is left alone, as are names that begin with one of `aside`. Running averages
    are taken only where nothing else fits.
    """
    needed = {_unwrapped(name): tensor for name, tensor in module.state_dict().items()}
    offered: dict[str, str] = {}  # names in the file, by what is left of them without wrappers
    for name in sorted(tensors, key=lambda name: name != _unwrapped(name)):
        offered[name if _unwrapped(name) in offered else _unwrapped(name)] = name
    prefix = _find_prefix(needed, {name: tensors[own] for name, own in offered.items()}, source)
    inside = {name.removeprefix(prefix): own for name, own in offered.items() if name.startswith(prefix)}
    fronts = {own.removesuffix(name) for name, own in inside.items() if name in needed}
    if len(fronts) == 1:  # with its wrappers: what stands beside one of those is left alone, too
        prefix = fronts.pop()
        inside = {name: own for name, own in inside.items() if own.startswith(prefix)}
    found = {name: tensors[own] for name, own in inside.items() if not name.startswith(aside)}
    faults = {
        "missing": [name for name in needed if name not in found and not name.endswith(COUNTERS)],
        "unexpected": [name for name in found if name not in needed],
        "of another shape": [
            f"{name} {tuple(found[name].shape)} for {tuple(tensor.shape)}"
            for name, tensor in needed.items()
            if name in found and found[name].shape != tensor.shape
        ],
    }
    if not any(faults.values()):
        for name, tensor in found.items():
            if fault := _spoilt(name, tensor, needed[name].dtype):
                faults.setdefault(fault, []).append(name)
    if told := "; ".join(f"{len(names)} {fault}: {name_some(names)}" for fault, names in faults.items() if names):
        below = f"below {prefix!r} " if prefix else ""
        raise CheckpointError(f"{source} does not fit {type(module).__name__} ({below}{told}); name one made for it")
    for name, tensor in found.items():
        needed[name].copy_(tensor)
    zero_denormals(needed.values())


def _spoilt(name: str, tensor: Tensor, dtype: torch.dtype) -> str:
    """Say what keeps a tensor from being a parameter of a type that training left; nothing if nothing does."""
    if tensor.is_complex() or (dtype.is_floating_point and not tensor.is_floating_point()):
        return f"of another type ({tensor.dtype} for {dtype})"
    cast = tensor.to(dtype)
    if not cast.isfinite().all():
        return "with NaN" if cast.isnan().any() else "with infinity"
    return "with negative variances" if name.endswith("running_var") and (cast < 0).any() else ""


def _unwrapped(name: str) -> str:
    return WRAPPERS.sub("", name)


def _find_prefix(needed: Mapping[str, Tensor], offered: Mapping[str, Tensor], source: Path) -> str:
    """Find the prefix below which all that is needed is offered, or else the most of it."""
    shapes = {name: tensor.shape for name, tensor in needed.items() if not name.endswith(COUNTERS)}
    depth = max((name.count(".") for name in shapes), default=0)
    hits: Counter[str] = Counter()
    for name in offered:
        parts = name.rsplit(".", depth + 1)
        ends = (".".join(parts[-count:]) for count in range(1, len(parts) + 1))
        hits.update(name.removesuffix(end) for end in ends if end in shapes)
    whole = [
        prefix
        for prefix in hits
        if all(prefix + name in offered and offered[prefix + name].shape == shape for name, shape in shapes.items())
    ]
    whole = [prefix for prefix in whole if not AVERAGED.search(prefix)] or whole
    if len(whole) > 1:
        listed = name_some([repr(prefix) for prefix in whole])
        raise CheckpointError(f"{source} holds {len(whole)} sets that fit, below {listed}; save one of them alone")
    return next(iter(whole or [prefix for prefix, _ in hits.most_common(1)]), "")
