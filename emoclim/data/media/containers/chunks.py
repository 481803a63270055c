"""Compare what the header of a WAV, AIFF, CAF, Wave64 or AU file states of its samples with what is there.

A size that is too small is mended where something else in the file says that the samples go on to its end, and refused
otherwise: what follows could be anything.
"""

import re
from dataclasses import replace
from struct import calcsize, pack, unpack
from typing import NamedTuple

from emoclim.data.media.containers.mpeg import packet_at
from emoclim.data.media.containers.view import BEGINS, Bytes, Part, require_few
from emoclim.errors import DecodeError

SIZE_SLACK = 1024  # bytes: sizes in headers are often off by a few
STRAY = 4  # bytes after the end of a sound that may be anything
STREAMED = {4: 0x7FFF_0000, 8: 2**62}  # by their bytes: sizes from here on are of writers that do not know the end
UNKNOWN = 0xFFFF_FFFF
RATES = (8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400, 192_000)  # Hz
PLAIN = (b"NONE", b"sowt", b"twos", b"in24", b"in32", b"fl32", b"FL32", b"fl64", b"FL64", b"raw ")  # in AIFC
SIDE_CHUNKS = (b"LIST", b"id3 ", b"ID3 ", b"bext", b"iXML", b"JUNK", b"_PMX")  # often after the sound; may be cut short
CHUNK_NAME = re.compile(rb"[ -~]{4}")
GUID = bytes.fromhex("f3acd3118cd100c04f8edb8a")  # ends the names of chunks in Wave64


class Chunks(NamedTuple):
    """How a container of chunks is built."""

    kind: str  # FFmpeg's name
    outer: int  # where the size of all stands; 0 if nowhere
    first: int  # bytes before the first chunk
    name: int  # bytes of a chunk's name
    size: str  # format of its size, which follows
    counted: int  # bytes before the content that the size counts
    align: int  # bytes to which a chunk is filled up
    data: bytes  # name of the chunk that holds the sound


WAVE = Chunks("wav", 4, 12, 4, "<I", 0, 2, b"data")
CONTAINERS = {
    b"RIFF": WAVE,
    b"RIFX": WAVE._replace(size=">I"),
    b"RF64": WAVE,
    b"BW64": WAVE,
    b"FORM": Chunks("aiff", 4, 12, 4, ">I", 0, 2, b"SSND"),
    b"caff": Chunks("caf", 0, 8, 4, ">q", 0, 1, b"data"),
    b"riff": Chunks("w64", 16, 40, 16, "<q", 24, 8, b"data" + GUID),
}
AU = {b".snd": ">I", b"dns.": "<I"}  # one header, in either order of bytes


class _Field(NamedTuple):
    """A number in a file."""

    place: int
    format: str

    @property
    def stop(self) -> int:
        return self.place + calcsize(self.format)

    def read(self, file: Bytes) -> int:
        width = calcsize(self.format)
        return int(unpack(self.format, file.at(self.place, width).ljust(width, b"\0"))[0])


class _Stated(NamedTuple):
    """What a header states of its samples."""

    size: int  # bytes
    field: _Field  # where it states so
    content: int  # where they begin
    outer: int  # where the whole should end; 0 if that is not stated


def scan_chunks(file: Bytes, start: int, chunks: Chunks) -> Part:
    """Return the sound in a container of chunks."""
    outer = start + _Field(start + chunks.outer, chunks.size).read(file) if chunks.outer else 0
    outer += 8 * (chunks.name == 4)
    place, long_size, counted = start + chunks.first, 0, 0
    count = 0
    while place + chunks.name < file.size:
        count += 1
        require_few(count)
        name, field = file.at(place, chunks.name), _Field(place + chunks.name, chunks.size)
        size = field.read(file) - chunks.counted
        if name == b"ds64":  # of RF64
            outer, long_size = start + 8 + _Field(field.stop, "<Q").read(file), field.stop + 8
        if name == chunks.data:
            stated = _Stated(size, field, field.stop, outer if chunks.outer else 0)
            if long_size and size == UNKNOWN:
                long_field = _Field(long_size, "<Q")
                stated = stated._replace(size=long_field.read(file), field=long_field)
            part = _scan_data(file, start, chunks, stated)
            _check_counted(counted, stated.size - 8, part.sound_stop - field.stop - 8)  # 8 bytes before are no samples
            return part
        if name[:4] == b"fmt ":
            _check_format(file, field, order=chunks.size[0])
        if name == b"COMM":
            counted = _counted_bytes(file, field, size)
        if size < 0:
            break
        place = field.stop + _fill(size, chunks.align)
    if place > file.size + chunks.align:  # for such a chunk, FFmpeg would take the memory
        raise DecodeError(
            "the file is cut short, or its header is damaged: a chunk before the sound would end "
            f"{place - file.size} bytes after it; fetch it again"
        )
    return Part(start, file.size, chunks.kind)


