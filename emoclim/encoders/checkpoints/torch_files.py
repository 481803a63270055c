"""Read the tensors of a file of ``torch.save`` or of TorchScript, a zip archive or what torch wrote before 1.6.

Used by :func:`~emoclim.encoders.checkpoints.tensors.read_tensors`. Tensors are views of the file, of which only what is
used is read. torch's own loader is not used: it refuses TorchScript, pickles of protocol 4 and NumPy's scalars, and
takes as much memory as a file asks for.
"""

import mmap
import pickle
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from emoclim.encoders.checkpoints.inert_pickle import Description, PickleReader, named_tensors
from emoclim.errors import CheckpointError
from emoclim.files import require_memory

MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # begins what torch wrote before 1.6
OBJECT = 64  # bytes that a byte of a pickle may take as an object
SMALL_PICKLE = 1 << 20  # bytes that a pickle may have in a file of any size
COMPRESSIONS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # the others have no bound on what comes out
HEADER, NAME_LENGTH = 30, 26  # bytes before a member's name in a zip archive; where the lengths of name and extra are
COUNT = 8  # bytes
FOREIGN = "neither safetensors nor torch.save of nothing but tensors; where you trust it, save it anew with torch"
ALIGNMENT = 16  # bytes, of the widest number

Find = Callable[[str], memoryview]  # the bytes of a storage, by its key


def read_torch(path: Path, file: BinaryIO) -> dict[str, Tensor]:
    """Read all tensors, by names that are joined by dots where tables lie in tables."""
    view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))  # kept by the tensors that look into it
    content, find = _open_zip(path, file, view) if bytes(view[:2]) == b"PK" else _open_legacy(view)
    return {name: _tensor(described, find) for name, described in _only_table(path, content).items()}


def _only_table(path: Path, content: object) -> dict[str, Description]:
    """Find the tensors of what was saved, which may be a list with one table in it, as (parameters, optimiser)."""
    found: dict[str, Description] = {}
    seen: set[int] = set()
    for one in content if isinstance(content, list | tuple) else [content]:
        tensors = {} if isinstance(one, Description) else dict(named_tensors(one, seen))
        if tensors and found:
            raise CheckpointError(f"{path} holds a list of several tables of named tensors; save one of them alone")
        found = found or tensors
    return found


def _open_zip(path: Path, file: BinaryIO, view: memoryview) -> tuple[object, Find]:
    archive = zipfile.ZipFile(file)
    members = {member.filename: member for member in archive.infolist()}
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise pickle.UnpicklingError("it is a zip archive that torch did not write")
    if wrong := [one for one in members.values() if one.compress_type not in COMPRESSIONS or one.flag_bits & 1]:
        raise pickle.UnpicklingError(f"{wrong[0].filename} is packed in a way that torch does not use")
    require_memory(path, sum(member.file_size for member in members.values()), CheckpointError)
    require_memory(path, OBJECT * members[pickles[0]].file_size, CheckpointError)

    @cache
    def find(key: str) -> memoryview:
        member = members[f"{pickles[0].removesuffix('.pkl')}/{key}"]
        if member.compress_type != zipfile.ZIP_STORED:
            return memoryview(bytearray(archive.read(member)))
        lengths = view[member.header_offset + NAME_LENGTH :][:4]
        return _part(view, member.header_offset + HEADER + sum(struct.unpack("<HH", lengths)), member.file_size)

    return PickleReader(BytesIO(archive.read(pickles[0]))).content, find


def _open_legacy(view: memoryview) -> tuple[object, Find]:
    """Read the five pickles before the storages, of which each is a count and as many numbers."""
    if MAGIC not in bytes(view[:32]):
        raise pickle.UnpicklingError(FOREIGN)
    described = BytesIO(view[: max(len(view) // 4, SMALL_PICKLE)])
    _magic, _version, system, content, keys = (PickleReader(described) for _ in range(5))
    if not system.content["little_endian"]:
        raise pickle.UnpicklingError("its numbers are of a processor with the other order of bytes")
    places, start = {}, described.tell()
    for key in keys.content:
        count = int.from_bytes(view[start : start + COUNT], "little")
        places[key] = start + COUNT, count * content.storages[key].dtype.itemsize
        start = sum(places[key])

    @cache
    def find(key: str) -> memoryview:
        return _part(view, *places[key])

    return content.content, find


def _part(view: memoryview, start: int, length: int) -> memoryview:
    """Cut out bytes, as a copy where numbers would not begin at a multiple of their size."""
    if start + length > len(view):
        raise pickle.UnpicklingError("its end is missing")
    part = view[start : start + length]
    return memoryview(bytearray(part)) if start % ALIGNMENT else part


def _tensor(described: Description, find: Find) -> Tensor:
    content, dtype = find(described.storage.key), described.dtype
    count = len(content) // dtype.itemsize
    numbers = torch.frombuffer(content, dtype=dtype, count=count) if count else torch.zeros(0, dtype=dtype)
    return torch.as_strided(numbers, described.size, described.stride, described.offset)
