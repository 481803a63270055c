"""Find how what is asked for departs from a paper, or from its code.

Used by the plan and its result. Invariant: a number is called as in the paper, or as in its code, only if nothing that
it depends on is known to differ, except splits that were never published and random crops of cached items. A
miniature differs so far that its numbers say only that everything runs: another encoder in the place of the paper's, a
shorter training, or less than half of the data.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from emoclim.config import Settings, TrainConfig
from emoclim.data import VIEWS, Description, Manifest, find_dataset
from emoclim.encoders import (
    SHARED,
    VIEW_SEED,
    Encoder,
    encoder_names,
    has_hash,
    is_published,
    own_settings,
    published_file,
)
from emoclim.learning import Augmentations, EncoderTuning
from emoclim.modality import Modality
from emoclim.pipeline.reproduction.request import EncoderChoice, ImportedFeatures, Request
from emoclim.pipeline.training.end_to_end.crops import describe
from emoclim.recipes import Data, Preset, Row

CROPPED = frozenset({VIEWS, VIEW_SEED})  # described by crop_departures
SHORTENED = ("epochs", "batches_per_epoch", "batch_size")

Kind = Literal["encoder", "data", "vectors", "settings", "splits", "crops"]
KINDS: tuple[Kind, ...] = get_args(Kind)
UNAVOIDABLE = frozenset({"splits", "crops"})  # what no one can have as in the paper


@dataclass(frozen=True, slots=True)
class Departure:
    """One thing that is not as in the paper."""

    kind: Kind
    description: str
    small: bool = False  # whether this alone makes a miniature


def mark_of(departures: Iterable[Departure], source: str) -> str:
    """Say in a few words for a table: ``"miniature: not the paper's encoder and settings"``."""
    found = list(departures)
    kinds = [kind for kind in KINDS if any(one.kind == kind for one in found)]
    listed = " and ".join(filter(None, [", ".join(kinds[:-1]), *kinds[-1:]]))
    if UNAVOIDABLE.issuperset(kinds):
        return f"as in the {source}{listed and f', but for its {listed}'}"
    return f"{'miniature: ' if any(one.small for one in found) else ''}not the {source}'s {listed}"


def encoder_departures(
    paper: str, choice: EncoderChoice, preset: Preset, papers: Mapping[str, Any] = {}
) -> list[Departure]:
    """Find what an encoder has that the paper's has not; `papers` are settings that it had in one row."""
    if choice.name != paper:
        return [Departure("encoder", f"{choice.name} stands in for {paper}", small=True)]
    if paper not in encoder_names():
        told = f"{paper} are features that were imported, and not known to be the paper's"
        return [Departure("encoder", told)] if choice.imported else []
    expected = own_settings(paper) | dict(SHARED) | preset.encoder(paper) | dict(papers)
    given = {name: value for name, value in choice.settings.items() if name not in CROPPED}
    found = [f"{paper} has {differing}"] if (differing := _differing(given, expected)) else []
    published, other = published_file(paper, choice.settings) if is_published(paper) else None, preset.files.get(paper)
    if choice.checkpoint is None and other and published:
        found.append(f"{paper} has {published.file}, which is not {other}")
    elif choice.checkpoint is not None:
        known = published.hash if published and not other else None
        if known is None or not has_hash(choice.checkpoint, known):
            file = other or (published.file if published else "the paper's, which nobody published")
            found.append(f"{paper} has {choice.checkpoint.name}, which is not known to be {file}")
    return [Departure("encoder", one) for one in found]


def crop_departures(encoder: Encoder, data: Data) -> list[Departure]:
    """Find what of an item a training on cached features never sees, where the paper's takes crops from anywhere."""
    name, views, length = encoder.spec.name, encoder.spec.views, encoder.segment_seconds
    if not data.cropped or (length and length >= data.seconds):
        return []
    if not length:
        few = f"one of {views} crops" if views else "the centre"
        how = "" if views else f" (--setting {name}.{VIEWS}=8 keeps several)"
        return [
            Departure("crops", f"training sees {few} of each image by {name}; there, a new random one each time{how}")
        ]
    n_windows = int((data.seconds - length) / encoder.hop_seconds + 1e-9) + 1
    unheard = data.seconds - length - (n_windows - 1) * encoder.hop_seconds
    told = f"training hears one of {n_windows} windows of each {data.seconds:g} s by {name}"
    told += f", and never the last {unheard:.2f} s" if round(unheard, 2) else ""
    return [Departure("crops", f"{told}; there, a crop from anywhere each time")]


def data_departures(manifest: Manifest, usable: Manifest, data: Data) -> list[Departure]:
    """Compare how many items each label, or each part of the split, has with the paper's, and count what is lost."""
    name, n_items, n_lost = manifest.source.name, len(manifest.items), len(manifest.items) - len(usable.items)
    found = []
    if n_lost:
        lost = f"{n_lost:,} of {n_items:,} items of {name} cannot be used: missing, or failed to encode"
        found.append(Departure("data", lost, small=2 * n_lost > n_items))
    description: Description = find_dataset(data.dataset).DESCRIPTION
    what = "split" if data.split else "label"
    known = description.split_sizes[data.split] if data.split else description.published.get(data.counted_by, {})
    published = Counter(known)
    own = Counter(value for item in usable.items if (value := item.split if data.split else item.label) is not None)
    if not data.split and not any(item.label or item.tags for item in usable.items):
        own = Counter({"": len(usable.items)})
    if data.n_items:
        published = Counter({"": data.n_items})
    if not published:
        return [*found, Departure("data", f"{name} has {own.total():,} items; how many the paper had, is not known")]
    if own != published and own.total() != data.n_items:
        other = ", but not as many of each" if own.total() == published.total() else ""
        of = "" if own.keys() == {""} else f" with a {what}"
        counted = f"{name} has {own.total():,} items{of}, where the paper had {published.total():,}{other}"
        found.append(Departure("data", counted, small=2 * own.total() < published.total()))
    tags = {tag for item in usable.items for tag in item.tags}
    if data.split and tags != set(description.labels):
        tagged = f"{name} has {len(tags)} tags, and not the {len(description.labels)} that the paper had"
        found.append(Departure("data", tagged))
    return found


