"""Your own files, in one folder per label: a few that are not decodable."""

from dataset_contract import Miniature, Spoilt

FILES = {f"{label}/{n}.jpg": f"{label} {n}".encode() for label in ("awe", "fear") for n in range(6)}

DEEP = {"awe/album/ü.PNG": b"deep"}
OTHERS = {"awe/readme.txt": b"no picture", "loose.jpg": b"loose", ".x/a.jpg": b"x"}

MINIATURE = Miniature(
    files=FILES | DEEP | OTHERS,
    labels={name: name.partition("/")[0] for name in (FILES | DEEP)},
    left_out={"awe/readme.txt": "unused", "loose.jpg": "unused"},
    spoilt={
        "half a download": Spoilt(dict.fromkeys(FILES, b""), "holds 0 of the 12 files .*the file is empty"),
        "another version": Spoilt({"a.jpg": b"a", "b.jpg": b"b"}, r"no folder per label .*found a\.jpg, b\.jpg"),
        "duplicate ids": "an id is the path of a file, and no two files have the same",
    },
)
