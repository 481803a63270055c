"""Con Espressione: answers of ours in its layout, with recordings that are not decodable."""

from dataset_contract import Miniature, Spoilt

from emoclim.data.datasets.con_espressione import PIECES

COLUMNS = (
    *("answer_id", "participant_id", "music_id", "answer", "original_answer", "timestamp", "favorite"),
    *("translated_to_english", "performer", "piece_name", "performance_name"),
)
PERFORMANCES = {
    f"{number:02d}_1_1_{number}_{piece}_Pianist{number}_Cut2_01.{number:02d}-03.03": (number, piece, f"Pianist{number}")
    for number, piece in enumerate([piece for piece in PIECES for _ in range(2)], start=1)
}


def table(performances: dict[str, tuple[int, str, str]], columns: tuple[str, ...] = COLUMNS) -> bytes:
    """Two answers for each performance, in quotation marks, as published; of one only the first says something."""
    rows = [
        f'{10 * number + part},{part},{number},"{answer}",,2018-02-16 12:43:42,,,{performer},{piece},{name}'
        for name, (number, piece, performer) in performances.items()
        for part, answer in enumerate(("slow, sad, clear_phrasing", f"tempo {number}" if number > 1 else ""))
    ]
    return "\n".join([",".join(columns), *rows, ""]).encode()


ANSWERS = {"con_espressione_game_answers.csv": table(PERFORMANCES)}
NAMES = ("audio/{name}.wav", "excerpts/{piece}_{performer}.mp3")
RECORDINGS = {
    NAMES[number % 2].format(name=name, piece=piece, performer=performer): f"sound of {name}".encode()
    for name, (number, piece, performer) in PERFORMANCES.items()
}
LOST, KEPT = next(iter(PERFORMANCES)), list(PERFORMANCES)[1:]
FILES = ANSWERS | {path: content for path, content in RECORDINGS.items() if LOST.encode() not in content}

MINIATURE = Miniature(
    files=FILES
    | {"audio/holiday.wav": b"of no piece", "piece_performer_data.csv": b"music_id\n", f"midi/{LOST}.mid": b"M"},
    labels=dict.fromkeys(KEPT),
    left_out={LOST: "missing"},
    spoilt={
        "half a download": Spoilt(
            ANSWERS | dict(list(RECORDINGS.items())[:5]), r"holds 5 of the 18 files .*its recording not in the folder"
        ),
        "another version": Spoilt(
            FILES | {"con_espressione_game_answers.csv": table(PERFORMANCES, (*COLUMNS[:-1], "name"))},
            r"answers\.csv has no column 'performance_name' \(it has: answer_id, ",
        ),
        "duplicate ids": Spoilt(
            FILES | {f"audio/{KEPT[0]}.flac": b"again", f"copy/{KEPT[0]}.wav": b"again"},
            "two files of one performance .*; keep one of each",
        ),
    },
)
