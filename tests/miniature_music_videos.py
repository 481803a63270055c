"""Music videos: a few of a few seconds, of which clips of two seconds are cut."""

import tempfile
from functools import cache
from pathlib import Path

from dataset_contract import Miniature, Spoilt
from film_files import grey_frames, write_film


@cache
def film(seconds: int, light: int) -> bytes:
    """A film of a frame each second."""
    with tempfile.TemporaryDirectory() as folder:
        times = [1000 * second for second in range(seconds)]
        frames = [frame + light for frame in grey_frames(seconds, 16, 16)]
        return write_film(Path(folder, "film.mp4"), frames, milliseconds=times).read_bytes()


FILES = {f"{name}.mp4": film(5, number) for number, name in enumerate(["abc", "pop/def", "pop/ghi", "pop/jkl"])}
LISTED = {"video_list.txt": b"abc\ndef\nghi\njkl\nxyz\n"}
OTHERS = {"pop/short.mp4": film(1, 9), "pop/readme.md": b"to see", "pop/other.mkv": b"not listed"}
LISTED |= {"video_list.txt": b"abc\ndef\nghi\njkl\nshort\nxyz\n"}

MINIATURE = Miniature(
    files=FILES | LISTED | OTHERS,
    labels={f"{name}#0": None for name in FILES},
    left_out={
        "pop/short.mp4": "unused",
        "pop/readme.md": "unused",
        "pop/other.mkv": "unused",
        "xyz": "missing",
    },
    spoilt={
        "half a download": Spoilt(LISTED | dict.fromkeys(FILES, b""), "holds 0 of the 6 files .*empty"),
        "another version": Spoilt(LISTED | {"abc.mp3": b"sound"}, r"no videos of video_list.txt; found abc\.mp3"),
        "duplicate ids": "an id follows from the path of a file, and no two files have the same",
    },
    options={"ids": "video_list.txt", "middle": 2.0, "length": 2.0, "longest_scene": 0.0},
)
