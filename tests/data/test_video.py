"""Videos: which picture is shown when, in what colours, and what is refused."""

import random
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from film_files import FPS, RATE, Frame, busy_frames, grey_frames, numbers_of, pictures_of, write_film
from sound_files import write_media

from emoclim.data import Item, read_blocks, read_frames, video_seconds
from emoclim.data.media.checks import Remark
from emoclim.errors import DecodeError, MissingLibrary

CLEAR = {"crf": "5"}
FIFTHS = [0, 5, 10, 15, 20, 25, 30, 35, 40, 45]
KINDS: dict[tuple[str, str], dict[str, Any]] = {  # demuxer and codec
    ("mp4", "libx264"): {"options": CLEAR},
    ("matroska", "libx264"): {"options": CLEAR},
    ("mov", "mjpeg"): {"pixels": "yuvj420p", "options": {"qmax": "2"}},
    ("webm", "libvpx-vp9"): {"options": {"crf": "5", "deadline": "realtime", "cpu-used": "8"}},
    ("avi", "mpeg4"): {"options": {"qmax": "2"}},
    ("mpegts", "libx264"): {"options": CLEAR},
    ("mpeg", "mpeg2video"): {"options": {"qmax": "2"}},
    ("flv", "libx264"): {"options": CLEAR},
    ("asf", "wmv2"): {"options": {"qmax": "2"}},
}
TONE = 0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a film"


@pytest.mark.parametrize("kind", KINDS)
def test_five_pictures_a_second_are_those_that_are_shown(kind: tuple[str, str], path: Path) -> None:
    write_film(path, grey_frames(50), demuxer=kind[0], codec=kind[1], **KINDS[kind])
    assert numbers_of(path) == pytest.approx(FIFTHS, abs=1)
    assert numbers_of(path, start=0.6, duration=0.5) == pytest.approx([15, 20, 25], abs=1)


@pytest.mark.parametrize("demuxer", ["mp4", "matroska"])
def test_a_frame_is_shown_until_the_next_however_unlike_their_lengths(demuxer: str, path: Path) -> None:
    times = [0, 40, 80, 1000, 1040, 1900]
    frames = grey_frames(50)[::10][:5] + grey_frames(100)[60:61]
    write_film(path, frames, demuxer=demuxer, milliseconds=times, options=CLEAR)
    assert numbers_of(path)[:9] == pytest.approx([0, 20, 20, 20, 20, 30, 40, 40, 40], abs=1)


@pytest.mark.parametrize(
    ("demuxer", "codec", "options"),
    [
        ("mp4", "libx264", {"g": "50"}),
        ("mp4", "libx264", {"g": "50", "x264-params": "open-gop=1:bframes=3:b-pyramid=2:scenecut=0"}),
        ("matroska", "libx264", {"x264-params": "intra-refresh=1:keyint=50"}),
        ("webm", "libvpx-vp9", {"g": "50", "deadline": "realtime", "cpu-used": "8"}),
        ("mpegts", "mpeg2video", {"bf": "2"}),
    ],
)
def test_a_part_is_what_it_is_within_the_whole(demuxer: str, codec: str, options: dict[str, str], path: Path) -> None:
    write_film(path, busy_frames(6 * FPS), demuxer=demuxer, codec=codec, options=options)
    whole = pictures_of(path)
    assert len(whole) == 30
    for first in (12, 15, 26, 29):
        part = pictures_of(path, start=first / 5, duration=1.0)
        assert len(part) == min(5, 30 - first)
        assert all(np.array_equal(*pair) for pair in zip(part, whole[first:], strict=False))


# Colours: frames of one colour, by the formulas of ITU-T H.273

WEIGHTS = {
    "bt601": (0.299, 0.114, 6),
    "bt709": (0.2126, 0.0722, 1),
    "bt2020": (0.2627, 0.0593, 9),
    "": (0.299, 0.114, 2),
}