def _check_format(file: Bytes, field: _Field, order: str) -> None:
    """Refuse a sound without a rate or channels, and one whose bytes per frame are told in three ways that differ."""
    tag, channels, rate, byte_rate, block, bits = unpack(order + "HHIIHH", file.at(field.stop, 16).ljust(16, b"\0"))
    size = channels * (4 if block == 4 * channels and 16 < bits < 32 else -(-bits // 8))
    if not rate or not channels:
        raise DecodeError(f"its header claims {rate} Hz and {channels} channels; write the file again")
    if tag not in (1, 3, 0xFFFE):
        return
    if block != size and byte_rate != rate * size:
        odd = f"{channels} channels of {bits} bits, but {block} bytes for all"
    elif byte_rate != rate * size and byte_rate in [size * usual for usual in RATES]:
        odd = f"{rate} Hz, but as many bytes per second as of {byte_rate // size} Hz"
    else:
        return
    raise DecodeError(f"its header contradicts itself: {odd}; write the file again")


def _counted_bytes(file: Bytes, field: _Field, size: int) -> int:
    """Return how many bytes of samples the header of an AIFF counts; 0 if it does not, or they are compressed."""
    channels, frames, bits, _, form = unpack(">HIH10s4s", file.at(field.stop, 22).ljust(22, b"\0"))
    count = int(channels * frames * -(-bits // 8))
    return count if count < STREAMED[4] and (size < 22 or form in PLAIN) else 0


def _check_counted(counted: int, stated: int, there: int) -> None:
    if counted and min(abs(counted - stated), abs(counted - there)) > SIZE_SLACK:
        raise DecodeError(
            f"its header contradicts itself: it counts {counted} bytes of samples, but {there} are there; "
            "write the file again"
        )


def scan_au(file: Bytes, start: int) -> Part:
    """Return the sound in an AU file."""
    order = AU[file.at(start, 4)]
    field = _Field(start + 8, order)
    content = start + max(24, _Field(start + 4, order).read(file))
    chunks = Chunks("au", 0, 0, 0, order, 0, 1, b"")
    return _scan_data(file, start, chunks, _Stated(field.read(file), field, content, 0))


def _fill(size: int, align: int) -> int:
    return -(-size // align) * align


def _scan_data(file: Bytes, start: int, chunks: Chunks, stated: _Stated) -> Part:
    """Compare the size that a header states of the samples with what follows them."""
    whole, limit = Part(start, file.size, chunks.kind), STREAMED[calcsize(stated.field.format)]
    whole = replace(whole, hides_tail=chunks.kind == "w64")
    end, there = stated.content + stated.size, max(0, file.size - stated.content)
    if stated.size >= limit > there:  # which FFmpeg would take for a file that is cut short
        return replace(whole, patches=[(stated.field.place, pack(stated.field.format, there + chunks.counted))])
    if not 0 <= stated.size < limit:
        return whole
    if end > file.size + (SIZE_SLACK if 0 < stated.outer <= file.size + 1 else 0):
        raise DecodeError(f"the file is cut short: {there} of {stated.size} bytes of sound are there; fetch it again")
    rest = end
    for place in (stated.content + _fill(stated.size, chunks.align), end):
        after = _skip_chunks(file, place, chunks)
        rest = file.skip_tags(after)
        packets = stated.size and packet_at(file, rest) and not packet_at(file, stated.content)  # of another sound
        if file.begins(rest) or packets:
            return replace(whole, stop=rest, tail=rest - end)
        if file.size - rest < STRAY or after > place or file.is_zero(rest, file.size):
            return replace(whole, tail=max(0, file.size - end))
    if stated.size == 0 or stated.outer >= file.size - 1 or there % 2**32 == stated.size:
        size = pack(stated.field.format, min(there + chunks.counted, limit))
        return replace(whole, patches=[(stated.field.place, size)])
    raise DecodeError(
        f"its header counts too little: {file.size - rest} bytes follow after the end of the sound that it states; "
        "write the file again with its true length"
    )


def _skip_chunks(file: Bytes, place: int, chunks: Chunks) -> int:
    """Return where the chunks that follow the samples end; the same place if there are none."""
    count = 0
    while chunks.name:
        count += 1
        require_few(count)
        name, field = file.at(place, chunks.name), _Field(place + chunks.name, chunks.size)
        size = field.read(file) - chunks.counted
        cut = field.stop + size > file.size + 1 and name not in SIDE_CHUNKS
        if not CHUNK_NAME.match(name) or name[:4] in BEGINS or size < 0 or cut:
            break
        if name == chunks.data:
            raise DecodeError("its sound lies in two chunks of samples, which no decoder joins; convert it to FLAC")
        place = field.stop + _fill(size, chunks.align)
    return min(place, file.size)
