"""Tell how many samples the packets of Opus and Vorbis last, by their first bytes."""

from collections.abc import Sequence

OPUS_FRAMES = (480, 960, 1920, 2880) * 3 + (480, 960) * 2 + (120, 240, 480, 960) * 4  # samples at 48 kHz, by mode


def opus_samples(packet: bytes) -> int:
    """Return the samples of a packet (RFC 6716, section 3)."""
    if not packet:
        return 0
    frames = (1, 2, 2, packet[-1] & 63)[packet[0] & 3]
    return frames * OPUS_FRAMES[packet[0] >> 3]


def vorbis_samples(heads: Sequence[bytes], sizes: Sequence[int]) -> list[int]:
    """Return the samples of packets: a quarter of each block and of the one before; the first gives none."""
    mask, before = (1 << (len(sizes) - 1).bit_length()) - 1, 0
    by_mode = [*sizes, *[sizes[-1]] * (mask + 1 - len(sizes))]
    samples = []
    for packet in heads:
        size = 0 if not packet or packet[0] & 1 else by_mode[packet[0] >> 1 & mask]
        samples.append((before + size) // 4 if before and size else 0)
        before = size or before
    return samples


def vorbis_modes(setup: bytes) -> list[bool]:
    """Return which modes have long blocks, read from the end of the setup, for all before them is of unknown length."""
    bits = int.from_bytes(setup, "little")
    end = bits.bit_length() - 1  # the bit that ends the setup
    flags: list[bool] = []
    found: list[bool] = []
    while end >= 41 + 6 and len(flags) < 64:
        mode = bits >> end - 41 & (1 << 41) - 1  # long or not, window, transform, mapping
        if mode >> 33 > 63 or mode >> 1 & 0xFFFF_FFFF:
            break
        flags.append(bool(mode & 1))
        end -= 41
        if (bits >> end - 6 & 63) + 1 == len(flags):
            found = flags[::-1]
    return found