def write_colour(path: Path, colour: tuple[int, int, int], matrix: str, full: bool, bits: int, transfer: int) -> None:
    av = pytest.importorskip("av", reason="videos need the extra [media]")
    red, blue, number = WEIGHTS[matrix]
    r, g, b = (value / 255 for value in colour)
    luma = red * r + (1 - red - blue) * g + blue * b
    parts = np.array([luma, (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)])
    least, scale = np.array([0, 128, 128]), np.array([255, 255, 255])
    if not full:
        least, scale = np.array([16, 128, 128]), np.array([219, 224, 224])
    levels = ((least + scale * parts) * 2 ** (bits - 8)).round()
    with av.open(path, "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p" if bits == 8 else "yuv420p10le"
        stream.codec_context.thread_count = 1  # more would be lost in forked workers
        frame = av.VideoFrame(64, 48, stream.pix_fmt)
        for plane, level in zip(frame.planes, levels, strict=True):
            kind: Any = np.uint8 if bits == 8 else np.uint16
            plane.update(np.full(plane.buffer_size // kind().itemsize, level, kind).tobytes())
        for one in (stream.codec_context, frame):
            one.colorspace, one.color_range, one.color_trc = number, 1 + full, transfer
        frame.pts = 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


@pytest.mark.parametrize("colour", [(200, 40, 90), (20, 180, 60)])
@pytest.mark.parametrize(
    ("matrix", "full", "bits"),
    [("bt709", False, 8), ("bt601", False, 8), ("", False, 8), ("bt709", True, 8), ("bt709", False, 10)],
)
def test_colours_are_those_that_the_matrix_and_the_range_say(
    colour: tuple[int, int, int], matrix: str, full: bool, bits: int, path: Path
) -> None:
    write_colour(path, colour, matrix, full, bits, transfer=2)
    (picture,) = pictures_of(path)
    assert picture.mean((0, 1)) == pytest.approx(colour, abs=3)


@pytest.mark.parametrize(("transfer", "told"), [(16, ["PQ"]), (18, ["HLG"]), (14, [])])
def test_hdr_is_converted_without_tone_mapping_and_told(transfer: int, told: list[str], path: Path) -> None:
    write_colour(path, (200, 40, 90), "bt2020", False, 10, transfer)
    read = list(read_frames(Item("x", path), 5))
    assert [one.example for one in read if isinstance(one, Remark)] == told
    assert np.asarray(read[-1]).mean((0, 1)) == pytest.approx((200, 40, 90), abs=3)


# Shapes

ONE = 1 << 16
QUARTERS = np.kron([[40, 120], [200, 250]], np.ones((24, 32))).astype(np.uint8)


@pytest.mark.parametrize(
    ("matrix", "upright"),
    [
        ((ONE, 0, 0, ONE), QUARTERS),
        ((0, ONE, -ONE, 0), np.rot90(QUARTERS, -1)),  # as phones write videos that were held upright
        ((-ONE, 0, 0, -ONE), np.rot90(QUARTERS, 2)),
        ((0, -ONE, ONE, 0), np.rot90(QUARTERS)),
        ((-ONE, 0, 0, ONE), QUARTERS[:, ::-1]),
        ((ONE, 0, 0, -ONE), QUARTERS[::-1]),
        ((0, ONE, ONE, 0), QUARTERS.T),
        ((0, -ONE, -ONE, 0), QUARTERS[::-1, ::-1].T),
    ],
)
def test_pictures_are_turned_upright(matrix: tuple[int, ...], upright: Frame, path: Path) -> None:
    a, b, c, d = matrix
    frames = [np.stack([QUARTERS] * 3, 2)] * 3
    write_film(path, frames, options=CLEAR, matrix=(a, b, 0, c, d, 0, 0, 0, 1 << 30))
    (picture,) = pictures_of(path)
    assert picture.shape[:2] == upright.shape
    assert np.abs(picture.mean(2) - upright).mean() < 3


def test_a_turn_by_no_right_angle_is_told(path: Path) -> None:
    half = round(ONE * 0.7071)
    write_film(path, grey_frames(3), matrix=(half, half, 0, -half, half, 0, 0, 0, 1 << 30))
    with pytest.raises(DecodeError, match="right angle"):
        pictures_of(path)


def test_portraits_and_pixels_that_are_no_squares(path: Path) -> None:
    write_film(path, grey_frames(3, 96, 48))
    assert pictures_of(path)[0].shape == (96, 48, 3)
    write_film(path, grey_frames(3), demuxer="matroska", context={"sample_aspect_ratio": Fraction(3, 2)})
    assert pictures_of(path)[0].shape == (48, 96, 3)


# Length, and the seconds of the sound


def test_one_frame_and_a_part_that_begins_too_late(path: Path) -> None:
    write_film(path, grey_frames(1))
    assert len(pictures_of(path)) == 1
    write_film(path, grey_frames(50))
    assert len(pictures_of(path, start=1.5, duration=9.0)) == 3
    with pytest.raises(DecodeError, match="begins at 7.00 s, but the video ends at 2.00 s"):
        pictures_of(path, start=7.0)


@pytest.mark.parametrize("demuxer", ["mp4", "matroska"])
def test_the_length_is_what_the_file_states_or_what_is_there(demuxer: str, path: Path) -> None:
    write_film(path, grey_frames(50), demuxer=demuxer, sound=TONE)
    assert video_seconds(Item("x", path)) == pytest.approx(2.0)
    assert video_seconds(Item("x", path, start=0.5, duration=1.0)) == 1.0
    assert video_seconds(Item("x", path, start=0.5)) == pytest.approx(1.5)


@pytest.mark.parametrize("demuxer", ["mp4", "matroska", "mpegts"])
def test_seconds_of_the_sound_are_those_of_the_picture(demuxer: str, path: Path) -> None:
    """Whichever of the two begins later; a stream's packets before its sound may shift both."""

    def first_sound(**part: float) -> float:
        wave = torch.cat(list(read_blocks(Item("x", path, **part), RATE)))
        return float((wave.abs() > 0.05).nonzero()[0]) / RATE

    def beginnings(**late: float) -> tuple[float, float]:
        write_film(path, grey_frames(50), demuxer=demuxer, sound=TONE, options=CLEAR, **late)
        return first_sound(), next(n for n, number in enumerate(numbers_of(path)) if number > 1) / 5 - 0.2

    assert beginnings(sound_late=0.6) == pytest.approx((0.6, 0.0), abs=0.07)
    assert first_sound(start=0.4) == pytest.approx(0.2, abs=0.07)
    sound, picture = beginnings(late=1.0)
    assert sound == pytest.approx(0.0, abs=0.07)
    assert picture == pytest.approx(1.0, abs=0.21)


def test_memory_does_not_grow_with_the_length(path: Path) -> None:
    frames = busy_frames(FPS)
    script = (
        "import sys, resource; from pathlib import Path; from emoclim.data import Item, read_frames\n"
        "print(sum(1 for _ in read_frames(Item('x', Path(sys.argv[1])), 5)),"
        " resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    found = []
    for times in (1, 40):
        write_film(path, frames * times, options={"preset": "ultrafast", "g": "25"})
        done = subprocess.run([sys.executable, "-c", script, path], capture_output=True, text=True, check=True)
        found.append([int(word) for word in done.stdout.split()])
    (short, least), (long, most) = found
    unit = 2**10 if sys.platform == "darwin" else 1
    assert (short, long) == (5, 200)
    assert (most - least) / unit < 5_000  # KiB, of 11 MB of pictures that are read


# What is refused, and how it is told


def of_sound(path: Path) -> None:
    soundfile.write(path, TONE, RATE, format="FLAC")


def of_sound_in_mp4(path: Path) -> None:
    write_media(path, "ipod", "aac")


def cut(path: Path) -> None:
    content = write_film(path, busy_frames(FPS)).read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def cut_matroska(path: Path) -> None:
    content = write_film(path, busy_frames(FPS), demuxer="matroska").read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


def overstated(path: Path) -> None:
    """A file of fragments, of which the last are missing, that states the length of all."""
    fragments = {"movflags": "frag_keyframe+empty_moov"}
    content = write_film(path, busy_frames(2 * FPS), options={"g": "10"}, container_options=fragments).read_bytes()
    path.write_bytes(content[: content.rindex(b"moof") - 40])


def damaged(path: Path) -> None:
    content = bytearray(write_film(path, busy_frames(FPS)).read_bytes())
    place = len(content) // 2
    content[place : place + 60] = random.Random(0).randbytes(60)
    path.write_bytes(content)


def joined(path: Path) -> None:
    content = write_film(path, grey_frames(5)).read_bytes()
    path.write_bytes(content * 2)


def of_words(path: Path) -> None:
    path.write_text("no video " * 100)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (of_sound, "sound alone"),
        (of_sound_in_mp4, "no pictures"),
        (cut, "cut short: .* bytes are missing"),
        (cut_matroska, "cut short: .* bytes are missing"),
        (overstated, "cut short"),
        (damaged, "damaged"),
        (joined, "2 recordings one after another"),
        (of_words, "no video"),
        (Path.touch, "empty"),
    ],
)
def test_what_cannot_be_used_is_told(spoil: Callable[[Path], None], told: str, path: Path) -> None:
    spoil(path)
    with pytest.raises(DecodeError, match=told) as error:
        pictures_of(path)
    assert path.name not in str(error.value)


def test_pictures_of_too_many_pixels_are_told_before_one_is_decoded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_film(path, grey_frames(2))
    monkeypatch.setattr("emoclim.data.media.videos.video.MAX_PIXELS", 64 * 48 - 1)
    with pytest.raises(DecodeError, match="64 x 48 pixels"):
        pictures_of(path)


def test_a_video_without_sound_is_no_sound(path: Path) -> None:
    write_film(path, grey_frames(5))
    with pytest.raises(DecodeError, match="no sound"):
        list(read_blocks(Item("x", path), RATE))


def test_the_library_that_is_missing_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_film(path, grey_frames(5))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingLibrary, match=r"emoclim\[media\]"):
        pictures_of(path)
