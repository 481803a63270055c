"""AudioSet's music by mood: its lists in their format, with clips that are not decodable."""

from dataset_contract import Miniature, Spoilt

from emoclim.data.datasets.audioset_mood import MOODS

LABELS = {mood: label for label, mood in MOODS.items()}
HEADER = (
    "# Segments csv created Sun Mar  5 10:54:31 2017\n"
    "# num_ytids={n}, num_segs={n}, num_unique_labels=9, num_positive_labels=99\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
)


def line(video: str, start: int, *moods: str) -> str:
    labels = ",".join(["/m/04rlf", *(LABELS[mood] for mood in moods)])
    return f'{video}, {start}.000, {start + 10}.000, "{labels}"\n'


def listed(*lines: str) -> bytes:
    return (HEADER.format(n=len(lines)) + "".join(lines)).encode()


VIDEOS = {f"-{mood:_<9}{n}": mood for mood in LABELS for n in range(3)}
SUBSETS = ("unbalanced_train", "balanced_train", "eval")
LISTS = {
    f"{subset}_segments.csv": listed(
        line("no_mood_123", 0),
        *(line(video, 30, mood) for place, (video, mood) in enumerate(VIDEOS.items()) if place % 3 == part),
        *([line("two_moods_1", 40, "happy", "sad"), line("Ygone_video", 0, "happy")] if part == 2 else []),
    )
    for part, subset in enumerate(SUBSETS)
}
NAMES = ("{video}_30.wav", "audio/{video}_30.000_40.000.flac", "Y{video}.mp3", "eval/{video}_30000.ogg")
CLIPS = {
    NAMES[place % len(NAMES)].format(video=video): f"sound of {video}".encode() for place, video in enumerate(VIDEOS)
}
FILES = LISTS | CLIPS

MINIATURE = Miniature(
    files=FILES | {"no_mood_123_0.wav": b"speech", "notes/song.wav": b"a song"},
    labels={f"{video}_30": mood for video, mood in VIDEOS.items()},
    left_out={"two_moods_1_40": "unused", "Ygone_video_0": "missing"},
    spoilt={
        "half a download": Spoilt(
            LISTS | dict(list(CLIPS.items())[:9]), r"holds 9 of the 22 files .*not in the folder, but in the list of"
        ),
        "another version": Spoilt(
            FILES | {"eval_segments.csv": b"segment_id\tstart\tend\tlabel\nb0RFKhbpFJA_30000\t0\t4.7\t/m/03m9d0z\n"},
            r"line 1 of .*eval_segments\.csv is 'segment_id.*where AudioSet's lists of 2017 have video",
        ),
        "duplicate ids": Spoilt(
            FILES | {"copy/-happy____0_30.wav": b"again"}, r"two files of one clip \(-happy____0_30\.wav and copy/"
        ),
    },
)
