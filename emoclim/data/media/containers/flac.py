"""Find the FLAC streams that lie one after another in a file, and mend a header that counts less than there is."""

import re
from itertools import pairwise

from emoclim.data.media.containers.view import Bytes, Part

BEGINS = re.compile(rb"fLaC[\0\x80]\0\0\x22")  # a stream begins with a block of 34 bytes
TAIL = 65_536  # bytes at the end of a stream in which its last frame is looked for, if it does not state its largest
LARGE = 500_000  # bytes; to look for headers in fewer is quick
PROBES, PROBE = 10, 32_768  # parts of a file at whose borders frames are looked at, and bytes there
TOTAL = 21  # byte of a stream whose lower half, with four more bytes, is the number of samples; 0 if not known
SYNC = re.compile(rb"\xff[\xf8\xf9]")
BLOCK_SIZES = {1: 192, **{code: 576 << code - 2 for code in range(2, 6)}, **{code: 1 << code for code in range(8, 16)}}


def _crc8_table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [(crc << 1 ^ (0x07 if crc & 0x80 else 0)) & 0xFF for crc in table]
    return table


CRC8 = _crc8_table()


def scan_flac(file: Bytes, start: int) -> list[Part]:
    """Return the streams from a place on; of a large file that is as its header says, only some frames are read."""
    as_stated = _total(file, start) == _last_sample(file, start, file.size)
    if as_stated and file.size - start > LARGE and _is_one(file, start):
        return [Part(start, file.size, "flac")]
    begins = [start, *file.find(BEGINS, start + 1, file.size)]
    if as_stated and len(begins) == 1:
        return [Part(start, file.size, "flac")]
    return [_mend(file, first, last) for first, last in pairwise([*begins, file.size])]


def _mend(file: Bytes, start: int, stop: int) -> Part:
    stop = file.trim_tags(start, stop)
    if not 0 < _total(file, start) < (_last_sample(file, start, stop) or 0):
        return Part(start, stop, "flac")
    unknown = bytes([file.at(start + TOTAL, 1)[0] & 0xF0, 0, 0, 0, 0])
    return Part(start, stop, "flac", [(start + TOTAL, unknown)])


def _total(file: Bytes, start: int) -> int:
    return int.from_bytes(file.at(start + TOTAL, 5), "big") & 0xF_FFFF_FFFF


def _is_one(file: Bytes, start: int) -> bool:
    """Return whether frames further on in the file have higher numbers, which is quicker than to look for headers."""
    places = [start + (file.size - start) * part // PROBES for part in range(1, PROBES)]
    ends = [_end_of_frame_in(file, start, place, place + PROBE, 1) or 0 for place in places]
    return all(before < after for before, after in pairwise(ends))


def _last_sample(file: Bytes, start: int, stop: int) -> int | None:
    """Return how many samples end with the last frame of a stream; None if that is not found."""
    largest = int.from_bytes(file.at(start + 15, 3), "big") or TAIL  # frame, in bytes
    return _end_of_frame_in(file, start, max(start + 42, stop - min(largest + 256, TAIL)), stop, -1)


def _end_of_frame_in(file: Bytes, start: int, first: int, stop: int, step: int) -> int | None:
    """Return how many samples end with the first or last frame that begins in some bytes of the stream at `start`."""
    content, block = file.at(first, stop - first), int.from_bytes(file.at(start + 8, 2), "big")
    places = [found.start() for found in SYNC.finditer(content)][::step]
    ends = (_end_of_frame(content[place : place + 16], block) for place in places)
    return next((end for end in ends if end is not None), None)


def _end_of_frame(header: bytes, block: int) -> int | None:
    """Return the number of the sample after a frame (RFC 9639, section 9.1); None for what is none."""
    if len(header) < 16 or header[3] & 1 or header[3] >> 4 > 10:
        return None
    ones = 8 - (header[4] ^ 0xFF).bit_length()  # of a number written as in UTF-8
    width = max(1, ones)
    if ones == 1 or ones > 7:
        return None
    number = header[4] & (0x7F >> ones)
    for byte in header[5 : 4 + width]:
        number = number << 6 | byte & 0x3F
    place, code, rate = 4 + width, header[2] >> 4, header[2] & 15
    size = BLOCK_SIZES.get(code, 0)
    if code in (6, 7):
        size = int.from_bytes(header[place : place + code - 5], "big") + 1
        place += code - 5
    place += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if size == 0 or rate == 15 or _crc8(header[:place]) != header[place]:
        return None
    return (number if header[1] & 1 else number * block) + size


def _crc8(content: bytes) -> int:
    crc = 0
    for byte in content:
        crc = CRC8[crc ^ byte]
    return crc
