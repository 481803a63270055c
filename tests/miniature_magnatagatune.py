"""MagnaTagATune: its annotations in their format, with clips that are not decodable."""

from dataset_contract import Miniature, Spoilt

from emoclim.data.datasets.magnatagatune import TAGS

COLUMNS = ("clip_id", *sorted((*TAGS, *(f"rare {n}" for n in range(138)))), "mp3_path")
FOLDERS = "0123456789abcdef"


def annotations(clips: dict[str, tuple[str, tuple[str, ...]]], columns: tuple[str, ...] = COLUMNS) -> bytes:
    """Tabs and quotation marks, as published."""
    rows = [
        columns,
        *((id_, *("1" if c in tags else "0" for c in columns[1:-1]), path) for id_, (path, tags) in clips.items()),
    ]
    return "".join("\t".join(f'"{cell}"' for cell in row) + "\n" for row in rows).encode()


def tags_of(n: int) -> tuple[str, ...]:
    return () if n % 4 == 0 else tuple(tag for place, tag in enumerate(TAGS[:6]) if (n >> place) & 1)


CLIPS = {
    f"{100 + 2 * n + part}": (
        f"{folder}/artist-album-{n:02d}-title-{29 * part}-{29 * part + 29}.mp3",
        tags_of(2 * n + part),
    )
    for n, folder in enumerate(FOLDERS)
    for part in range(2)
}
SOUNDS = {f"mp3/{path}": f"sound of {path}".encode() for path, _ in CLIPS.values()}
EMPTY = "6/norine_braun-now_and_zen-08-gently-117-146.mp3"
LISTED = CLIPS | {"35644": (EMPTY, ("guitar",))}
FILES = {"annotations_final.csv": annotations(LISTED)} | SOUNDS | {f"mp3/{EMPTY}": b""}

MINIATURE = Miniature(
    files=FILES | {"mp3.zip.001": b"PK", "clip_info_final.csv": b'"clip_id"\t"title"\n'},
    labels={id_: tags or None for id_, (_, tags) in CLIPS.items()},
    left_out={"35644": "broken"},
    spoilt={
        "half a download": Spoilt(
            {path: content for path, content in FILES.items() if path[4:5] not in "89abcdef"},
            r"holds 16 of the 33 files .*its mp3 not in the folder",
        ),
        "another version": Spoilt(
            FILES | {"annotations_final.csv": annotations(LISTED, (*COLUMNS[:20], "mp3_path"))},
            r"annotations_final\.csv has no column .* \(it has: clip_id, .* and 9 more\)",
        ),
        "duplicate ids": Spoilt(
            FILES | {"annotations_final.csv": annotations(LISTED) + annotations(LISTED).partition(b"\n")[2]},
            "gives 33 ids of magnatagatune more than once",
        ),
    },
)
