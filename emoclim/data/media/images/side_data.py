"""Leave out of a picture's file what tells nothing of its pixels: comments, colour profiles, histories of editing.

Pillow reads such side data whatever it is asked for, and gives a whole picture up where they are large or damaged. What
says how a picture lies (EXIF, or where some programs put it) is kept, if it is sound.
"""

import struct
import zlib
from io import BytesIO
from typing import BinaryIO

PNG_SIGNATURE, JPEG_SIGNATURE = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
ANCILLARY = 0x20  # set in the first letter of a chunk that a decoder may leave out
ORIENTATION = {
    b"iTXt": b"XML:com.adobe.xmp\0",
    b"zTXt": b"Raw profile type exif\0",
    b"tEXt": b"Raw profile type exif\0",
}
MAX_ORIENTATION = 2**20  # bytes of what may say how a picture lies
PHOTOSHOP = 0xED
SCAN = 0xDA  # marker behind which a JPEG's pixels follow


def essential_chunks(stream: BinaryIO) -> BinaryIO:
    """Return a PNG without the chunks that mean nothing for its pixels; raise ValueError if one that does is damaged.

    Of an animation its first frame is left, or the picture for those who know no animations.
    """
    size = stream.seek(0, 2)
    stream.seek(len(PNG_SIGNATURE))
    kept, kind = BytesIO(), b""
    kept.write(PNG_SIGNATURE)
    while kind != b"IEND":
        head = stream.read(8)
        length = int.from_bytes(head[:4], "big")
        if len(head) < 8:
            raise ValueError("it has no end")
        kind, name = head[4:], ascii(head[4:])[2:-1]
        if length + 4 > size - stream.tell():
            raise ValueError(f"it ends within its chunk {name}")
        optional = kind[0] & ANCILLARY and kind != b"tRNS"
        if optional and not (kind in (b"eXIf", *ORIENTATION) and length <= MAX_ORIENTATION):
            stream.seek(length + 4, 1)
            continue
        body, checksum = stream.read(length), stream.read(4)
        sound = zlib.crc32(body, zlib.crc32(kind)).to_bytes(4, "big") == checksum
        if optional and not (sound and _says_orientation(kind, body)):
            continue
        if not sound:
            raise ValueError(f"wrong checksum of its chunk {name}")
        kept.writelines((head, body, checksum))
    kept.seek(0)
    return kept


def _says_orientation(kind: bytes, body: bytes) -> bool:
    """Return whether a chunk holds EXIF or XMP, of a size that can be unpacked."""
    if kind == b"eXIf":
        return True
    if not body.startswith(ORIENTATION[kind]):
        return False
    packed = body[len(ORIENTATION[kind]) :]
    if kind == b"iTXt":  # whether it is compressed, by which method, then a language and a translation of the keyword
        if packed[:1] != b"\1":
            return True
        packed = packed[2:].split(b"\0", 2)[-1]
    elif kind == b"zTXt":
        packed = packed[1:]
    else:
        return True
    try:
        unpacking = zlib.decompressobj()
        unpacking.decompress(packed, MAX_ORIENTATION)
    except zlib.error:
        return False
    return unpacking.eof


def without_photoshop(stream: BinaryIO) -> BinaryIO:
    """Return a JPEG without the segments in which Photoshop keeps notes of its own."""
    stream.seek(0)
    kept = BytesIO()
    kept.write(stream.read(2))
    while True:
        head = stream.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == SCAN:
            break
        body = stream.read(struct.unpack(">H", head[2:])[0] - 2) if head[2:] > b"\0\1" else b""
        if head[1] != PHOTOSHOP:
            kept.write(head + body)
    kept.write(head + stream.read())
    kept.seek(0)
    return kept
