"""Read MagnaTagATune: 29 s clips of music with tags from a game, the 50 most frequent of them.

Conventions: a clip is known by its ``clip_id``; synonyms (``vocal``, ``vocals``) are kept as published; excerpts of one
track are a group.
"""

import re
from pathlib import Path, PurePosixPath

from emoclim.data.datasets.base import Description, LeftOut, Prepared
from emoclim.data.datasets.files import one_of_each, require_table
from emoclim.data.items.item import Item
from emoclim.data.listing import list_files, of_modality
from emoclim.errors import ManifestError

TAGS = (  # the 50 most frequent of 188, the most frequent first
    *("guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient"),
    *("beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals"),
    *("harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo"),
    "man",
    *("classic", "choir", "voice", "new age", "dance", "male voice", "female vocal", "beats", "harp", "cello"),
    *("no voice", "weird", "country", "metal", "female voice", "choral"),
)
ANNOTATIONS = "annotations_final.csv"
CLIPS = 25_863
PATH = re.compile(r"([0-9a-f])/(.+)-\d+-\d+\.mp3")  # folder, track; from and to, in seconds
PARTS = dict.fromkeys("0123456789ab", "train") | {"c": "val", "d": "test", "e": "test", "f": "test"}

DESCRIPTION = Description(
    modality="audio",
    about="29 s clips of music with tags from a game, of which the 50 most frequent are kept",
    what=(
        "25,863 clips of 29 s from Magnatune's records, tagged by players of a game; the usual 50 tags. Three of the "
        "files are empty as published, and are left out."
    ),
    licence="for research; the music: CC BY-NC-SA 1.0 of Magnatune",
    citation=(
        "E. Law, K. West, M. Mandel, M. Bay, J. S. Downie, Evaluation of algorithms using games: the case of music "
        "tagging, ISMIR 2009"
    ),
    source="https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset (annotations_final.csv; mp3.zip in three parts)",
    layouts=(
        "annotations_final.csv, anywhere",
        "<0 to f>/<clip>.mp3 below any one folder, or the same in another format (wav, flac)",
    ),
    labels=TAGS,
    splits={
        "pons2017": "folders 0-b, c and d-f (Pons et al., ISMIR 2018; used by musicnn and by Emo-CLIM's code)",
        "lee2017": "the same without clips that have none of the 50 tags (Lee et al., SMC 2017; Won et al., SMC 2020)",
    },
    split_sizes={
        "pons2017": {"train": 18_706, "val": 1_825, "test": 5_329},
        "lee2017": {"train": 15_244, "val": 1_529, "test": 4_332},
    },
    default_split="pons2017",
    max_missing=0.01,
)


def prepare(folder: Path) -> Prepared:
    """Make an item of each clip that is listed."""
    paths = list_files(folder)
    table = require_table(folder, paths, ANNOTATIONS)
    sounds = of_modality(paths, "audio")
    clips = one_of_each(folder, sounds, _named, "clip")
    items: list[Item] = []
    missing: list[LeftOut] = []
    parts: dict[str, str] = {}
    for number, row in table.records("clip_id", *TAGS, "mp3_path"):
        path = row["mp3_path"]
        if not (match := PATH.fullmatch(path)):
            raise ManifestError(
                f"row {number} of {table.source} has mp3_path {path!r}, where {ANNOTATIONS} has a path like "
                "f/artist-album-01-title-30-59.mp3; fetch it again"
            )
        id_, file = row["clip_id"], clips.get(path.removesuffix(".mp3"))
        if file is None:
            missing.append(LeftOut(id_, "missing", "its mp3 not in the folder"))
            continue
        tags = tuple(tag for tag in TAGS if row[tag] == "1")
        items.append(Item(id_, folder / file, tags=tags, group=match[2]))
        parts[id_] = PARTS[match[1]]
    tagged = {item.id: parts[item.id] for item in items if item.tags}
    count, unused = len(table.rows), len(sounds) - len({item.path for item in items})
    notes = [] if count == CLIPS else [f"{ANNOTATIONS} lists {count:,} clips, of {CLIPS:,} published"]
    if unused:
        notes.append(f"left out {unused:,} audio files of no listed clip, or of one that is there in another format")
    return Prepared("audio", tuple(items), tuple(missing), {"pons2017": parts, "lee2017": tagged}, notes=tuple(notes))


def _named(path: PurePosixPath) -> tuple[str, str]:
    """Return the folder and name of a clip, and its format."""
    return "/".join(path.with_suffix("").parts[-2:]), path.suffix.lower()
