"""ArtPhoto: photos of artists who meant to raise one of eight emotions; the emotion stands in the file's name.

Put this file into ``emoclim/data/datasets/``, and ``emoclim prepare artphoto FOLDER`` works.
"""

import re
from pathlib import Path, PurePosixPath

from emoclim.data import IMAGE_EMOTIONS, Description, Item, LeftOut, Prepared, in_words, list_files, of_modality
from emoclim.errors import ManifestError

NAME = re.compile(r"([a-z]+)_\d+")
EMOTIONS = {"content": "contentment", "sad": "sadness"}  # two are called otherwise than elsewhere

DESCRIPTION = Description(
    modality="image",
    about="photos of artists who meant to raise one of eight emotions",
    what="806 photos of a site where artists share their work; each was uploaded under a word for the emotion.",
    licence="for research; each photo: of who took it",
    citation="J. Machajdik, A. Hanbury, Affective image classification using features inspired by psychology and art "
    "theory, ACM Multimedia 2010",
    source="https://www.imageemotion.org (testImages_artphoto.zip)",
    layouts=("<emotion>_<number>.jpg, anywhere in the folder",),
    labels=IMAGE_EMOTIONS,
    published={
        "the authors": {
            "amusement": 101,
            "awe": 102,
            "contentment": 70,
            "excitement": 105,
            "anger": 77,
            "disgust": 70,
            "fear": 115,
            "sadness": 166,
        }
    },
)


def prepare(folder: Path) -> Prepared:
    """Make an item of each photo."""
    paths = list_files(folder)
    items, left_out = [], []
    for path in of_modality(paths, "image"):
        name = PurePosixPath(path).stem
        match = NAME.fullmatch(name)
        emotion = EMOTIONS.get(match[1], match[1]) if match else None
        if emotion in IMAGE_EMOTIONS:
            items.append(Item(name, folder / path, label=emotion))
        else:
            left_out.append(LeftOut(path, "unused", "no emotion in its name"))
    found = {item.label for item in items}
    if lacking := [emotion for emotion in IMAGE_EMOTIONS if emotion not in found]:
        raise ManifestError(
            f"{folder} has no photos called {lacking[0]}_<number>.jpg, as all of ArtPhoto has; found {in_words(paths)}"
        )
    return Prepared("image", tuple(items), tuple(left_out))
