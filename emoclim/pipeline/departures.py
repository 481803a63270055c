"""In which way what is reproduced is not what the paper has: encoders, data and settings.

A miniature is what departs so far that its numbers say only that everything runs: another encoder in the place of the
paper's, a shorter training, or less than half of the data.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from emoclim.config import TrainConfig, encoder_preset, preset
from emoclim.data import VIEWS, Description, Manifest, find_dataset
from emoclim.encoders import SHARED, VIEW_SEED, has_hash, own_settings, published_file
from emoclim.learning import Augmentations, EncoderTuning
from emoclim.modality import Modality
from emoclim.pipeline.encoder_choice import EncoderChoice
from emoclim.pipeline.training import augmentations

Kind = Literal["encoder", "data", "settings"]

AS_IN_PAPER = "as in the paper, but for its splits"
WHO = "Emo-CLIM"  # counted the items of the data sets
DATASETS: Mapping[Modality, str] = MappingProxyType({"image": "deepemotion", "audio": "audioset_mood"})
TAGGING, TAGGING_SPLIT = "magnatagatune", "pons2017"
ALLOWED = frozenset({VIEWS, VIEW_SEED})  # the paper draws random crops, of which a cache holds so many
SHORTENED = ("epochs", "batches_per_epoch", "batch_size")


@dataclass(frozen=True, slots=True)
class Departure:
    """One thing that is not as in the paper."""

    kind: Kind
    told: str
    small: bool  # whether this alone makes a miniature


def mark_of(departures: Iterable[Departure]) -> str:
    """A few words for a table: ``"miniature: not the paper's encoder and settings"``."""
    found = list(departures)
    kinds = list(dict.fromkeys(one.kind for one in found))
    if not kinds:
        return AS_IN_PAPER
    listed = " and ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
    return f"{'miniature: ' if any(one.small for one in found) else ''}not the paper's {listed}"


def of_encoder(role: str, choice: EncoderChoice, preset_name: str) -> list[Departure]:
    """What an encoder has in the place of the one whose role it plays."""
    if choice.name != role:
        return [Departure("encoder", f"{choice.name} stands in for {role}", small=True)]
    found = []
    expected = own_settings(role) | dict(SHARED) | encoder_preset(preset_name, role)
    settings = {name: value for name, value in choice.settings.items() if name not in ALLOWED}
    if differing := _differing(settings, expected):
        found.append(f"{role} has {differing}")
    if choice.checkpoint is not None:
        published = published_file(role, choice.settings)
        if published.hash is None or not has_hash(choice.checkpoint, published.hash):
            found.append(f"{role} has {choice.checkpoint.name}, which is not known to be {published.file}")
    return [Departure("encoder", told, small=False) for told in found]


def of_lost(manifest: Manifest, used: Manifest) -> list[Departure]:
    """How many items of a manifest are not among those that can be used."""
    if not (lost := len(manifest.items) - len(used.items)):
        return []
    n_items = len(manifest.items)
    told = f"{lost:,} of {n_items:,} items of {manifest.source.name} cannot be used: missing, or failed to encode"
    return [Departure("data", told, small=2 * lost > n_items)]


def of_data(manifest: Manifest) -> list[Departure]:
    """How many items there are of each emotion, against the paper's."""
    published = emotions(manifest.modality)
    own = Counter(item.label for item in manifest.items if item.label is not None)
    if own == Counter(published):
        return []
    n_own, n_published = own.total(), sum(published.values())
    told = f"{manifest.source.name} has {n_own:,} labelled items, where the paper had {n_published:,}"
    if n_own == n_published:
        told += ", but not as many of each emotion"
    return [Departure("data", told, small=2 * n_own < n_published)]


def emotions(modality: Modality) -> Mapping[str, int]:
    """How many items of each emotion the paper had."""
    description: Description = find_dataset(DATASETS[modality]).DESCRIPTION
    return description.published[WHO]


def of_tagging(manifest: Manifest) -> list[Departure]:
    """How many clips each part of the split has, against the published ones, and whether the tags are those."""
    description: Description = find_dataset(TAGGING).DESCRIPTION
    published = Counter(description.split_sizes[TAGGING_SPLIT])
    own = Counter(item.split or "no split" for item in manifest.items)
    tags = {tag for item in manifest.items for tag in item.tags}
    if own == published and tags == set(description.labels):
        return []
    told = (
        f"{manifest.source.name} has {_sizes(own)} clips with {len(tags)} tags, where MagnaTagATune has "
        f"{_sizes(published)} with {len(description.labels)}"
    )
    return [Departure("data", told, small=2 * own.total() < published.total())]


def of_settings(
    config: TrainConfig, joint: tuple[EncoderTuning, Augmentations] | None, preset_name: str
) -> list[Departure]:
    """Settings of the training that are not the preset's; `joint` is None where no encoder is trained."""
    paper = preset(preset_name)
    own = config.model_dump()
    found = [differing] if (differing := _differing(own, paper.model_dump())) else []
    if joint and (differing := _differing(joint[0].model_dump(), EncoderTuning().model_dump())):
        found.append(f"encoder: {differing}")
    if joint and joint[1]:
        found.append(f"augmentations: {augmentations.describe(joint[1].model_dump(mode='json'))}")
    shorter = any(getattr(config, name) < getattr(paper, name) for name in SHORTENED)
    return [Departure("settings", f"training with {'; '.join(found)}", small=shorter)] if found else []


def _differing(own: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """``"epochs=1 (15)"``: what differs, with what was expected in brackets."""
    return ", ".join(
        f"{name}={value} ({expected[name]})" if name in expected else f"{name}={value}"
        for name, value in own.items()
        if name not in expected or expected[name] != value
    )


def _sizes(counts: Mapping[str, int]) -> str:
    names: Sequence[str] = [*(name for name in ("train", "val", "test") if name in counts), *sorted(counts)]
    return ", ".join(f"{counts[name]:,} {name}" for name in dict.fromkeys(names))
