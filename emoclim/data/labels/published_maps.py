"""Find and read the files of label maps, published ones by name, and make a map from valence and arousal.

Conventions: a map is a TOML file with a table for each modality, in which a label has a class. One that gives a label a
list of classes says what is relevant to it, and is for :func:`~emoclim.data.labels.relevance.read_relevance` only. An
empty list gives a label that matches none of another modality's: it is ranked with the others.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from emoclim.data.labels.valence_arousal import places_of
from emoclim.data.listing import Name
from emoclim.errors import ManifestError
from emoclim.files import read_toml
from emoclim.modality import Modality

FOLDER = Path(__file__).parents[1] / "label_maps"
Tables = dict[Modality, dict[Name, Name | list[Name]]]


def label_map_names() -> list[str]:
    """List the names of the published maps, sorted: who published it, for which labels, by which rule."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def find_label_map(given: Path) -> Path:
    """Find the file of a label map: the one given, or the published one of that name."""
    if given.exists():
        return given
    if str(given) in label_map_names():
        return FOLDER / f"{given}.toml"
    names = ", ".join(label_map_names())
    raise ManifestError(f"there is no label map {given}: give a TOML file, or the name of a published one ({names})")


def read_tables(given: Path, labels: Mapping[Modality, Iterable[str]] = {}) -> Tables:
    """Read the tables of a label map: by modality, the class or the classes of each label; an empty one is none.

    Each of `labels` must be there.
    """
    path = find_label_map(given)
    tables = read_toml(path, ManifestError, 'write tables such as [image] with lines such as sunset = "calm"', Tables)
    for modality, names in labels.items():
        if modality not in tables:
            raise ManifestError(f"label map {given} has no table [{modality}]; write one line per label below that")
        if lacking := sorted(set(names) - tables[modality].keys()):
            raise ManifestError(
                f"label map {given} gives no class for {modality} label {', '.join(map(repr, lacking))}; "
                'add it, with "" to leave it out'
            )
    return tables


def gives_several(given: Path) -> bool:
    """Whether a map gives some label a list of classes, so that it only says what is relevant."""
    return any(
        classes and not isinstance(classes, str) for table in read_tables(given).values() for classes in table.values()
    )


def nearest_labels(
    labels: Sequence[str], among: Sequence[str], places: Mapping[str, Sequence[float]]
) -> dict[str, str]:
    """Map each label to the nearest of some others by their places, such as valence and arousal.

    Notes
    -----
    M. Won et al., "Emotion embedding spaces for matching music to stories", ISMIR 2021, section 4.3: Euclidean
    distance. With valence and arousal of the NRC VAD lexicon it gives the column VA of their Table 2. Of vectors of
    unit length, the nearest is that of the highest cosine.
    """
    if not among:
        raise ManifestError("there is no label to map to; give at least one")
    own, others = places_of(labels, places), places_of(among, places)
    return {label: min(among, key=lambda other: math.dist(own[label], others[other])) for label in own}
