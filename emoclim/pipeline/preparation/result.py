"""Hold a manifest that was prepared, and show what is in it, what was left out, and what was published of both."""

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim import __version__
from emoclim.data import SPLITS, Description, Item, LeftOut, Option, as_utf8
from emoclim.modality import Modality

SCHEMA = 1
SHOWN = 8
PLACES = frozenset({"root"})  # options that say where something lies


def account_path(manifest: Path) -> Path:
    """Return where the account of a manifest lies."""
    return manifest.with_name(f"{manifest.name}.prepared.json")


@dataclass(frozen=True, slots=True)
class PreparedManifest:
    """A manifest that was written, and what there is to say of it."""

    dataset: str
    folder: Path
    path: Path
    description: Description
    modality: Modality
    options: Mapping[str, Option]  # of the data set, as they were given
    split: str
    seed: int | None  # that the split was made with; None where it was not made
    items: tuple[Item, ...]  # with their splits and groups, sorted by id
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]
    changed: bool = True  # whether the manifest was written; it was there already otherwise, as it should be

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        places = {"manifest": str(self.path), "account": str(account_path(self.path))}
        return places | {"changed": self.changed} | self.account()

    def account(self) -> dict[str, Any]:
        """Return what stands beside the manifest."""
        return {
            "schema": SCHEMA,
            "emoclim": __version__,
            "dataset": self.dataset,
            "folder": self._from_here(self.folder),
            "options": {
                name: self._from_here(Path(str(value))) if name in PLACES and value is not None else value
                for name, value in self.options.items()
            },
            "modality": self.modality,
            "licence": self.description.licence,
            "citation": self.description.citation,
            "split": self.split,
            "seed": self.seed,
            "items": len(self.items),
            "labels": {label: _by_split(counts) for label, counts in self.labels().items()},
            "published": {who: dict(counts) for who, counts in self.description.published.items()},
            "splits": _by_split(self.sizes()),
            "published_splits": dict(self.description.split_sizes.get(self.split, {})),
            "left_out": [one._asdict() | {"id": as_utf8(one.id)} for one in self.left_out],
            "notes": list(map(as_utf8, self.notes)),
        }

    def _from_here(self, place: Path) -> str:
        """Return where something lies, seen from the manifest."""
        return Path(
            os.path.relpath(os.path.realpath(place.expanduser()), os.path.realpath(self.path.parent))
        ).as_posix()

    def labels(self) -> dict[str, Counter[str]]:
        """Count the items by label, or by tag where there are no labels, then by split; "" is none."""
        found: dict[str, Counter[str]] = {label: Counter() for label in self.description.labels}
        for item in self.items:
            for label in (item.label,) if item.label is not None else item.tags:
                found.setdefault(label, Counter())[item.split or ""] += 1
        order = list(self.description.labels) or sorted(found)
        return {label: found[label] for label in order + sorted(found.keys() - set(order))}

    def sizes(self) -> Counter[str]:
        """Count the items by split; those in none are ""."""
        return Counter(item.split or "" for item in self.items)

    def table_rows(self) -> list[tuple[str, ...]]:
        """Return a row of column names, then one row per label, and their sum."""
        published, sizes = self.description.published, self.sizes()
        parts = [split for split in SPLITS if sizes[split]]
        rows = [("label", "found", *published, *parts)]
        for label, counts in self.labels().items():
            known = (_number(who.get(label)) for who in published.values())
            rows.append((label, _number(counts.total()), *known, *(_number(counts[part]) for part in parts)))
        tagged = any(item.tags for item in self.items)  # many tags to an item: their sum is not the number of items
        totals = (_number(None if tagged else sum(who.values())) for who in published.values())
        rows.append(("all items", _number(len(self.items)), *totals, *(_number(sizes[part]) for part in parts)))
        if official := self.description.split_sizes.get(self.split):
            whole = sum(official.values()) if len(official) == len(SPLITS) else None
            sizes_known = (_number(official.get(part)) for part in parts)
            rows.append((f"{self.split}, published", _number(whole), *[""] * len(published), *sizes_known))
        return rows

    def summary(self) -> list[str]:
        """Return a few sentences for a reader, after the table."""
        lines = [f"{self.path}: {note}" for note in self.notes]
        reasons = Counter((one.kind, one.reason) for one in self.left_out)
        first = {(one.kind, one.reason): one.id for one in reversed(self.left_out)}
        for (kind, reason), count in reasons.most_common(SHOWN):
            example = first[kind, reason] + (", for one" if count > 1 else "")
            lines.append(f"left out: {count:,} {kind}, {reason} ({example})")
        if len(reasons) > SHOWN:
            lines.append(f"and more, for {len(reasons) - SHOWN} other reasons")
        state = "written" if self.changed else "there already, and as it should be"
        lines.append(f"{self.path}: {len(self.items):,} items, split {self.split}; {state}")
        return [*lines, f"all that was left out, and every number: {account_path(self.path)}"]


def _by_split(counts: Mapping[str, int]) -> dict[str, int]:
    return {split: counts[split] for split in (*SPLITS, "") if counts[split]}


def _number(count: int | None) -> str:
    return "" if count is None else f"{count:,}"
