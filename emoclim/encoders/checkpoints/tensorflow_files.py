"""Read the tensors of a TensorFlow V2 checkpoint without TensorFlow: ``<prefix>.index`` and its one file of data.

Used by :func:`~emoclim.encoders.checkpoints.tensors.read_tensors`. The index is a sorted table as LevelDB writes it: a
footer, an index block, and data blocks whose keys share what they begin with. Its values are messages of protocol
buffers (``BundleEntryProto``) that say where in the file of data a tensor lies. Whatever is read is held to its own
checksum, and nothing in the files makes the work or the memory grow beyond their size.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from emoclim.errors import CheckpointError
from emoclim.files import read_regular, require_memory

DATA = ".data-00000-of-00001"
MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")
FOOTER, TRAILER = 48, 5  # bytes: at the end of the index; after a block, its kind of compression and its checksum
MASK = 0xA282EAD8  # added to checksums by the format
MAX_NAME = 1024  # bytes
DTYPES = {1: np.float32, 2: np.float64, 3: np.int32, 9: np.int64, 19: np.float16}  # of ``DataType``
DTYPE, SHAPE, SHARD, OFFSET, SIZE, CHECKSUM, SLICES = range(1, 8)  # fields of ``BundleEntryProto``

Values = NDArray[Any]
Message = list[tuple[int, int | bytes]]  # fields by number


class DamagedTable(ValueError):
    """A TensorFlow checkpoint is damaged, or of a kind that is not read."""


def is_tensorflow(path: Path) -> bool:
    """Tell a TensorFlow checkpoint by the name of its file of data."""
    return path.name.endswith(DATA)


def read_tensorflow(path: Path) -> dict[str, Values]:
    """Read all tensors of a checkpoint, of which the path of the file of data is given, by their names."""
    index = path.with_name(path.name.removesuffix(DATA) + ".index")
    if not index.is_file():
        raise CheckpointError(f"{path} is the data of a TensorFlow checkpoint without {index.name}; put that beside it")
    require_memory(path, path.stat().st_size, CheckpointError)
    data = memoryview(bytearray(read_regular(path, CheckpointError, follow=True)))
    entries = dict(_entries(read_regular(index, CheckpointError, follow=True)))
    entries.pop("", None)  # says of the checkpoint what its entries say again
    fields = {name: dict(_message(value)) for name, value in entries.items()}
    if sum(_whole(field.get(SIZE, 0)) for field in fields.values()) > len(data):
        raise DamagedTable("its tensors are larger than its file of data")
    return {name: _tensor(name, field, data) for name, field in fields.items()}


def _tensor(name: str, field: dict[int, int | bytes], data: memoryview) -> Values:
    """Cut one tensor out of the data."""
    code, shape = _whole(field.get(DTYPE, 0)), field.get(SHAPE, b"")
    if code not in DTYPES or SLICES in field or field.get(SHARD, 0) or not isinstance(shape, bytes):
        raise DamagedTable(f"{name!r:.80} is in parts or of a type that is not read")
    begin, size = _whole(field.get(OFFSET, 0)), _whole(field.get(SIZE, 0))
    part = data[begin : begin + size]
    if len(part) != size or field.get(CHECKSUM) != _checksum(part):
        raise DamagedTable(f"{name!r:.80} is not what it was when it was written")
    sides = [_whole(dict(_message(side)).get(1, 0)) for _, side in _message(shape) if isinstance(side, bytes)]
    values: Values = np.frombuffer(bytearray(part), DTYPES[code]).reshape(sides)
    return values


def _entries(table: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield names and messages of a table."""
    if table[-8:] != MAGIC or len(table) < FOOTER:
        raise DamagedTable("its index is cut off or none of TensorFlow")
    footer = table[-FOOTER:]
    list(_block(table, footer, 0))  # what describes the table is of no use, but has a checksum
    place = _number(footer, _number(footer, 0)[1])[1]
    left = len(table)
    for _, handle in _block(table, footer, place):
        left -= len(handle) + _number(handle, _number(handle, 0)[1])[0]
        if left < 0:
            raise DamagedTable("its index names more than it holds")
        for key, value in _block(table, handle, 0):
            yield key.decode(), value


def _block(table: bytes, handle: bytes, place: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of the block that lies where a handle says."""
    begin, place = _number(handle, place)
    size, _ = _number(handle, place)
    block = table[begin : begin + size]
    kind, checksum = struct.unpack("<BI", table[begin + size : begin + size + TRAILER])
    if kind or checksum != _checksum(table[begin : begin + size + 1]):
        raise DamagedTable("its index is damaged or compressed")
    (restarts,) = struct.unpack("<I", block[-4:])
    end, place, key = size - 4 * (restarts + 1), 0, b""
    while place < end:
        shared, place = _number(block, place)
        rest, place = _number(block, place)
        length, place = _number(block, place)
        key, value = key[:shared] + block[place : place + rest], block[place + rest : place + rest + length]
        place += rest + length
        if place > end or len(key) > MAX_NAME:
            raise DamagedTable("its index is damaged")
        yield key, value


def _message(content: int | bytes) -> Message:
    """Take a message of protocol buffers apart: whole numbers, numbers of fixed size, and bytes."""
    found: Message = []
    place, value = 0, b""
    if not isinstance(content, bytes):
        raise DamagedTable("its index is damaged")
    while place < len(content):
        tag, place = _number(content, place)
        if tag & 7 == 0:
            number, place = _number(content, place)
            found.append((tag >> 3, number))
            continue
        size, place = _number(content, place) if tag & 7 == 2 else ({1: 8, 5: 4}[tag & 7], place)
        value, place = content[place : place + size], place + size
        if place > len(content):
            raise DamagedTable("its index is damaged")
        found.append((tag >> 3, value if tag & 7 == 2 else int.from_bytes(value, "little")))
    return found


def _number(content: bytes, place: int) -> tuple[int, int]:
    """Read a whole number of 7 bits a byte, the lowest first; return it, and where it ends."""
    number = 0
    for shift in range(0, 64, 7):
        byte, place = content[place], place + 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
    return number, place


def _whole(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise DamagedTable("its index is damaged")
    return value


def _checksum(content: bytes | memoryview) -> int:
    """Compute the masked CRC-32C of some bytes."""
    crc = int(google_crc32c.value(bytes(content)))
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF
