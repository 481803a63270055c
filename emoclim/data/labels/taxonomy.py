"""Bring the labels of several modalities to common classes: emotion taxonomies, and the maps between them.

Conventions: a map gives, for each modality, the class of a label; a label of a known taxonomy without a partner is left
out, and counted; a label that nobody knows is an error, for it is most likely a slip.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from emoclim.data.labels.published_maps import label_map_names, read_tables
from emoclim.errors import ManifestError
from emoclim.modality import Modality

# You et al., "Building a large scale dataset for image emotion recognition", AAAI 2016
IMAGE_EMOTIONS = ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")
# the mood music classes of AudioSet (Gemmeke et al., ICASSP 2017), as the papers shorten them
MUSIC_EMOTIONS = ("happy", "funny", "sad", "tender", "exciting", "angry", "scary")
EMOTIONS = frozenset(IMAGE_EMOTIONS + MUSIC_EMOTIONS)
# Emo-CLIM, section 4.1: image label -> music label; awe, disgust and tender have no partner
PARTNERS = {
    "excitement": "exciting",
    "contentment": "happy",
    "amusement": "funny",
    "anger": "angry",
    "fear": "scary",
    "sadness": "sad",
}


@dataclass(frozen=True, slots=True)
class LabelMap:
    """Classes, and the class of each label by modality.

    Examples
    --------
    >>> found = match_labels({"image": ["fear", "awe"], "audio": ["scary", "tender"]})
    >>> found.classes, found.class_of("image", "fear"), found.left_out("image", ["awe", "awe"])
    (('scary',), 0, {'awe': 2})
    """

    classes: tuple[str, ...]
    maps: Mapping[Modality, Mapping[str, str | None]]  # label to class; to None for one that is knowingly left out

    def class_of(self, modality: Modality, label: str | None) -> int | None:
        """Return the index of the class of a label; None for an item that takes no part."""
        name = None if label is None else self.maps[modality].get(label)
        return None if name is None else self.classes.index(name)

    def names(self) -> dict[Modality, dict[str, str]]:
        """Return what the labels of each modality call each class: several joined by slashes, a dash for none."""
        return {
            modality: {
                name: "/".join(sorted(label for label, mapped in labels.items() if mapped == name)) or "–"
                for name in self.classes
            }
            for modality, labels in self.maps.items()
        }

    def left_out(self, modality: Modality, labels: Iterable[str | None]) -> dict[str, int]:
        """Count the items of each label that take no part."""
        counts = Counter(label for label in labels if label is not None)
        return {label: count for label, count in sorted(counts.items()) if self.class_of(modality, label) is None}


def match_labels(labels: Mapping[Modality, Iterable[str]]) -> LabelMap:
    """Make the map that labels call for by themselves.

    Labels spelt alike in every modality map to each other; image labels of You et al. map to the music labels of
    AudioSet as in Emo-CLIM.

    Parameters
    ----------
    labels
        The labels that occur, by modality.

    Raises
    ------
    ManifestError
        A label has no partner and is in no known taxonomy, or no two labels meet.

    Examples
    --------
    >>> match_labels({"image": ["fear", "sadness"], "audio": ["scary", "sad"]}).maps["image"]
    {'fear': 'scary', 'sadness': 'sad'}
    """
    found = {modality: set(names) for modality, names in labels.items()}
    named = {
        modality: {label: _class_name(label, found.values()) for label in sorted(names)}
        for modality, names in found.items()
    }
    common = set.intersection(*(set(names.values()) for names in named.values()))
    for modality, names in named.items():
        strange = [label for label, name in names.items() if name not in common and label not in EMOTIONS]
        if strange:
            others = (f"{one}: {', '.join(sorted(own))}" for one, own in found.items() if one != modality)
            raise ManifestError(
                f"no class is known for {modality} label {', '.join(map(repr, strange))}: it is in no known taxonomy, "
                f"and has no partner in {'; '.join(others)}; correct it, give a label map, or leave labels that "
                "are no emotions out (extract --unlabelled)"
            )
    if not common:
        raise ManifestError("the labels of the modalities have no class in common; give a label map")
    order = list(PARTNERS.values())
    classes = sorted(common, key=lambda name: (order.index(name) if name in order else len(order), name))
    maps = {
        modality: {label: name if name in common else None for label, name in names.items()}
        for modality, names in named.items()
    }
    return LabelMap(tuple(classes), maps)


def _class_name(label: str, found: Iterable[set[str]]) -> str:
    """Return a label's published partner, unless all modalities spell it alike or it has none: then itself."""
    return label if all(label in names for names in found) else PARTNERS.get(label, label)


def known_emotions() -> frozenset[str]:
    """Collect the labels of every known taxonomy and of every published map."""
    maps = [read_tables(Path(name)) for name in label_map_names()]
    return EMOTIONS.union(*(table for tables in maps for table in tables.values()))


def read_label_map(path: Path, labels: Mapping[Modality, Iterable[str]]) -> LabelMap:
    """Read a map that gives each label one class, from a TOML file or a published one by its name.

    ``[image]`` then ``excitement = "exciting"``; an empty string leaves a label out, and so does an empty list.
    """
    tables = read_tables(path, labels)
    maps: dict[Modality, dict[str, str | None]] = {}
    for modality in labels:
        table = tables[modality]
        if several := [label for label, given in table.items() if given and not isinstance(given, str)]:
            raise ManifestError(
                f"label map {path} gives {modality} label {several[0]} a list of classes: it says what is relevant, "
                "not what to train on; give one class for each label, or take an objective "
                "that keeps the labels of each modality, such as triplet"
            )
        maps[modality] = {label: given or None for label, given in table.items() if isinstance(given, str)}
    named: list[set[str]] = [{name for name in table.values() if name} for table in maps.values()]
    if single := sorted(named[0].union(*named) - named[0].intersection(*named)):
        raise ManifestError(
            f"label map {path} gives class {single[0]!r} to one modality only; give it to each or to none"
        )
    if not any(named):
        raise ManifestError(f"label map {path} leaves every label out; give at least one class")
    ordered = [name for table in maps.values() for name in table.values() if name]
    return LabelMap(tuple(dict.fromkeys(ordered)), maps)
