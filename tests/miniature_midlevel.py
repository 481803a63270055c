"""Mid-level Perceptual Features: ratings of ours in its layout, with excerpts that are not decodable."""

from dataset_contract import Miniature, Spoilt

RATED = (
    "melody",
    "articulation",
    " rhythm_complexity",
    "rhythm_stability",
    "dissonance",
    "tonal_stability",
    "minorness",
)
ARTISTS = {str(number): f"Artist {number // 2}" for number in range(1, 31)}


def metadata(artist: str = "Artist") -> bytes:
    rows = [f"{id_};{name};Song {id_};magnatune" for id_, name in ARTISTS.items()]
    return "\n".join([f"song id;{artist};Song title;Source", *rows, ""]).encode()


def annotations(columns: tuple[str, ...] = RATED, last: str = "30") -> bytes:
    ids = [*list(ARTISTS)[:-1], last]
    rows = [",".join([id_, *(f"{(int(id_) + place) % 9}.5" for place in range(7))]) for id_ in ids]
    return "\n".join([",".join(["song_id", *columns]), *rows, ""]).encode()


TABLES = {"metadata_annotations/metadata.csv": metadata(), "metadata_annotations/annotations.csv": annotations()}
SOUNDS = {f"audio/{id_}.mp3": f"sound of {id_}".encode() for id_ in ARTISTS}
KEPT = [id_ for id_ in ARTISTS if id_ != "17"]
FILES = TABLES | {path: content for path, content in SOUNDS.items() if path != "audio/17.mp3"}

MINIATURE = Miniature(
    files=FILES | {"audio/other.wav": b"of no excerpt"},
    labels=dict.fromkeys(KEPT),
    left_out={"17": "missing"},
    spoilt={
        "half a download": Spoilt(TABLES | dict(list(SOUNDS.items())[:5]), r"its sound not in the folder"),
        "another version": Spoilt(
            FILES | {"metadata_annotations/annotations.csv": annotations((*RATED[:4], "roughness", *RATED[5:]))},
            r"annotations\.csv has no column 'dissonance' \(it has: song_id, ",
        ),
        "another metadata": Spoilt(
            FILES | {"metadata_annotations/metadata.csv": metadata("By")}, r"metadata\.csv has no column 'artist'"
        ),
        "duplicate ids": Spoilt(
            FILES | {"metadata_annotations/annotations.csv": annotations(last="1")}, r"the song_id '1' again"
        ),
    },
)
