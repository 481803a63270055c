"""Write tensors of ours to a safetensors file with a checksum, and read them as they were written, or not at all.

What is said of them stands as JSON in the file's metadata, under one key: safetensors would write several in any order,
and the same content shall give the same bytes.
"""

import json
import os
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from pydantic_core import from_json
from torch import Tensor

from emoclim.files import atomic, require_regular

T = TypeVar("T")
KEY, CHECKSUM = "emoclim", "checksum"


def write_own(tensors: Mapping[str, Tensor], path: Path, about: Mapping[str, Any] | None = None) -> None:
    """Write tensors and plain values about them, whole or not at all; what keeps it from that raises OSError."""
    own = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    said = dict(about or {})
    metadata = {KEY: json.dumps(said | {CHECKSUM: _checksum(own, from_json(json.dumps(said)))})}
    with atomic(path) as partial:
        try:
            safetensors.torch.save_file(own, partial, metadata)
        except safetensors.SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))
            told = (int(number[1]), os.strerror(int(number[1]))) if number else (None, str(error))
            raise OSError(*told, str(path)) from error


def read_own(path: Path, use: Callable[[dict[str, Tensor], dict[str, Any]], T]) -> T:
    """Return what `use` makes of tensors and of what was said of them.

    A file that is damaged or not ours raises ValueError or OSError, or what `use` raises, which tells more.
    """
    require_regular(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = from_json((file.metadata() or {}).get(KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (safetensors.SafetensorError, LookupError, RuntimeError) as error:
        raise ValueError(str(error)) from error
    if not isinstance(about, dict) or CHECKSUM not in about:
        raise ValueError("this version of emoclim did not write it")
    told = about.pop(CHECKSUM)
    found = _checksum(tensors, about)
    used = use(tensors, about)
    if told != found:
        raise ValueError("it is not as it was written")
    return used


def _checksum(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> int:
    total = zlib.crc32(json.dumps(about, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        total = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), total)
        total = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, total)
    return total
