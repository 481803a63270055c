"""MTG-Jamendo: its tables in their format, with tracks that are not decodable."""

from dataset_contract import Miniature, Spoilt

from emoclim.data.datasets.mtg_jamendo import COLUMNS, TRACKS

TAGS = tuple(TRACKS)
NUMBERS = {f"track_{number:07d}": number for number in range(948, 948 + 131 * 18, 131)}
TRACK_TAGS = {track: (TAGS[place % 5], TAGS[-1 - place % 3]) for place, track in enumerate(NUMBERS)}
ARTISTS = {track: f"artist_{place // 2:06d}" for place, track in enumerate(NUMBERS)}
RARE = "track_1354585"
PARTS = ("train", "validation", "test")


def path_of(number: int) -> str:
    return f"{number % 100:02d}/{number}.mp3"


def table(
    tracks: dict[str, tuple[str, ...]], columns: tuple[str, ...] = COLUMNS, prefix: str = "mood/theme---"
) -> bytes:
    """Tabs, each tag in a cell of its own, as published."""
    rows = [
        (
            track,
            ARTISTS.get(track, "artist_1"),
            "album_1",
            path_of(int(track[6:])),
            "212.7",
            *(prefix + tag for tag in tags),
        )
        for track, tags in tracks.items()
    ]
    return "".join("\t".join(row) + "\n" for row in (columns, *rows)).encode()


ALL = {"data/autotagging_moodtheme.tsv": table(TRACK_TAGS | {RARE: ("horror", "mellow")})}
SPLITS = {
    f"data/splits/split-{n}/autotagging_moodtheme-{part}.tsv": table(
        {
            track: tags
            for place, (track, tags) in enumerate(TRACK_TAGS.items())
            if PARTS[min(2, (place // 2 + n) % 5)] == part and track != "track_0000948"
        }
    )
    for n in range(5)
    for part in PARTS
}
SUFFIXES = (".mp3", ".low.mp3", ".flac")
TRACK_FILES = {
    f"audio/{path_of(number).removesuffix('.mp3')}{SUFFIXES[number % 3]}": f"sound of {track}".encode()
    for track, number in NUMBERS.items()
}
FILES = ALL | SPLITS | TRACK_FILES

MINIATURE = Miniature(
    files=FILES | {"data/autotagging.tsv": b"TRACK_ID\n", "audio/48/1000048.mp3": b"of no list", "README.md": b"#"},
    labels={track: tags for track, tags in TRACK_TAGS.items() if track != "track_0000948"},
    left_out={RARE: "unused", "track_0000948": "unused"},
    spoilt={
        "half a download": Spoilt(
            ALL | SPLITS | dict(list(TRACK_FILES.items())[:9]), r"holds 9 of the 18 files .*its mp3 not in the folder"
        ),
        "another version": Spoilt(
            FILES | {"data/autotagging_moodtheme.tsv": table(TRACK_TAGS, prefix="genre---")},
            r"row 2 of .*autotagging_moodtheme\.tsv has tag 'genre---action', where .* 59 that begin with mood/",
        ),
        "duplicate ids": Spoilt(
            FILES | {"data/autotagging_moodtheme.tsv": table(TRACK_TAGS) + table(TRACK_TAGS).partition(b"\n")[2]},
            "gives 18 ids of mtg_jamendo more than once",
        ),
    },
)
