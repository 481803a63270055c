"""Describe the data sets that can be prepared, and what each needs (`emoclim prepare --list` and `--explain`)."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from emoclim.data import GIVEN, Description, Option, dataset_names, find_dataset, own_options


@dataclass(frozen=True, slots=True)
class ExplainedDataset:
    """What there is to know of a data set before it is prepared."""

    name: str
    description: Description
    options: Mapping[str, tuple[Option, str]]  # those it takes: default, and what it means

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        options = {key: {"default": default, "means": means} for key, (default, means) in self.options.items()}
        return {"name": self.name} | asdict(self.description) | {"options": options}

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        known = self.description
        default = known.default_split if known.source else f"{GIVEN}, if it is split already, or {known.default_split}"
        lines = [
            ("takes", known.modality or "what the files are"),
            *(("in folder", layout) for layout in known.layouts),
            ("from", known.source),
            ("licence", known.licence),
            ("cite", known.citation),
            ("labels", ", ".join(known.labels)),
        ]
        for name, how in known.splits.items():
            sizes = ", ".join(f"{part} {size:,}" for part, size in known.split_sizes.get(name, {}).items())
            lines.append(("split", f"{name}: {how}{f' ({sizes})' if sizes else ''}"))
        lines.append(("by default", default))
        lines += [("counted", f"{who}: {sum(of.values()):,} labels") for who, of in known.published.items()]
        return [f"{self.name}: {known.about}", known.what, *(f"  {name:<12}{text}" for name, text in lines if text)]

    def option_rows(self) -> list[tuple[str, ...]]:
        """Return a row of column names, then one row per option."""
        rows = [(name, "" if one is None else str(one), means) for name, (one, means) in self.options.items()]
        return [("option", "default", "means"), *rows]


def explain_datasets() -> tuple[ExplainedDataset, ...]:
    """Describe all data sets, by name."""
    return tuple(explain_dataset(name) for name in dataset_names())


def dataset_rows(datasets: Sequence[ExplainedDataset]) -> list[tuple[str, ...]]:
    """Return a row of column names, then one row per data set."""
    rows: list[tuple[str, ...]] = [("data set", "takes", "what it is", "splits", "licence")]
    for one in datasets:
        known = one.description
        splits = ", ".join(dict.fromkeys([*known.splits, known.default_split]))
        rows.append((one.name, known.modality or "any", known.about, splits, known.licence))
    return rows


def explain_dataset(name: str) -> ExplainedDataset:
    """Describe a data set; reads no file."""
    known: Description = find_dataset(name).DESCRIPTION
    options = {option: (default, known.options.get(option, "")) for option, default in own_options(name).items()}
    return ExplainedDataset(name, known, options)
