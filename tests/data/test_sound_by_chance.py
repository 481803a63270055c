"""Sound files joined, cut and with wrong lengths at random: all of the sound is decoded, or the file is refused."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from soaking import examples, soak
from sound_files import FORMATS, ID3, PITCHES, RATES, check, decode, made

names = st.sampled_from([*FORMATS])
sounds = st.tuples(names, st.sampled_from(PITCHES), st.sampled_from(RATES), st.integers(1, 2))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sounds") / "a sound"


@soak
@examples(40)
@given(parts=st.lists(sounds, min_size=1, max_size=3), tagged=st.booleans(), same=st.booleans())
def test_sounds_one_after_another_are_all_decoded(
    path: Path, parts: list[tuple[str, int, int, int]], tagged: bool, same: bool
) -> None:
    if same:
        parts = [(parts[0][0], *part[1:]) for part in parts]
    content = b"".join(ID3 * tagged + made(*part) for part in parts)
    check(content, path, [part[:3] for part in parts], may_refuse=len({part[0] for part in parts}) > 1)


@soak
@examples(40)
@given(sound=sounds, part=st.floats(0, 1, exclude_max=True), last=st.integers(0, 40), near=st.booleans())
def test_a_sound_that_is_cut_is_refused(
    path: Path, sound: tuple[str, int, int, int], part: float, last: int, near: bool
) -> None:
    content = made(*sound)
    stop = len(content) - last if near else int(part * len(content))
    if sound[0] == "aac" and stop in packets_of(content)[1:]:  # nothing tells that packets are missing
        assert abs(len(decode(content[:stop], path)[0]) - 1024 * packets_of(content).index(stop)) <= 1024
    else:
        check(content[:stop], path, [sound[:3]])


def packets_of(content: bytes) -> list[int]:
    """Where packets of bare AAC begin, and the last one ends."""
    places = [0]
    while places[-1] < len(content):
        head = content[places[-1] :]
        places.append(places[-1] + ((head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5))
    return places


def fields(name: str, content: bytes) -> list[tuple[int, str]]:
    """Where a header states a length, and how."""
    if name in ("wav", "wavex"):
        return [(4, "<I"), (content.index(b"data") + 4, "<I")]
    if name == "rf64":
        return [(20, "<Q"), (28, "<Q"), (content.index(b"data") + 4, "<I")]
    if name == "w64":
        return [(16, "<Q"), (content.index(b"data\xf3\xac") + 16, "<Q")]
    if name == "caf":
        return [(content.index(b"data") + 4, ">q")]
    if name == "aiff":
        return [(4, ">I"), (content.index(b"COMM") + 10, ">I"), (content.index(b"SSND") + 4, ">I")]
    if name == "au":
        return [(8, ">I")]
    if name == "flac":
        return [(22, ">I")]
    if name == "mp3":
        place = max(content.find(b"Info"), content.find(b"Xing"))
        return [(place + 8, ">I"), (place + 12, ">I")]
    return []


@soak
@examples(60)
@given(
    sound=sounds.filter(lambda sound: sound[0] not in ("ogg", "opus", "aac")),
    data=st.data(),
    factor=st.floats(0, 3),
)
def test_a_length_that_is_wrong_is_mended_or_refused(
    path: Path, sound: tuple[str, int, int, int], data: st.DataObject, factor: float
) -> None:
    content = bytearray(made(*sound))
    place, form = data.draw(st.sampled_from(fields(sound[0], content)))
    (stated,) = struct.unpack_from(form, content, place)
    top = 2 ** (8 * struct.calcsize(form)) // (2 if form.endswith("q") else 1) - 1
    value = data.draw(st.one_of(st.just(0), st.just(top), st.just(int(factor * stated)), st.integers(0, top)))
    struct.pack_into(form, content, place, min(value, top))
    check(bytes(content), path, [sound[:3]])
