"""`emoclim evaluate --tagging`: a run and a manifest with tags -> a report, as JSON, as tables and as pictures.

The files lie in ``runs/<run>/tagging/<manifest>``; other than by default, the name goes on with what differs:
``tagging-features-head-2-5-seeds``. Beside it, ``<name>.unfinished`` keeps what each finished head gave until the end.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import torch

from emoclim.cache import CacheManifest, manifest_digest, portable_path
from emoclim.data import SPLITS, ContentKeys, groups_of
from emoclim.encoders import file_hash
from emoclim.errors import CacheError, ManifestError, RunError
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.encoders import contamination
from emoclim.pipeline.run import UNFINISHED, Means, Step, Work, digest_of
from emoclim.pipeline.tagging.config import TaggingConfig
from emoclim.pipeline.tagging.tagged_items import Tagged, keys_of, read_tagged
from emoclim.pipeline.tagging.tagging_result import TaggingResult, left_out
from emoclim.pipeline.training.trained_runs import Run, open_run, trained_library, trained_note
from emoclim.pipeline.workspace import HEADS_FILE, Workspace, choose_device, few_threads
from emoclim.reports import Trained
from emoclim.stages import embedded, tag

log = logging.getLogger(__name__)

THREADS = 2  # more gain nothing on heads so small


@dataclass(frozen=True, slots=True)
class TaggingInputs:
    """A run, and tagged items with their features."""

    run: Run
    note: CacheManifest  # of the cache of the features
    read: Tagged
    groups: Mapping[str, tuple[str, ...]]  # of tags
    contents: Mapping[str, str]  # by item, its key in the cache
    warnings: tuple[str, ...]  # why the numbers may mislead

    @property
    def noted(self) -> dict[str, Any]:
        """What a plan notes."""
        return {
            "the heads": file_hash(self.run.folder / HEADS_FILE),
            "the features": self.note.spec.to_dict(),
            "the manifest": manifest_digest(self.read.manifest),
            "the contents of the files": digest_of(self.contents),
            "the groups of tags": self.groups,
        }


class Tag(Step[TaggingConfig, TaggingInputs, TaggingResult]):
    """Train tag heads on what a run makes of a modality, and report how well they find the tags of a split."""

    name, config = "evaluate --tagging", TaggingConfig

    def inputs(self, config: TaggingConfig, means: Means, known: Mapping[str, Any]) -> TaggingInputs:  # noqa: ARG002 - of the contract
        """Open the run and read the tagged items."""
        workspace = means.workspace
        run = open_run(workspace, config.run)
        note = trained_note(workspace, run, _tagged_modality(run))
        keys = ContentKeys(workspace.caches / "content.json")
        # Absolute, so that nothing that is told of it depends on the current folder.
        source = (config.manifest or workspace.root / "data" / "tagging.csv").absolute()
        read = read_tagged(source, note, keys, seed=config.seed, untagged=not config.drop_untagged)
        contents = keys_of(read.items, note, keys)
        warnings = (*_warnings(note, read, config, contents), *_learnt(workspace, run, note, read, config, keys))
        keys.save()
        for warning in warnings:
            log.warning(warning)
        return TaggingInputs(run, note, read, groups_of(read.tags, config.tag_groups), contents, warnings)

    def place(self, config: TaggingConfig, inputs: TaggingInputs, workspace: Workspace, name: str | None) -> Path:  # noqa: ARG002
        """Return the folder of the report, in that of the run."""
        return inputs.run.folder / "tagging" / config.variant(inputs.read.manifest.name)

    def work_folder(self, folder: Path) -> Path:
        """Return a folder beside that of the report, which may hold an older one."""
        return folder.with_name(f"{folder.name}.{UNFINISHED}")

    def run(self, config: TaggingConfig, inputs: TaggingInputs, work: Work) -> TaggingResult:
        """Train the tag heads that are not kept yet, and measure all."""
        device, read = choose_device(work.means.device), inputs.read
        features = read.features.to(device)
        parts = read.splits(features if config.on == "features" else embedded(features, inputs.run.head(config.head)))

        def keep(fraction: float, seed: int, make: Callable[[], Trained]) -> Trained:
            name = f"{fraction!r}-{seed}"
            if kept := work.read(name):
                n_train, n_unseen, best_epoch = kept["numbers"].tolist()
                return Trained(fraction, seed, n_train, n_unseen, best_epoch, kept["probabilities"])
            one = make()
            numbers = torch.tensor([one.n_train, one.n_unseen, one.best_epoch])
            work.keep(name)({"probabilities": one.probabilities, "numbers": numbers})
            return one

        with few_threads(THREADS):
            report = tag(
                parts["train"],
                parts["val"],
                parts[config.split],
                read.tags,
                seeds=range(config.seed, config.seed + config.seeds),
                fractions=config.fractions,
                aggregate=config.aggregate,
                shuffle=config.shuffle,
                groups=inputs.groups,
                n_resamples=config.resamples,
                config=config.base,
                device=device,
                track=work.means.track,
                keep=keep,
            )
        return TaggingResult(
            run=inputs.run.folder.name,
            head=inputs.run.chosen if config.head is None else config.head,
            on=config.on,
            split=config.split,
            manifest={
                "path": portable_path(read.manifest.source, inputs.note.path),
                "digest": manifest_digest(read.manifest),
            },
            items={name: len(part.inputs) for name, part in parts.items()},
            untagged=read.bare,
            untagged_kept=not config.drop_untagged,
            report=report,
            folder=work.run,
            warnings=inputs.warnings,
            plots=config.plots,
        )


def _tagged_modality(run: Run) -> Modality:
    """Return the modality of a run whose items have a length, which tags are of, or its last one."""
    present = [modality for modality in MODALITIES if modality in run.heads.specs]
    timed = [modality for modality in present if MODALITIES[modality].timed]
    if not present:
        raise RunError(f"run {run.folder.name} has no heads to tag by; name another run")
    return (timed or present[::-1])[0]


def _warnings(note: CacheManifest, read: Tagged, config: TaggingConfig, contents: Mapping[str, str]) -> list[str]:
    """Say what a reader of the numbers should know about the data behind them."""
    name = read.manifest.source.name
    found = [told] if (told := contamination(note.spec, replace(read.manifest, source=Path(name)))) else []
    if config.split == "val":
        found.append(
            "the val items also decide when a training ends: numbers on them are better than on items never seen"
        )
    if read.unlearnt:
        found.append(left_out(read.unlearnt, "no training item"))
    by_split = {
        part: {contents[item.id] for item in read.items if item.split == part and item.id in contents}
        for part in SPLITS
    }
    both = [(len(by_split[one] & by_split[other]), one, other) for one, other in combinations(SPLITS, 2)]
    if torn := ", ".join(f"{number} in {one} and {other}" for number, one, other in both if number):
        found.append(f"{name} has the same content in several splits ({torn}): the numbers may be too good")
    return found


def _learnt(
    workspace: Workspace, run: Run, note: CacheManifest, read: Tagged, config: TaggingConfig, keys: ContentKeys
) -> list[str]:
    """Say whether the heads that embed have seen the items they are asked about."""
    if config.on != "embeddings":
        return []
    try:
        library = trained_library(workspace, run, note.spec.modality)
    except (CacheError, ManifestError):  # the run's own manifest may be gone
        return []
    seen = keys_of((item for item in library.manifest.items if item.split in ("train", "val")), note, keys)
    asked = keys_of((item for item in read.items if item.split == config.split), note, keys)
    if not (both := len(set(seen.values()) & set(asked.values()))):
        return []
    return [
        f"{both} of {len(asked)} {config.split} items of {read.manifest.source.name} were in the training of "
        f"run {run.folder.name}: its embeddings have seen them"
    ]
