"""Put what was found here into the tables of papers. Used by evaluations, of retrieval and of tagging."""

from collections.abc import Iterable

from emoclim.data import LabelMap
from emoclim.modality import MODALITIES
from emoclim.recipes import find_recipe, recipe_names
from emoclim.reports import ALL, PaperLine, PaperTable, Reproduced, Results

OTHER_DATA = "All lines but those of one's own are the paper's: other data, not comparable."


def class_titles(label_map: LabelMap) -> dict[str, str]:
    """``"excitement ↔ exciting"`` for each class: what the labels of each modality call it."""
    names = label_map.names()
    ordered = [names[modality].values() for modality in MODALITIES if modality in names]
    return {name: " ↔ ".join(called) for name, *called in zip(label_map.classes, *ordered, strict=True)}


def paper_tables(results: Results, name: str, measures: Iterable[str]) -> tuple[PaperTable, ...]:
    """Return the tables of all papers that show one of `measures` of what was measured, with own lines below."""
    tables = []
    for table in (table for paper in recipe_names() for table in find_recipe(paper).tables.values()):
        by_class = {title: numbers for title, numbers in results.items() if title != ALL}
        own = by_class if table.measure == "classes" else {name: results[ALL]}
        known = {key for numbers in own.values() for key in numbers}
        if table.measure in measures and known & {metric.key for metric in table.metrics}:
            lines = [PaperLine(line.title, line.cells, line.numbers) for line in table.lines]
            lines += [PaperLine(title, own=Reproduced(numbers=numbers)) for title, numbers in own.items()]
            tables.append(PaperTable(table.title, table.columns, table.metrics, lines, OTHER_DATA))
    return tuple(tables)
