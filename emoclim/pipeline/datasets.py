"""`emoclim prepare --list` and `--explain`: what data sets there are, and what each needs."""

import inspect
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from emoclim.data import GIVEN, Description, Option, dataset_names, find_dataset, own_options


@dataclass(frozen=True, slots=True)
class ExplainedDataset:
    """What there is to know of a data set before it is prepared."""

    name: str
    about: str  # the first line of its module, in words
    description: Description
    options: Mapping[str, Option]  # those it takes, with their defaults
    told: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        options = {key: {"default": value, "means": self.told[key]} for key, value in self.options.items()}
        return {"name": self.name, "about": self.about} | asdict(self.description) | {"options": options}

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        known = self.description
        lines = [f"{self.name}: {self.about}", known.what]
        lines += [f"  takes       {known.modality or 'images or audio'}"]
        lines += [f"  in folder   {layout}" for layout in known.layouts]
        told = {
            "from": known.source,
            "licence": known.licence,
            "cite": known.citation,
            "labels": ", ".join(known.labels),
        }
        lines += [f"  {name:<12}{text}" for name, text in told.items() if text]
        for name, how in known.splits.items():
            sizes = ", ".join(f"{part} {size:,}" for part, size in known.split_sizes.get(name, {}).items())
            lines.append(f"  split       {name}: {how}{f' ({sizes})' if sizes else ''}")
        default = known.default_split if known.source else f"{GIVEN}, if it is split already, or {known.default_split}"
        lines.append(f"  by default  {default}")
        for who, counts in known.published.items():
            lines.append(f"  counted     {who}: {sum(counts.values()):,} labels")
        return lines

    def option_rows(self) -> list[tuple[str, ...]]:
        """A row of column names, then one row per option."""
        return [
            ("option", "default", "means"),
            *((name, "" if value is None else str(value), self.told[name]) for name, value in self.options.items()),
        ]


@dataclass(frozen=True, slots=True)
class DatasetList:
    """All data sets, by name."""

    datasets: tuple[ExplainedDataset, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"datasets": [one.to_dict() for one in self.datasets]}

    def table_rows(self) -> list[tuple[str, ...]]:
        """A row of column names, then one row per data set."""
        rows: list[tuple[str, ...]] = [("data set", "takes", "what it is", "splits", "licence")]
        for one in self.datasets:
            known = one.description
            splits = ", ".join(
                [*known.splits, known.default_split] if known.default_split not in known.splits else known.splits
            )
            rows.append((one.name, known.modality or "either", one.about, splits, known.licence))
        return rows


def list_datasets() -> DatasetList:
    """Describe all data sets."""
    return DatasetList(tuple(explain_dataset(name) for name in dataset_names()))


def explain_dataset(name: str) -> ExplainedDataset:
    """Describe a data set; reads no file."""
    found = find_dataset(name)
    about = " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split())
    told, options = _told(inspect.getdoc(found.prepare) or ""), own_options(name)
    return ExplainedDataset(
        name, about, found.DESCRIPTION, options, {option: told.get(option, "") for option in options}
    )


def _told(docstring: str) -> dict[str, str]:
    """What a docstring says of each parameter."""
    _, _, rest = docstring.partition("\nParameters\n----------\n")
    told: dict[str, str] = {}
    names: list[str] = []
    for line in rest.partition("\n\n")[0].splitlines():
        if line.startswith(" "):
            told |= {name: f"{told.get(name, '')} {line.strip()}".strip() for name in names}
        else:
            names = line.split(", ")
    return told