def split_departures(manifest: Manifest, data: Data) -> list[Departure]:
    """Say that splits are not the paper's, which can only be had where it took published ones."""
    told = f"{manifest.source.name} has splits of its own; those of the paper were never published"
    return [] if data.split else [Departure("splits", told)]


def matching_departures(request: Request) -> list[Departure]:
    """Say which labels and which items meet, where those are not the paper's."""
    found = []
    if request.label_map is not None:
        found.append(f"labels meet by the label map {request.label_map.stem}")
    if request.within is not None:
        found.append("each item ranks those of its own group only; there, all")
    return [Departure("settings", one) for one in found]


def vector_departures(row: Row, request: Request) -> list[Departure]:
    """Say where the vectors of labels come from: no paper's are published with it."""
    named = {"vad": request.vad and request.vad.name, "word_vectors": request.word_vectors}
    if not row.vectors or (given := named[row.vectors]) is None:
        return []
    if row.vectors == "word_vectors" and not Path(given).is_file():
        return [Departure("vectors", f"{given}'s embeddings of words stand in for their vectors", small=True)]
    return [Departure("vectors", f"vectors of labels are those of {Path(given).name}")]


def settings_departures(
    config: TrainConfig,
    own: Settings,
    joint: tuple[EncoderTuning, Augmentations] | None,
    preset: Preset,
    expected: tuple[TrainConfig, Settings] | None = None,
) -> list[Departure]:
    """Find settings of the training that are not the preset's; `joint` is None where no encoder is trained."""
    paper, papers_own = expected or (preset.training, type(own)())
    found = [_differing(config.model_dump() | own.model_dump(), paper.model_dump() | papers_own.model_dump())]
    if joint:
        tuned = _differing(joint[0].model_dump(), EncoderTuning(**preset.tuning).model_dump())
        found += [f"encoder: {tuned}"] if tuned else []
        found += _differing_augmentations(joint[1], Augmentations(**preset.augmentations))
    shorter = any(getattr(config, name) < getattr(paper, name) for name in SHORTENED)
    listed = "; ".join(filter(None, found))
    return [Departure("settings", f"training with {listed}", small=shorter)] if listed else []


def row_departures(
    row: Row,
    request: Request,
    data: Mapping[str, Sequence[Departure]],
    manifests: Mapping[str, Manifest],
    encoders: Mapping[Modality, Encoder | ImportedFeatures],
) -> list[Departure]:
    """List the departures of all that the numbers of a row depend on: no heads, where these are of features."""
    recipe, preset, choices = request.recipe, request.settings, request.choices(row)
    names = [row.tags] if row.bare else [name for name in data if row.takes(name, recipe.data[name])]
    found = []
    found += [Departure("encoder", f"{name} stands in for {what}", small=True) for name, what in row.stand_ins.items()]
    for modality in {recipe.data[name].modality: None for name in names}:
        name = row.encoders[modality]
        papers = {} if request.table.own else row.settings.get(name, {})
        found += encoder_departures(name, choices[modality], preset, papers)
    for name in names:
        own = recipe.data[name]
        encoder = encoders.get(own.modality)
        # Crops are drawn anew where the encoder is trained; none are, where tag heads take means of recordings.
        anew = preset.tagging.get("aggregate") == "embeddings" if own.tagged else own.modality == row.trained
        found += [*data[name], *([] if row.crossed else split_departures(manifests[name], own))]
        if (
            encoder
            and not isinstance(encoder, ImportedFeatures)
            and encoder.spec.name == row.encoders[own.modality]
            and not anew
        ):
            found += crop_departures(encoder, own)
    if not row.bare:
        joint = request.joint(row) if row.trained else None
        found += settings_departures(*request.training(row), joint, request.preset_of(row), request.expected(row))
        found += [*matching_departures(request), *vector_departures(row, request)]
    return found + [
        Departure("settings", told) for told, rows in preset.gaps.items() if row.name in {one.name for one in rows}
    ]


def _differing_augmentations(own: Augmentations, expected: Augmentations) -> list[str]:
    if own == expected.updated(background=own.background) and bool(own.background) == bool(expected.background):
        return []
    told, others = (describe(one.model_dump(mode="json")) or "none" for one in (own, expected))
    return [f"augmentations: {told} ({others})"]


def _differing(own: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """``"epochs=1 (15)"``: what differs, with what was expected in brackets."""
    return ", ".join(
        f"{name}={value} ({expected[name]})" if name in expected else f"{name}={value}"
        for name, value in own.items()
        if name not in expected or expected[name] != value
    )
