"""`emoclim evaluate --tagging`: a run and a manifest with tags -> a report, as JSON, as a table and as pictures.

The files lie in ``runs/<run>/tagging/<manifest>``; other than by default, the name goes on with what differs:
``tagging-features-head-2-5-seeds``.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

from emoclim.cache import CacheManifest, manifest_digest, portable_path
from emoclim.data import SPLITS, ContentKeys, groups_of
from emoclim.errors import CacheError, ConfigError, ManifestError, RunError
from emoclim.learning import Aggregate, TagConfig
from emoclim.pipeline.encoders import contamination
from emoclim.pipeline.evaluation.files import text_of
from emoclim.pipeline.tag_manifests import Tagged, keys_of, read_tagged
from emoclim.pipeline.tagging_result import On, TaggingResult, left_out
from emoclim.pipeline.training.trained_runs import Run, open_run, trained_library, trained_note
from emoclim.pipeline.workspace import Workspace, choose_device, few_threads
from emoclim.progress import Track, silent
from emoclim.stages import embedded, tag

log = logging.getLogger(__name__)

THREADS = 2  # more gain nothing on heads so small
SEEDS, SEED, RESAMPLES = 3, 42, 1000


def tag_run(
    run: str | None = None,
    manifest: Path | None = None,
    *,
    on: On = "embeddings",
    aggregate: Aggregate = "probabilities",
    split: str = "test",
    seeds: int = SEEDS,
    train_fractions: Sequence[float] = (1.0,),
    shuffle: bool = False,
    untagged: bool = True,
    tag_groups: Path | None = None,
    head: int | None = None,
    n_resamples: int = RESAMPLES,
    config: TagConfig = TagConfig(),  # noqa: B008 - immutable
    plots: bool = True,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    device: str = "auto",
    seed: int = SEED,
    track: Track = silent,
) -> TaggingResult:
    """Train tagging heads on what a run makes of music, and report how well they find the tags of a split."""
    if split not in ("val", "test") or seeds < 1:
        raise ConfigError(f"tags of split {split!r} with {seeds} seeds: evaluate val or test, with one seed or more")
    opened = open_run(workspace, run)
    if "audio" not in opened.heads.specs:
        raise RunError(f"run {opened.folder.name} has no audio head; name a run that was trained on music")
    note, where = trained_note(workspace, opened, "audio"), choose_device(device)
    keys = ContentKeys(workspace.caches / "content.json")
    # Absolute, so that nothing that is told of it depends on the current folder.
    source = (manifest or workspace.root / "data" / "tagging.csv").absolute()
    read = read_tagged(source, note, keys, seed=seed, untagged=untagged)
    warnings = (*_warnings(note, read, split, keys), *(_learnt(workspace, opened, note, read, split, keys, on)))
    keys.save()
    for warning in warnings:
        log.warning(warning)
    features = read.features.to(where)
    parts = read.splits(features if on == "features" else embedded(features, opened.head(head)))
    with few_threads(THREADS):
        report = tag(
            parts["train"],
            parts["val"],
            parts[split],
            read.tags,
            seeds=range(seed, seed + seeds),
            fractions=train_fractions,
            aggregate=aggregate,
            shuffle=shuffle,
            groups=groups_of(read.tags, tag_groups),
            n_resamples=n_resamples,
            config=config,
            device=where,
            track=track,
        )
    differing = {
        split: split != "test",
        on: on != "embeddings",
        f"head-{head}": head is not None,
        f"{seeds}-seeds": seeds != SEEDS,
        f"share-{'-'.join(f'{share:g}' for share in sorted(set(train_fractions)))}": set(train_fractions) != {1.0},
        f"aggregate-{aggregate}": aggregate != "probabilities",
        "drop-untagged": not untagged,
        f"groups-{tag_groups.stem if tag_groups else None}": tag_groups is not None,
        "shuffled": shuffle,
        f"{n_resamples}-resamples": n_resamples != RESAMPLES,
        f"seed-{seed}": seed != SEED,
        **{
            f"{name.replace('_', '-')}-{value}": value != getattr(TagConfig(), name)
            for name, value in config.model_dump().items()
        },
    }
    variant = text_of("-".join([read.manifest.name, *(name for name, differs in differing.items() if differs)]))
    result = TaggingResult(
        opened.folder.name,
        opened.chosen if head is None else head,
        on,
        split,
        {"path": text_of(portable_path(source, note.path)), "digest": manifest_digest(read.manifest)},
        {name: len(part.inputs) for name, part in parts.items()},
        read.bare,
        untagged,
        report,
        opened.folder / "tagging" / variant,
        warnings,
    )
    result.write(plots)
    return result


def _warnings(note: CacheManifest, read: Tagged, split: str, keys: ContentKeys) -> list[str]:
    """What a reader of the numbers should know about the data behind them."""
    name = text_of(read.manifest.source.name)
    found = [told] if (told := contamination(note.spec, replace(read.manifest, source=Path(name)))) else []
    if split == "val":
        found.append(
            "the val items also decide when a training ends: numbers on them are better than on items never seen"
        )
    if read.unlearnt:
        found.append(left_out(read.unlearnt, "no training item"))
    contents = keys_of(read.items, note, keys)
    by_split = {
        part: {contents[item.id] for item in read.items if item.split == part and item.id in contents}
        for part in SPLITS
    }
    both = [(len(by_split[one] & by_split[other]), one, other) for one, other in combinations(SPLITS, 2)]
    if torn := ", ".join(f"{number} in {one} and {other}" for number, one, other in both if number):
        found.append(f"{name} has the same content in several splits ({torn}): the numbers may be too good")
    return found


def _learnt(
    workspace: Workspace, run: Run, note: CacheManifest, read: Tagged, split: str, keys: ContentKeys, on: On
) -> list[str]:
    """Whether the heads that embed have seen the items they are asked about."""
    if on != "embeddings":
        return []
    try:
        library = trained_library(workspace, run, "audio")
    except (CacheError, ManifestError):  # the run's own manifest may be gone
        return []
    seen = keys_of((item for item in library.manifest.items if item.split in ("train", "val")), note, keys)
    asked = keys_of((item for item in read.items if item.split == split), note, keys)
    if not (both := len(set(seen.values()) & set(asked.values()))):
        return []
    return [
        f"{both} of {len(asked)} {split} items of {text_of(read.manifest.source.name)} were in the training of "
        f"run {run.folder.name}: its embeddings have seen them"
    ]
