"""Your own files, listed in a table: a few that are not decodable."""

from dataset_contract import Miniature, Spoilt

FILES = {f"music/{n}.flac": f"piece {n}".encode() for n in range(8)}
HEADER = "File;Mood;valence;arousal\n"
ROWS = "".join(f"music/{n}.flac;{'happy' if n % 2 else 'sad'};0.{n};5\n" for n in range(8))


def table(text: str) -> dict[str, bytes]:
    return FILES | {"list.csv": text.encode()}


MINIATURE = Miniature(
    files=table(HEADER + ROWS + "gone.flac;happy;1;1\n;sad;0;0\n"),
    labels={name: "happy" if n % 2 else "sad" for n, name in enumerate(FILES)},
    left_out={"gone.flac": "missing", "row 11": "unused"},
    spoilt={
        "half a download": Spoilt(
            {name: content for name, content in table(HEADER + ROWS).items() if name[-6:] != "7.flac"},
            r"holds 7 of the 8 files .*music/7\.flac: not in the folder.*--max-missing 0\.13",
        ),
        "another version": Spoilt(
            table(HEADER.replace("Mood", "emotion") + ROWS),
            r"no column 'Mood' \(it has: File, emotion, valence, arousal\)",
        ),
        "duplicate ids": Spoilt(table(HEADER + ROWS + ROWS), "gives 8 ids of csv more than once"),
    },
    given="list.csv",
    options={"path_column": "File", "label_column": "Mood"},
)
