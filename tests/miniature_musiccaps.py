"""MusicCaps: descriptions of ours in its layout, with clips that are not decodable."""

from dataset_contract import Miniature, Spoilt

COLUMNS = (
    *("ytid", "start_s", "end_s", "audioset_positive_labels", "aspect_list", "caption", "author_id"),
    *("is_balanced_subset", "is_audioset_eval"),
)
VIDEOS = {f"-Y{number:_<9}": 30 * number for number in range(12)}


def table(columns: tuple[str, ...] = COLUMNS) -> bytes:
    """A row for each video, in the quotation of the published table."""
    rows = [
        f'{video},{start},{start + 10},"/m/04rlf,/t/dd00034","[\'slow tempo\', ""it\'s {number}""]",'
        f'"Slow, said ""{number}"".\nMore of it.",4,{number < 3},{number % 2 == 1}'
        for number, (video, start) in enumerate(VIDEOS.items())
    ]
    return "\n".join([",".join(columns), *rows, ""]).encode()


IDS = [f"{video}_{start}" for video, start in VIDEOS.items()]
NAMES = ("{video}_{start}.wav", "clips/[{video}]-[{start}-{end}].mp3", "Y{video}.flac")
CLIPS = {
    NAMES[place % len(NAMES)].format(video=video, start=start, end=start + 10): f"sound of {video}".encode()
    for place, (video, start) in enumerate(VIDEOS.items())
}
LISTED = {"musiccaps-public.csv": table()}
FILES = LISTED | dict(list(CLIPS.items())[1:])

MINIATURE = Miniature(
    files=FILES | {"no_mood_123_0.wav": b"speech", f"{list(VIDEOS)[1]}_90.ogg": b"elsewhere"},
    labels=dict.fromkeys(IDS[1:]),
    left_out={IDS[0]: "missing"},
    spoilt={
        "half a download": Spoilt(
            LISTED | dict(list(CLIPS.items())[:5]), r"holds 5 of the 12 files .*not in the folder, but in musiccaps"
        ),
        "another version": Spoilt(
            FILES | {"musiccaps-public.csv": table((*COLUMNS[:-1], "split"))},
            r"public\.csv has no column 'is_audioset_eval' \(it has: ytid, ",
        ),
        "duplicate ids": Spoilt(
            FILES | {f"copy/{IDS[3]}.wav": b"again", f"more/{IDS[3]}.wav": b"again"}, "two files of one clip .*keep one"
        ),
    },
)
