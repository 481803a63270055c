"""FI, with the authors' lists: a few photos that are not decodable."""

from dataset_contract import Miniature, Spoilt

from emoclim.data.labels.taxonomy import IMAGE_EMOTIONS

ADDRESS = "http://farm8.staticflickr.com/7162/{name}.jpg"
PHOTOS = {f"{emotion}/{n}_{emotion[:3]}_z": (emotion, 3 + n % 3) for emotion in IMAGE_EMOTIONS for n in range(4)}


def lists(photos: dict[str, tuple[str, int]], header: str = "") -> dict[str, bytes]:
    """One list for each emotion: emotion, address, how many disagree, how many agree."""
    return {
        f"agg/{emotion}.csv": (
            header
            + "".join(
                f"{emotion},{ADDRESS.format(name=name.partition('/')[2])},{5 - agree},{agree}\n"
                for name, (own, agree) in photos.items()
                if own == emotion
            )
        ).encode()
        for emotion in IMAGE_EMOTIONS
    }


PICTURES = {f"{name}.jpg": name.encode() for name in PHOTOS}
GONE = {f"awe/{n}_gone.jpg": b"This photo is no longer available" for n in range(9)}
LISTED = PHOTOS | {name.removesuffix(".jpg"): ("awe", 5) for name in GONE} | {"fear/lost": ("fear", 4)}
FILES = lists(LISTED) | PICTURES | GONE

MINIATURE = Miniature(
    files=FILES | {"awe/unlisted.jpg": b"unlisted", "readme.txt": b"see agg"},
    labels={f"{name}.jpg": emotion for name, (emotion, _) in PHOTOS.items()},
    left_out=dict.fromkeys(GONE, "missing") | {"fear/lost": "missing", "awe/unlisted.jpg": "unused"},
    spoilt={
        "half a download": Spoilt(
            {path: content for path, content in FILES.items() if "fear" not in path},
            r"not all of deepemotion: its lists have no photo of fear; found agg/ \(7 files\)",
        ),
        "another version": Spoilt(
            PICTURES | {"list.csv": f"address,votes\n{ADDRESS.format(name='1')},3\n".encode()},
            r"list\.csv names none of the eight emotions .*\(it has: address, votes\)",
        ),
        "duplicate ids": Spoilt(
            FILES | {"awe/copy/0_awe_z.png": b"again"}, r"two files of one photo \(awe/0_awe_z\.jpg and awe/copy/"
        ),
    },
)
