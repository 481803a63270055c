"""Make what reads emotions of the items that a run was trained on. Used by search."""

import logging
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace

from emoclim.config import Average
from emoclim.data import ContentKeys, Item, LabelMap
from emoclim.errors import EmoclimError
from emoclim.learning import Heads
from emoclim.modality import Modality
from emoclim.pipeline.library import Library
from emoclim.pipeline.splits import labelled_items, read_splits
from emoclim.pipeline.training.trained_runs import Run
from emoclim.stages import EmotionReader

log = logging.getLogger(__name__)

READ_FROM = 200  # training and validation items of each class and modality, at most


def fit_emotion_reader(
    run: Run, trained_on: Callable[[Modality], Library], heads: Heads, average: Average, keys: ContentKeys
) -> EmotionReader | None:
    """Fit the reader of one head of a run; None where no emotion has a name.

    None too, and told, where the items that it was trained on are not at hand.
    """
    if not run.label_map.classes:  # trained on valence and arousal of items alone
        return None
    try:
        opened = {name: trained_on(name) for name in heads.specs}
        sampled = {name: _sample(library, run.label_map) for name, library in opened.items()}
        splits = read_splits(sampled, run.label_map, ("train", "val"), keys, partial=True, quiet=True)
    except EmoclimError as error:
        log.warning("no emotions are read, for want of what run %s was trained on: %s", run.folder.name, error)
        return None
    train, val = (replace(splits[name], taxonomy=heads.objective.taxonomy) for name in ("train", "val"))
    return EmotionReader.fit(train, val, heads, average)


def _sample(library: Library, label_map: LabelMap) -> Library:
    """Keep enough labelled items of each class to read emotions by, spread over the library."""
    manifest = library.manifest
    kept: list[Item] = []
    for split in ("train", "val"):
        by_class = defaultdict[int | None, list[Item]](list)
        for item in labelled_items(manifest, label_map, split):
            by_class[label_map.class_of(manifest.modality, item.label)].append(item)
        for items in by_class.values():
            kept += items[:: -(-len(items) // READ_FROM)]
    return replace(library, manifest=replace(manifest, items=tuple(kept)))
