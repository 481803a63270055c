"""Spoil files: bits, cuts, splices, and what their headers declare. Each mutation follows from its generator alone."""

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

HUGE = (0, -1, 1, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, -(2**63), 10**30)
STRANGE: tuple[Any, ...] = (
    None,
    True,
    "",
    "é\0\n",
    "x" * 10**5,
    1e308,
    -0.5,
    [],
    {},
    [[]],
    {"": None},
    "../../x",
    *HUGE,
)
DESCRS = ("|O", "<f8", "<i4", "<c8", "|S4", "<U100000000", "|b1", "nonsense", "<M8[s]", "<f2")
EDGE = 4096  # bytes at either end, where headers are


def mutate(content: bytes, name: str, draw: random.Random) -> bytes:
    """Spoil the content of a file; half of the time in a way of its own format."""
    own = next((change for suffix, change in STRUCTURED.items() if name.endswith(suffix)), None)
    if own is not None and draw.random() < 0.5:
        return own(content, draw)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        content = draw.choice(PLAIN)(content, draw)
    return content


def _flip(content: bytes, draw: random.Random) -> bytes:
    spoilt = bytearray(content)
    for _ in range(draw.choice((1, 1, 8)) if spoilt else 0):
        spoilt[_place(content, draw)] ^= 1 << draw.randrange(8)
    return bytes(spoilt)


def _cut(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.choice((0, _place(content, draw), max(0, len(content) - draw.randrange(64))))]


def _splice(content: bytes, draw: random.Random) -> bytes:
    """Write a part of the file over another one."""
    start, place, length = _place(content, draw), _place(content, draw), draw.choice((4, 16, 100, 1000))
    part = content[start : start + length]
    return content[:place] + part + content[place + len(part) :]


def _insert(content: bytes, draw: random.Random) -> bytes:
    place = _place(content, draw)
    return content[:place] + draw.randbytes(draw.choice((1, 4, 100))) + content[place:]


def _leave_out(content: bytes, draw: random.Random) -> bytes:
    place = _place(content, draw)
    return content[:place] + content[place + draw.choice((1, 4, 100)) :]


def _number(content: bytes, draw: random.Random) -> bytes:
    """Write a number of chance or of the greatest over what is there."""
    place, size = _place(content, draw), draw.choice((1, 2, 4, 8))
    number = draw.choice((b"\xff" * size, b"\0" * size, b"\x7f" + b"\xff" * (size - 1), draw.randbytes(size)))
    return content[:place] + number[: len(content) - place] + content[place + size :]


PLAIN: tuple[Callable[[bytes, random.Random], bytes], ...] = (_flip, _flip, _cut, _splice, _insert, _leave_out, _number)


def _place(content: bytes, draw: random.Random) -> int:
    """Draw a byte; most of the time where something stands, and often near an end."""
    if not content:
        return 0
    edge = min(len(content), EDGE)
    place = draw.choice((draw.randrange(len(content)), draw.randrange(edge), len(content) - 1 - draw.randrange(edge)))
    if draw.random() < 0.8:
        used = np.flatnonzero(np.frombuffer(content[place : place + 2**20], np.uint8))
        place += int(used[draw.randrange(min(len(used), 64))]) if len(used) else 0
    return place


def spoil_json(content: bytes, draw: random.Random) -> bytes:
    """Put something strange in the place of a value, leave one out, or nest too deep."""
    try:
        whole = json.loads(content)
    except ValueError:
        return _flip(content, draw)
    what = draw.randrange(12)
    if what == 0:
        return b"[" * draw.choice((10, 10**5)) + content
    if what == 1:
        return json.dumps(draw.choice(STRANGE)).encode()
    if what == 2:
        return content.replace(b":", b': NaN, "x":', 1)
    holder, key = draw.choice(list(_values(whole)) or [({}, "")])
    if what < 5 and key in (holder if isinstance(holder, dict) else range(len(holder))):
        del holder[key]
    elif what == 5 and isinstance(holder, list):
        holder.append(holder[key])
    elif isinstance(holder, dict) or holder:
        holder[key] = draw.choice(STRANGE)
    return json.dumps(whole).encode()


def _values(whole: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(
        whole.items() if isinstance(whole, dict) else enumerate(whole) if isinstance(whole, list) else ()
    ):
        yield whole, key
        yield from _values(value)


def spoil_safetensors(content: bytes, draw: random.Random) -> bytes:
    """Spoil the JSON of the header, or what is declared of its length."""
    (size,) = struct.unpack("<Q", content[:8])
    header, rest = content[8 : 8 + size], content[8 + size :]
    if draw.random() < 0.2:
        return (
            struct.pack("<Q", draw.choice([size + 1, size - 1, *(number % 2**64 for number in HUGE)])) + header + rest
        )
    about = json.loads(header)
    own = about.get("__metadata__", {})
    if own and draw.random() < 0.4:
        name = draw.choice(list(own))
        own[name] = spoil_json(own[name].encode(), draw).decode(errors="replace")
        header = json.dumps(about).encode()
    else:
        header = spoil_json(header, draw)
    return struct.pack("<Q", len(header)) + header + rest


def spoil_npz(content: bytes, draw: random.Random) -> bytes:
    """Spoil the header of an array, with the checksum of what is then there; or its name."""
    spoilt = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(spoilt, "w", zipfile.ZIP_DEFLATED) as target:
        names = source.namelist()
        chosen = draw.choice(names)
        for name in names:
            array = source.read(name)
            target.writestr(*_spoilt_array(name, array, draw) if name == chosen else (name, array))
    return spoilt.getvalue()


def _spoilt_array(name: str, content: bytes, draw: random.Random) -> tuple[str, bytes]:
    what = draw.randrange(6)
    if what == 0:
        return draw.choice(("x.npy", "../x.npy", name.removesuffix(".npy"), "segments.npy")), content
    if what == 1:
        return name, _cut(content, draw)
    if what == 2:
        return name, bytes(draw.choice((10**3, 10**8)))  # which a few bytes hold
    (length,) = struct.unpack("<H", content[8:10])
    about, rest = eval(content[10 : 10 + length], {}), content[10 + length :]
    if what == 3:
        about["descr"] = draw.choice(DESCRS)
    elif what == 4:
        about["shape"] = draw.choice(((), (0,), (10**12,), (2**62, 4), (-1, 6), (21, -6), (1,) * 40, "x"))
    else:
        shape = list(about["shape"]) or [1]
        shape[draw.randrange(len(shape))] = draw.choice((*HUGE, 3, 22))
        about["shape"] = tuple(shape)
    header = repr(about).encode() + b"\n"
    return name, content[:8] + struct.pack("<H", len(header)) + header + rest


def spoil_parquet(content: bytes, draw: random.Random) -> bytes:
    """Spoil the footer, which says where all is, and how much of it."""
    (size,) = struct.unpack("<I", content[-8:-4])
    start = len(content) - 8 - size
    footer = content[start:-8]
    if draw.random() < 0.1:
        return content[:-8] + struct.pack("<I", draw.choice(HUGE) % 2**32) + content[-4:]
    for _ in range(draw.choice((1, 1, 3))):
        footer = draw.choice((_flip, _number, _splice))(footer, draw)
    return content[:start] + footer + struct.pack("<I", len(footer)) + content[-4:]


STRUCTURED: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".json": spoil_json,
    ".safetensors": spoil_safetensors,
    ".npz": spoil_npz,
    ".parquet": spoil_parquet,
}
