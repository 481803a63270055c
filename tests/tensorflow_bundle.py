"""Write TensorFlow V2 checkpoints as TensorFlow does, piece by piece: the writer that the reader is tested against."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import google_crc32c
import numpy as np

CODES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}
RESTART = 16  # entries between two keys that are written whole


def write_bundle(folder: Path, tensors: Mapping[str, np.ndarray], prefix: str = "", per_block: int = 3) -> Path:
    """Write a checkpoint; return the path of its file of data."""
    data, entries = b"", [(b"", field(1, 1) + field(3, field(1, 1)))]  # the header: one shard, of version 1
    for name in sorted(tensors):
        content = tensors[name].tobytes()
        shape = b"".join(field(2, field(1, side)) for side in tensors[name].shape)
        where = (field(4, len(data)) if data else b"") + field(5, len(content))
        crc = number(6 << 3 | 5) + struct.pack("<I", masked(content))
        entries.append((name.encode(), field(1, CODES[str(tensors[name].dtype)]) + field(2, shape) + where + crc))
        data += content
    (folder / f"{prefix}.index").write_bytes(
        table([entries[at : at + per_block] for at in range(0, len(entries), per_block)])
    )
    path = folder / f"{prefix}.data-00000-of-00001"
    path.write_bytes(data)
    return path


def table(blocks: Sequence[Sequence[tuple[bytes, bytes]]]) -> bytes:
    """Put entries into a table of blocks."""
    written, handles = b"", []
    for entries in blocks:
        content = block(entries)
        handles.append((entries[-1][0], number(len(written)) + number(len(content))))
        written += sealed(content)
    places = []
    for content in (block([]), block(handles)):
        places.append(number(len(written)) + number(len(content)))
        written += sealed(content)
    return written + b"".join(places).ljust(40, b"\0") + (0xDB4775248B80FB57).to_bytes(8, "little")


def block(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    content, restarts, last = b"", [0], b""
    for place, (key, value) in enumerate(entries):
        shared = 0
        if place % RESTART:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        elif place:
            restarts.append(len(content))
        content += number(shared) + number(len(key) - shared) + number(len(value)) + key[shared:] + value
        last = key
    return content + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def sealed(content: bytes) -> bytes:
    return content + b"\0" + struct.pack("<I", masked(content + b"\0"))


def masked(content: bytes) -> int:
    crc = google_crc32c.value(content)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def number(value: int) -> bytes:
    digits = [value & 127]
    while value := value >> 7:
        digits.append(value & 127)
    return bytes([digit | 128 for digit in digits[:-1]] + digits[-1:])


def field(place: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return number(place << 3) + number(value)
    return number(place << 3 | 2) + number(len(value)) + value
