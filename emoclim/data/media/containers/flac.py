"""Find the FLAC streams that lie one after another in a file, and mend a header that counts less than there is."""

import re
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from emoclim.data.media.containers.view import Bytes, Part
from emoclim.errors import DecodeError

BEGINS = re.compile(rb"fLaC[\0\x80]\0\0\x22")  # a stream begins with a block of 34 bytes
TAIL = 65_536  # bytes at the end of a stream in which its last frame is looked for, if it does not state its largest
LARGE = 500_000  # bytes; to look for headers in fewer is quick
PROBES, PROBE = 10, 32_768  # parts of a file at whose borders frames are looked at, and bytes there
TOTAL = 21  # byte of a stream whose lower half, with four more bytes, is the number of samples; 0 if not known
SYNC = re.compile(rb"\xff[\xf8\xf9]")
BLOCK_SIZES = {1: 192, **{code: 576 << code - 2 for code in range(2, 6)}, **{code: 1 << code for code in range(8, 16)}}
RATES = dict(
    enumerate((88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000), 1)
)  # Hz


class Frame(NamedTuple):
    """What the header of a frame states."""

    place: int  # of the file
    end: int  # number of the sample after it
    rate: int  # Hz; 0 if it is that of the stream
    channels: int


def _crc_table(bits: int, polynomial: int) -> list[int]:
    table = [byte << bits - 8 for byte in range(256)]
    for _ in range(8):
        table = [(crc << 1 ^ polynomial * (crc >> bits - 1)) & (1 << bits) - 1 for crc in table]
    return table


CRCS = {8: _crc_table(8, 0x07), 16: _crc_table(16, 0x8005)}


def scan_flac(file: Bytes, start: int) -> list[Part]:
    """Return the streams from a place on; of a large file that is as its header says, only some frames are read."""
    stop = file.trim_tags(max(start, file.size - TAIL), file.size)
    last = _last_frame(file, start, stop)
    one = last and last.end == _total(file, start) and stop - start > LARGE and _is_one(file, start)
    if one:
        return [_mend(file, start, file.size, stop)]
    begins = [start, *file.find(BEGINS, start + 1, stop)]
    return [_mend(file, *edges, file.trim_tags(*edges)) for edges in pairwise([*begins, file.size])]


def _mend(file: Bytes, start: int, stop: int, sound_stop: int) -> Part:
    part = Part(start, stop, "flac", tail=stop - sound_stop, hides_tail=True)
    last = _last_frame(file, start, sound_stop)
    if last is None:
        return part
    rate = int.from_bytes(file.at(start + 18, 3), "big") >> 4
    channels = (file.at(start + 20, 1)[0] >> 1 & 7) + 1
    unlike = last.rate not in (0, rate) or last.channels != channels
    if unlike and _crc(16, file.at(last.place, sound_stop - last.place)) == 0:  # otherwise it only looks like a frame
        raise DecodeError(
            f"its header states {rate} Hz and {channels} channels, but its last frame {last.rate or rate} Hz and "
            f"{last.channels}; write it again at one rate"
        )
    if not 0 < _total(file, start) < last.end:
        return part
    unknown = bytes([file.at(start + TOTAL, 1)[0] & 0xF0, 0, 0, 0, 0])
    return replace(part, patches=[(start + TOTAL, unknown)])


def _total(file: Bytes, start: int) -> int:
    return int.from_bytes(file.at(start + TOTAL, 5), "big") & 0xF_FFFF_FFFF


def _is_one(file: Bytes, start: int) -> bool:
    """Return whether frames further on in the file have higher numbers, which is quicker than to look for headers."""
    places = [start + (file.size - start) * part // PROBES for part in range(1, PROBES)]
    frames = [_frame_in(file, start, place, place + PROBE, 1) for place in places]
    ends = [frame.end if frame else 0 for frame in frames]
    return all(before < after for before, after in pairwise(ends))


def _last_frame(file: Bytes, start: int, stop: int) -> Frame | None:
    largest = int.from_bytes(file.at(start + 15, 3), "big") or TAIL  # frame, in bytes
    return _frame_in(file, start, max(start + 42, stop - min(largest + 256, TAIL)), stop, -1)


def _frame_in(file: Bytes, start: int, first: int, stop: int, step: int) -> Frame | None:
    """Return the first frame (`step` 1) or the last one (-1) that begins in some bytes of the stream at `start`."""
    content, block = file.at(first, stop - first), int.from_bytes(file.at(start + 8, 2), "big")
    places = [found.start() for found in SYNC.finditer(content)][::step]
    frames = (_read_frame(first + place, content[place : place + 16], block) for place in places)
    return next((frame for frame in frames if frame), None)


def _read_frame(at: int, header: bytes, block: int) -> Frame | None:
    """Read the header of a frame (RFC 9639, section 9.1); None for what is none."""
    if len(header) < 16 or header[3] & 1 or header[3] >> 4 > 10:
        return None
    ones = 8 - (header[4] ^ 0xFF).bit_length()  # of a number written as in UTF-8
    width = max(1, ones)
    if ones == 1 or ones > 7:
        return None
    number = header[4] & (0x7F >> ones)
    for byte in header[5 : 4 + width]:
        number = number << 6 | byte & 0x3F
    place, size_code, rate_code = 4 + width, header[2] >> 4, header[2] & 15
    extra = {6: 1, 7: 2}.get(size_code, 0)
    size = int.from_bytes(header[place : place + extra], "big") + 1 if extra else BLOCK_SIZES.get(size_code, 0)
    place += extra
    extra = {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    rate = int.from_bytes(header[place : place + extra], "big") * {12: 1000, 13: 1, 14: 10}.get(rate_code, 0)
    place += extra
    if size == 0 or rate_code == 15 or _crc(8, header[:place]) != header[place]:
        return None
    end = (number if header[1] & 1 else number * block) + size
    return Frame(at, end, rate or RATES.get(rate_code, 0), (header[3] >> 4) + 1 if header[3] < 0x80 else 2)


def _crc(bits: int, content: bytes) -> int:
    table, crc, mask = CRCS[bits], 0, (1 << bits) - 1
    for byte in content:
        crc = crc << 8 & mask ^ table[crc >> bits - 8 ^ byte]
    return crc
