"""ArtPhoto: a few photos that are not decodable."""

from dataset_contract import Miniature, Spoilt

CALLED = {"content": "contentment", "sad": "sadness"}
EMOTIONS = ("amusement", "anger", "awe", "content", "disgust", "excitement", "fear", "sad")
LABELS = {f"{emotion}_{n:04d}": CALLED.get(emotion, emotion) for emotion in EMOTIONS for n in range(1, 5)}
FILES = {f"testImages_artphoto/{name}.jpg": name.encode() for name in LABELS}

MINIATURE = Miniature(
    files=FILES | {"testImages_artphoto/holiday.jpg": b"no emotion"},
    labels=LABELS,
    left_out={"testImages_artphoto/holiday.jpg": "unused"},
    spoilt={
        "half a download": Spoilt(
            {path: content for path, content in FILES.items() if "fear" not in path},
            r"no photos called fear_<number>\.jpg, .*found testImages_artphoto/ \(28 files\)",
        ),
        "another version": Spoilt(
            {path.replace("_0", "-"): content for path, content in FILES.items()}, "no photos called amusement_<number>"
        ),
        "duplicate ids": Spoilt(
            FILES | {"copy/awe_0001.jpg": b"again"}, r"gives 1 ids of artphoto more than once \(awe_0001\)"
        ),
    },
)
