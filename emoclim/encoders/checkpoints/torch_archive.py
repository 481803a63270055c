"""Read the tensors of a zip archive of torch without running anything from it.

``torch.load(weights_only=True)`` refuses two kinds of archive that published checkpoints come in: TorchScript, whose
own loader compiles the archived code, and pickles of protocol 4 or with a NumPy scalar among the tensors. Both keep
their numbers as raw bytes under ``data/`` and only describe them in ``data.pkl``; the unpickler here looks up every
name of that description in :data:`STAND_INS` and nowhere else.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


def is_script(path: Path) -> bool:
    """Return whether a zip archive holds a TorchScript module."""
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_archive(path: Path) -> object:
    """Read what an archive of ``torch.save`` or TorchScript holds; run nothing of it."""
    with zipfile.ZipFile(path) as archive:
        content = _InertUnpickler(archive).load()
    return dict(_named_tensors(content)) if isinstance(content, _Inert) else content


class _Inert:
    """Stands in for an object that a file names: keeps its state and does nothing."""

    state: object = None

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state


def _named_tensors(content: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    if isinstance(content, Tensor):
        yield name, content
    elif isinstance(content, _Inert) and isinstance(content.state, dict):
        for attribute, value in content.state.items():
            yield from _named_tensors(value, f"{name}.{attribute}" if name else attribute)


def _rebuild_tensor(storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)


def _rebuild_parameter(tensor: Tensor, *_: object) -> Tensor:
    return tensor


STAND_INS: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    **{("torch", name): dtype for name, dtype in STORAGES.items()},
    **{(f"numpy.{core}.multiarray", "scalar"): _Inert for core in ("core", "_core")},
    ("numpy", "dtype"): _Inert,
    ("_codecs", "encode"): _Inert,
    **{("torch.jit._pickle", f"build_{kind}list"): _Inert for kind in ("int", "bool", "double", "tensor")},
    ("torch.jit._pickle", "restore_type_tag"): _Inert,
}


class _InertUnpickler(pickle.Unpickler):
    def __init__(self, archive: zipfile.ZipFile) -> None:
        [name] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        super().__init__(archive.open(name))
        self._archive = archive
        self._folder = name.removesuffix(".pkl")
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> object:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Inert
        if (module, name) not in STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which could run code")
        return STAND_INS[module, name]

    def persistent_load(self, pid: tuple[str, torch.dtype, str, str, int]) -> Tensor:
        _, dtype, key, *_ = pid
        if key not in self._storages:
            content = bytearray(self._archive.read(f"{self._folder}/{key}"))
            self._storages[key] = torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)
        return self._storages[key]
