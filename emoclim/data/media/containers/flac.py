"""Find the FLAC streams that lie one after another in a file, and mend a header that counts less than there is."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from emoclim.data.media.containers.view import Bytes, Part
from emoclim.errors import DecodeError

BEGINS = re.compile(rb"fLaC[\0\x80]\0\0\x22")  # a stream begins with a block of 34 bytes
TAIL = 65_536  # bytes at the end of a stream in which its last frame is looked for, if it does not state its largest
LARGE = 500_000  # bytes; to look for headers in fewer is quick
ZEROS = 8  # bytes, as may end a frame of silence
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


def _powers(polynomial: int, bits: int) -> list[int]:
    """Return the powers of x modulo a polynomial, up to where they come again."""
    powers = [1]
    while (power := (powers[-1] << 1 ^ polynomial * (powers[-1] >> bits - 1)) & (1 << bits) - 1) != 1:
        powers.append(power)
    return powers


def _crc_8_table() -> list[int]:
    table = list(range(256))
    for _ in range(8):
        table = [(crc << 1 ^ 0x07 * (crc >> 7)) & 0xFF for crc in table]
    return table


CRC_8 = _crc_8_table()
INVERSE_16 = np.roll(np.array(_powers(0x8005, 16), np.uint16)[::-1], 1)  # 1, 1/x, 1/x^2 and so on, modulo it


def scan_flac(file: Bytes, start: int, follows: Callable[[int], bool]) -> list[Part]:
    """Return the streams from a place on; of a large file that is as its header says, only some frames are read.

    Whether another sound begins at a place, `follows` tells.
    """
    stop = file.trim_tags(max(start, file.size - TAIL), file.size)
    last = _last_frame(file, start, stop)
    one = last and last.end == _total(file, start) and stop - start > LARGE and _is_one(file, start)
    begins = [start] if one else [start, *file.find(BEGINS, start + 1, stop)]
    parts: list[Part] = []
    for first, last_stop in pairwise([*begins, file.size]):
        stop = file.trim_tags(max(first, last_stop - TAIL) if one else first, last_stop)
        end = _frames_end(file, first, stop, follows)
        alone = file.is_zero(end, stop)
        parts.append(_mend(file, first, last_stop if alone else end, end))
        if not alone:  # another sound, which others may follow
            break
    return parts


def _frames_end(file: Bytes, start: int, stop: int, follows: Callable[[int], bool]) -> int:
    """Return where the last frame of a stream ends; refuse what follows if it is neither another sound nor zeros."""
    total, seen = _total(file, start), False
    for edge in range(stop, start, -TAIL):
        for frame in _frames_in(file, start, max(start + 42, edge - TAIL), edge, -1):
            if seen and total not in (0, frame.end):
                continue
            ends = [frame.place + end for end in _ends(file.at(frame.place, min(stop - frame.place, TAIL)))]
            known = next((end for end in ends if follows(end) or file.is_zero(end, stop)), None)
            if ends and known is None and frame.end == total:
                count = stop - ends[0]
                raise DecodeError(f"{count} bytes of something else follow after the end of its sound; fetch it again")
            if known is not None and not (stop - known <= ZEROS and file.is_zero(known, stop)):
                return known
            if ends and (known or not total):
                return stop
            seen = True
    return stop


def _mend(file: Bytes, start: int, stop: int, sound_stop: int) -> Part:
    part = Part(start, stop, "flac", tail=stop - sound_stop, hides_tail=True)
    last = _last_frame(file, start, sound_stop)
    if last is None:
        return part
    rate = int.from_bytes(file.at(start + 18, 3), "big") >> 4
    channels = (file.at(start + 20, 1)[0] >> 1 & 7) + 1
    unlike = last.rate not in (0, rate) or last.channels != channels
    if unlike and sound_stop - last.place in _ends(file.at(last.place, sound_stop - last.place)):  # it is a frame
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
    frames = [next(_frames_in(file, start, place, place + PROBE, 1), None) for place in places]
    ends = [frame.end if frame else 0 for frame in frames]
    return all(before < after for before, after in pairwise(ends))


def _last_frame(file: Bytes, start: int, stop: int) -> Frame | None:
    largest = int.from_bytes(file.at(start + 15, 3), "big") or TAIL  # frame, in bytes
    return next(_frames_in(file, start, max(start + 42, stop - min(largest + 256, TAIL)), stop, -1), None)


def _frames_in(file: Bytes, start: int, first: int, stop: int, step: int) -> Iterator[Frame]:
    """Yield the frames that begin in some bytes of the stream at `start`, from the first (`step` 1) or last (-1) on."""
    content, block = file.at(first, stop - first), int.from_bytes(file.at(start + 8, 2), "big")
    places = [found.start() for found in SYNC.finditer(content)][::step]
    frames = (_read_frame(first + place, content[place : place + 16], block) for place in places)
    return (frame for frame in frames if frame)


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
    if size == 0 or rate_code == 15 or _crc8(header[:place]) != header[place]:
        return None
    end = (number if header[1] & 1 else number * block) + size
    return Frame(at, end, rate or RATES.get(rate_code, 0), (header[3] >> 4) + 1 if header[3] < 0x80 else 2)


def _crc8(content: bytes) -> int:
    crc = 0
    for byte in content:
        crc = CRC_8[crc ^ byte]
    return crc


def _ends(content: bytes) -> list[int]:
    """Return after how many bytes a frame may end: its checksum, the last two of them, makes that of all zero."""
    bits = np.unpackbits(np.frombuffer(content, np.uint8))
    sums = np.bitwise_xor.accumulate(bits * np.resize(INVERSE_16, len(bits)))[7::8]
    return [int(end) for end in np.flatnonzero(sums[2:] == 0) + 3]
