"""Find the sounds in a file of MPEG packets: MP3 (and its elder layers), and AAC in ADTS.

No header holds for all of such a file: each packet states its own sample rate and channels, and an MP3 may begin with a
packet without sound that counts the others (Xing, Info, VBRI). Where that one counts too few, where packets change, or
where libsndfile would guess the length wrongly, the file is cut into parts that each are right.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from emoclim.data.media.containers.view import BLOCK, Bytes, Part
from emoclim.errors import DecodeError

RATES = (44_100, 48_000, 32_000)  # Hz, of MPEG 1; half in MPEG 2, a quarter in MPEG 2.5
AAC_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
BIT_RATES = {  # kbit/s, by (MPEG 1 or not, layer)
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
IN_A_ROW = 3  # packets that must follow each other for bytes to be taken for packets
SYNC = re.compile(rb"\xff")
STRAY = 4  # bytes between packets that some encoders leave
SIDE_INFO = {(True, 2): 32, (True, 1): 17, (False, 2): 17, (False, 1): 9}  # bytes, by (MPEG 1 or not, channels)
AAC = 4  # in place of the layer


class Packet(NamedTuple):
    """What the header of a packet states."""

    size: int  # bytes
    samples: int  # per channel
    rate: int  # Hz
    channels: int
    layer: int  # 1 to 3, or AAC

    @property
    def form(self) -> tuple[int, int, int]:
        """What must not change within a part."""
        return self.rate, self.channels, self.layer


@lru_cache(4096)
def read_packet(header: bytes) -> Packet | None:
    """Read the header of an MPEG packet, 7 bytes."""
    if len(header) < 7 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    if header[1] & 0xF6 == 0xF0:
        rate, channels = header[2] >> 2 & 15, (header[2] & 1) << 2 | header[3] >> 6
        size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        if rate >= len(AAC_RATES) or size < 7:
            return None
        return Packet(size, 1024 * (1 + (header[6] & 3)), AAC_RATES[rate], channels, AAC)
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    index, rate_index = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer == 4 or index in (0, 15) or rate_index == 3:
        return None
    first = version == 3
    rate = RATES[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 384 if layer == 1 else 576 if layer == 3 and not first else 1152
    slots = samples // (32 if layer == 1 else 8) * BIT_RATES[first, layer][index - 1] * 1000 // rate
    size = (slots + (header[2] >> 1 & 1)) * (4 if layer == 1 else 1)
    return Packet(size, samples, rate, 1 if header[3] >> 6 == 3 else 2, layer)


def packet_at(file: Bytes, place: int) -> Packet | None:
    """Return the packet at a place that others like it follow, or that ends the file."""
    first = packet = read_packet(file.at(place, 7))
    for _ in range(IN_A_ROW - 1):
        if packet is None or first is None:
            return None
        place += packet.size
        if place >= file.size or file.skip_tags(place) != place:
            return first if place <= file.size else None
        packet = read_packet(file.at(place, 7))
        if packet and (packet.layer, packet.rate) != (first.layer, first.rate):
            return None
    return first if packet else None


def find_packet(file: Bytes, place: int, stop: int | None = None) -> int | None:
    """Return where the first packet at or after a place begins."""
    stop = file.size if stop is None else min(stop, file.size)
    for start in range(place, stop, BLOCK):
        for found in SYNC.finditer(file.at(start, min(BLOCK, stop - start))):
            if packet_at(file, start + found.start()):
                return start + found.start()
    return None


class Count(NamedTuple):
    """What the packet without sound at the beginning of an MP3 states of the others."""

    packets: int | None
    size: int | None  # bytes of the whole
    constant: bool  # the bit rate is constant


class PacketSequence(NamedTuple):
    """Packets of one form, one after another."""

    stop: int
    packets: int
    samples: int
    constant: bool  # in bit rate


def split_packets(file: Bytes, start: int) -> Iterator[Part]:
    """Yield the sounds from a place on, up to where no packets follow."""
    place: int | None = start
    while place is not None and (packet := packet_at(file, place)):
        count = None if packet.layer == AAC else read_count(file, place, packet)
        stop = _counted_stop(file, place, packet, count) if count else None
        if stop is None:
            first = place + packet.size * (count is not None)  # without a packet that counts less than there is
            sequence = _walk(file, first, packet.form)
            agreed = count is not None and count.packets is not None and abs(sequence.packets - count.packets) <= 1
            part = Part(place, sequence.stop, "mp3") if agreed else _part(file, first, sequence, packet)
            if file.skip_tags(sequence.stop) == file.size:  # which decoders may take for sound
                part = replace(part, stop=file.size, tail=file.size - sequence.stop, hides_tail=True)
            yield part
            stop = sequence.stop
        else:
            yield Part(place, stop, "mp3", tail=max(0, stop - place - (count.size or 0)) if count else 0)
        after = file.skip_tags(stop)
        place = None if file.begins(after) else find_packet(file, after)


def read_count(file: Bytes, place: int, packet: Packet) -> Count | None:
    """Read a packet that counts the others, or return None for one of sound."""
    content = file.at(place, min(packet.size, 256))
    at = 4 + SIDE_INFO[packet.rate >= min(RATES), packet.channels]
    mark = content[at : at + 4]
    if mark in (b"Xing", b"Info"):
        flags, values = int.from_bytes(content[at + 4 : at + 8], "big"), content[at + 8 :]
        packets = int.from_bytes(values[:4], "big") if flags & 1 else None
        size = int.from_bytes(values[4 * (flags & 1) :][:4], "big") if flags & 2 else None
        return Count(packets, size, mark == b"Info")
    if content[36:40] == b"VBRI":
        return Count(int.from_bytes(content[50:54], "big"), int.from_bytes(content[46:50], "big"), False)
    return None


def _counted_stop(file: Bytes, place: int, packet: Packet, count: Count) -> int | None:
    """Return where the packets that are counted end; None if the count is not of all of them, or of too many."""
    if not count.size or count.packets == 0:
        return None
    following = read_packet(file.at(place + packet.size, 7))
    if count.constant and count.packets and following:
        packets = (count.size - packet.size) / (following.size + 0.5)
        if abs(packets - count.packets) > 3 + 0.01 * count.packets:
            return None
    stop = place + count.size
    after = file.skip_tags(stop)
    more = find_packet(file, after) if file.size - after > 2 * packet.size else None
    if more is None:
        return after if file.begins(after) else file.size
    again = packet_at(file, more)
    unlike = again is None or again.form != packet.form or read_count(file, more, again)
    return stop if unlike or after != stop else None


def _walk(file: Bytes, place: int, form: tuple[int, int, int]) -> PacketSequence:
    """Count packets up to a tag, the end, or packets of another form."""
    packets, samples, sizes, stop = 0, 0, [0, 0], file.size
    while place < stop:
        head = file.at(place, 40)
        packet = read_packet(head[:7])
        if packet is None or packet.form != form:
            if file.skip_tags(place) != place or packet_at(file, place) or file.begins(place):
                break
            found = find_packet(file, place)
            stray = found is not None and found - place <= STRAY
            if (found or form[2] == AAC) and not stray and not file.is_zero(place, found or stop):
                raise DecodeError(
                    "the sound is damaged: between its packets are bytes of something else; fetch it again"
                )
            if found is None:
                break
            place = found
            continue
        if packets and (b"Xing" in head or b"Info" in head or b"VBRI" in head) and read_count(file, place, packet):
            break
        place += packet.size
        packets, samples = packets + 1, samples + packet.samples
        sizes = [min(sizes[0] or packet.size, packet.size), max(sizes[1], packet.size)]
    if place > stop and form[2] == AAC:
        raise DecodeError("the file is cut short: its last packet is not whole; fetch it again")
    return PacketSequence(min(place, stop), packets, samples, sizes[1] - sizes[0] <= 4)


def require_unbroken(file: Bytes, start: int) -> None:
    """Refuse packets that are damaged, where a decoder has left out some."""
    if packet := packet_at(file, start):
        _walk(file, start + packet.size, packet.form)


def _part(file: Bytes, start: int, sequence: PacketSequence, packet: Packet) -> Part:
    if packet.layer == AAC:
        return Part(start, sequence.stop, "aac", seconds=sequence.samples / packet.rate)
    if sequence.constant:
        return Part(start, sequence.stop, "mp3", guessed=True)
    return Part(start, sequence.stop, "mp3", prefix=_counting_packet(file.at(start, 4), packet, sequence))


def _counting_packet(header: bytes, packet: Packet, sequence: PacketSequence) -> bytes:
    """Make a packet that counts those of a sequence, which libsndfile needs where the bit rate varies."""
    header = bytes([header[0], header[1] | 1, 0xE0 | header[2] & 0x0C, header[3]])
    made = read_packet(header + bytes(3))
    assert made is not None
    side_info = bytes(SIDE_INFO[packet.rate >= min(RATES), packet.channels])
    counts = b"Xing" + struct.pack(">II", 1, sequence.packets)  # not the bytes, which may be more than 4 GB
    return (header + side_info + counts).ljust(made.size, b"\0")
