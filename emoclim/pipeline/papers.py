"""Compare what is found here with what papers have: their tables with own lines, and how data and settings differ.

Used by evaluations and by `emoclim reproduce`. Invariant: a number is called as in the paper only if nothing that it
depends on is known to differ. A miniature differs so far that its numbers say only that everything runs: another
encoder in the place of the paper's, a shorter training, or less than half of the data.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from emoclim.config import Settings, TrainConfig
from emoclim.data import VIEWS, Description, LabelMap, Manifest, find_dataset
from emoclim.encoders import SHARED, VIEW_SEED, has_hash, own_settings, published_file
from emoclim.learning import Augmentations, EncoderTuning
from emoclim.modality import MODALITIES
from emoclim.pipeline.encoder_choice import EncoderChoice
from emoclim.pipeline.training.encoder_inputs import describe
from emoclim.recipes import Data, Preset, find_recipe, recipe_names
from emoclim.reports import ALL, PaperLine, PaperTable, Reproduced, Results

OTHER_DATA = "All lines but those of one's own are the paper's: other data, not comparable."
AS_IN_PAPER = "as in the paper, but for its splits"
ALLOWED = frozenset({VIEWS, VIEW_SEED})  # the paper draws random crops, of which a cache holds so many
SHORTENED = ("epochs", "batches_per_epoch", "batch_size")

Kind = Literal["encoder", "data", "settings"]
KINDS: tuple[Kind, ...] = ("encoder", "data", "settings")


def class_titles(label_map: LabelMap) -> dict[str, str]:
    """``"excitement ↔ exciting"`` for each class: what the labels of each modality call it."""
    names = label_map.names()
    ordered = [names[modality].values() for modality in MODALITIES if modality in names]
    return {name: " ↔ ".join(called) for name, *called in zip(label_map.classes, *ordered, strict=True)}


def paper_tables(results: Results, name: str, measures: Iterable[str]) -> tuple[PaperTable, ...]:
    """The tables of all papers that show one of `measures` of what was measured, with lines of one's own below."""
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


@dataclass(frozen=True, slots=True)
class Departure:
    """One thing that is not as in the paper."""

    kind: Kind
    told: str
    small: bool  # whether this alone makes a miniature


def mark_of(departures: Iterable[Departure]) -> str:
    """A few words for a table: ``"miniature: not the paper's encoder and settings"``."""
    found = list(departures)
    kinds = [kind for kind in KINDS if any(one.kind == kind for one in found)]
    if not kinds:
        return AS_IN_PAPER
    listed = " and ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
    return f"{'miniature: ' if any(one.small for one in found) else ''}not the paper's {listed}"


def of_encoder(paper: str, choice: EncoderChoice, preset: Preset) -> list[Departure]:
    """What an encoder has in the place of the paper's."""
    if choice.name != paper:
        return [Departure("encoder", f"{choice.name} stands in for {paper}", small=True)]
    expected = own_settings(paper) | dict(SHARED) | preset.encoder(paper)
    given = {name: value for name, value in choice.settings.items() if name not in ALLOWED}
    found = [f"{paper} has {differing}"] if (differing := _differing(given, expected)) else []
    if choice.checkpoint is not None:
        published = published_file(paper, choice.settings)
        if published.hash is None or not has_hash(choice.checkpoint, published.hash):
            found.append(f"{paper} has {choice.checkpoint.name}, which is not known to be {published.file}")
    return [Departure("encoder", one, small=False) for one in found]


def of_data(manifest: Manifest, usable: Manifest, data: Data) -> list[Departure]:
    """How many items there are, with each label or in each part of the split, against the paper's, and what is lost."""
    name, n_items, n_lost = manifest.source.name, len(manifest.items), len(manifest.items) - len(usable.items)
    found = []
    if n_lost:
        lost = f"{n_lost:,} of {n_items:,} items of {name} cannot be used: missing, or failed to encode"
        found.append(Departure("data", lost, small=2 * n_lost > n_items))
    description: Description = find_dataset(data.dataset).DESCRIPTION
    what = "split" if data.split else "label"
    published = Counter(description.split_sizes[data.split] if data.split else description.published[data.counted_by])
    own = Counter(value for item in usable.items if (value := item.split if data.split else item.label) is not None)
    if own != published:
        other = ", but not as many of each" if own.total() == published.total() else ""
        counted = f"{name} has {own.total():,} items with a {what}, where the paper had {published.total():,}{other}"
        found.append(Departure("data", counted, small=2 * own.total() < published.total()))
    tags = {tag for item in usable.items for tag in item.tags}
    if data.split and tags != set(description.labels):
        tagged = f"{name} has {len(tags)} tags, and not the {len(description.labels)} that the paper had"
        found.append(Departure("data", tagged, small=False))
    return found


def of_settings(
    config: TrainConfig, own: Settings, joint: tuple[EncoderTuning, Augmentations] | None, preset: Preset
) -> list[Departure]:
    """Settings of the training that are not the preset's; `joint` is None where no encoder is trained."""
    paper = preset.training
    found = [_differing(config.model_dump() | own.model_dump(), paper.model_dump() | type(own)().model_dump())]
    if joint:
        tuned = _differing(joint[0].model_dump(), EncoderTuning().model_dump())
        found += [f"encoder: {tuned}"] if tuned else []
        found += [f"augmentations: {describe(joint[1].model_dump(mode='json'))}"] if joint[1] else []
    shorter = any(getattr(config, name) < getattr(paper, name) for name in SHORTENED)
    listed = "; ".join(filter(None, found))
    return [Departure("settings", f"training with {listed}", small=shorter)] if listed else []


def _differing(own: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """``"epochs=1 (15)"``: what differs, with what was expected in brackets."""
    return ", ".join(
        f"{name}={value} ({expected[name]})" if name in expected else f"{name}={value}"
        for name, value in own.items()
        if name not in expected or expected[name] != value
    )
