"""Table 2 of the extended paper: which emotions of images and of music belong together, and how many items each has."""

from collections.abc import Mapping

from emoclim.data import LabelMap
from emoclim.modality import Modality
from emoclim.reports.compared import UNKNOWN, ComparedTable, Line, Number, Own
from emoclim.reports.papers import TABLE_5

Counts = Mapping[Modality, Mapping[str, int]]


def table_2(label_map: LabelMap, counts: Counts, published: Counts, marks: Mapping[Modality, str]) -> ComparedTable:
    """The paper's map with the one that labels call for by themselves."""
    partners = dict(row[0].split(" ↔ ") for row in TABLE_5)  # the same map, in the same order
    lonely = [label for label in published["image"] if label not in partners]
    lines = [
        Line(image, (music,), (f"{published['image'][image]:,}", f"{published['audio'][music]:,}"))
        for image, music in partners.items()
    ]
    lines += [Line(image, (UNKNOWN,), (f"{published['image'][image]:,}", UNKNOWN)) for image in lonely]
    known = {line.title for line in lines}
    lines += [Line(image, (), ()) for image in counts["image"] if image not in known]
    mark = marks["image"] if marks["image"] == marks["audio"] else f"images {marks['image']}; music {marks['audio']}"
    found = [
        Line(line.title, line.about, line.paper, _own_image(line.title, label_map, counts, mark)) for line in lines
    ]
    used = {label for image in counts["image"] for label in _partners(label_map, image)}
    for music, number in published["audio"].items():
        if music not in partners.values():
            own = Own(mark, (Number(None), Number(counts["audio"].get(music, 0))), (music,))
            found.append(Line(UNKNOWN, (music,), (UNKNOWN, f"{number:,}"), None if music in used else own))
    return ComparedTable(
        "Table 2: emotions of images and music",
        ("image emotion", "music emotion"),
        ("images", "music clips"),
        tuple(found),
    )


def _own_image(image: str, label_map: LabelMap, counts: Counts, mark: str) -> Own:
    music = _partners(label_map, image)
    n_music = Number(sum(counts["audio"][label] for label in music) if music else None)
    return Own(mark, (Number(counts["image"].get(image, 0)), n_music), ("/".join(music) or UNKNOWN,))


def _partners(label_map: LabelMap, image: str) -> list[str]:
    """Music labels of the class of an image label."""
    own = label_map.maps["image"].get(image)
    return sorted(label for label, name in label_map.maps["audio"].items() if own is not None and name == own)
