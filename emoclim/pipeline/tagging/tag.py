"""`emoclim evaluate --tagging`: a run and a manifest with tags -> a report, as JSON, as tables and as pictures.

The files lie in ``runs/<run>/tagging/<manifest>``; other than by default, the name goes on with what differs:
``tagging-features-head-2-5-seeds``. ``report.json``: all numbers (the same seed gives the same bytes);
``scores.parquet``: one row for each item and tag; ``tags.png`` and ``curve.png``. Beside it, ``<name>.unfinished``
keeps what each finished head gave until the end.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from typing_extensions import override

from emoclim.cache import portable_path
from emoclim.data import SPLITS, groups_of
from emoclim.encoders import choose_device
from emoclim.errors import RunError
from emoclim.files import parquet_bytes, write_bytes
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.evaluation.files import write_report
from emoclim.pipeline.evaluation.result import paper_tables
from emoclim.pipeline.machine import limit_threads
from emoclim.pipeline.run import UNFINISHED, Resources, Step, Work
from emoclim.pipeline.tagging.config import TaggingConfig
from emoclim.pipeline.tagging.inputs import TaggingInputs, left_out, read_tagged, warnings_about
from emoclim.pipeline.training.trained_runs import Run, open_run, trained_note
from emoclim.pipeline.workspace import Workspace
from emoclim.reports import PaperTable, TaggingReport, Trained, plot_curve, plot_tags, tagging_results
from emoclim.stages import embedded, tag

log = logging.getLogger(__name__)

SCHEMA = 1  # of report.json
THREADS = 2  # more gain nothing on heads so small
TAGS_PICTURE = "tags.png"


@dataclass(frozen=True, slots=True)
class TaggingResult:
    """What one `emoclim evaluate --tagging` found."""

    config: TaggingConfig
    inputs: TaggingInputs
    manifest: Mapping[str, str]  # its path, as a note beside the cache names it, and a digest of what it says
    items: Mapping[str, int]  # by split, how many items there are
    report: TaggingReport
    folder: Path  # where the files lie
    interrupted: bool = False

    @property
    def shows_curve(self) -> bool:
        """Whether other shares of the training items were learnt from than all of them."""
        return [one.fraction for one in self.report.curve] != [1.0]

    @property
    def learnt_from(self) -> str:
        """The largest share, which all numbers but the curve are of: ``"10 % of the training items (512)"``."""
        most = self.report.curve[-1]
        return f"{100 * most.fraction:.3g} % of the training items ({most.n_train})"

    @property
    def title(self) -> str:
        """What the table of the report is about."""
        control = " (control: shuffled tags)" if self.report.provenance["shuffled_tags"] else ""
        seeds = f"{n} seeds" if (n := len(self.report.seeds)) > 1 else "one seed"
        learnt = f", learnt from {self.learnt_from}" if self.shows_curve else ""
        run, asked, n_test = self.inputs.run.folder.name, self.config, self.report.n_test
        return f"Run {run}, tags from {asked.on}{control}, {n_test} {asked.split} items, {seeds}{learnt}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        config, inputs = self.config, self.inputs
        return {
            "schema": SCHEMA,
            "run": inputs.run.folder.name,
            "head": inputs.run.chosen if config.head is None else config.head,
            "on": config.on,
            "split": config.split,
            "manifest": self.manifest,
            "items": dict(self.items),
            "untagged": {"kept": not config.drop_untagged, **inputs.read.bare},
            "warnings": list(inputs.warnings),
            **self.report.to_dict(),
        }

    def summary(self) -> list[str]:
        """Return a few sentences for a reader."""
        sizes = ", ".join(f"{self.items[split]} {split}" for split in SPLITS)
        bare = self.inputs.read.bare
        lines = [f"{self.inputs.read.manifest.source.name}: {sizes} items, {len(self.report.tags)} tags"]
        if self.shows_curve:
            lines.append(f"tables of all tags, groups and single tags are of heads that learnt from {self.learnt_from}")
        if any(bare.values()):
            counts = ", ".join(f"{bare[split]} {split}" for split in SPLITS)
            fate = "are left out" if self.config.drop_untagged else "count, as negatives of every tag"
            lines.append(f"items without any tag ({counts}) {fate}; numbers with and without them cannot be compared")
        macro = self.report.macro
        if macro.without_average_precision:
            lines.append(left_out(macro.without_average_precision, "no positive item to be found"))
        if other := set(macro.without_roc_auc) - set(macro.without_average_precision):
            lines.append(left_out(sorted(other), "only positive items (ROC-AUC)"))
        pictures = " and pictures" if (self.folder / TAGS_PICTURE).is_file() else ""
        return [*lines, f"Numbers{pictures} are in {self.folder}"]

    def paper_tables(self) -> tuple[PaperTable, ...]:
        """Return the papers' tables of tagging with this result in them."""
        differing = {
            f"{self.config.split} items": self.config.split != "test",
            "shuffled tags": self.report.provenance["shuffled_tags"],
            self.learnt_from: self.shows_curve,
        }
        name = ", ".join(
            [self.inputs.read.manifest.source.name, self.config.on, *(what for what, told in differing.items() if told)]
        )
        return paper_tables(tagging_results(self.report), name, ("tagging",))

    def write(self) -> None:
        """Write ``report.json``, ``scores.parquet`` and the pictures."""
        write_report(self.folder, self.to_dict())
        write_bytes(self.folder / "scores.parquet", parquet_bytes(_score_columns(self.report)))
        if self.config.plots:
            plot_tags(self.report, self.folder / TAGS_PICTURE)
            if len(self.report.curve) > 1:
                plot_curve(self.report, self.folder / "curve.png")


class Tag(Step[TaggingConfig, TaggingInputs, TaggingResult]):
    """Train tag heads on what a run makes of a modality, and report how well they find the tags of a split."""

    name, config = "evaluate --tagging", TaggingConfig

    @override
    def inputs(self, config: TaggingConfig, resources: Resources, known: Mapping[str, Any]) -> TaggingInputs:
        """Open the run and read the tagged items."""
        workspace = resources.workspace
        run = open_run(workspace, config.run)
        note = trained_note(workspace, run, _tagged_modality(run))
        keys = workspace.content_keys()
        # Absolute, so that nothing that is told of it depends on the current folder.
        source = (config.manifest or workspace.root / "data" / "tagging.csv").absolute()
        read = read_tagged(source, note, keys, seed=config.seed, untagged=not config.drop_untagged)
        contents, warnings = warnings_about(workspace, run, note, read, config, keys)
        keys.save()
        for warning in warnings:
            log.warning(warning)
        return TaggingInputs(run, note, read, groups_of(read.tags, config.tag_groups), contents, tuple(warnings))

    @override
    def place(self, config: TaggingConfig, inputs: TaggingInputs, workspace: Workspace, name: str | None) -> Path:
        """Return the folder of the report, in that of the run."""
        return inputs.run.folder / "tagging" / config.variant(inputs.read.manifest.name)

    @override
    def how_to_continue(self, folder: Path) -> str:
        """Name the command itself, which goes on with what it has begun."""
        return "run the same command again"

    @override
    def work_folder(self, folder: Path) -> Path:
        """Return a folder beside that of the report, which may hold an older one."""
        return folder.with_name(f"{folder.name}.{UNFINISHED}")

    def run(self, config: TaggingConfig, inputs: TaggingInputs, work: Work) -> TaggingResult:
        """Train the tag heads that are not kept yet, and measure all."""
        device, read = choose_device(work.resources.device), inputs.read
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

        with limit_threads(THREADS):
            report = tag(
                parts["train"],
                parts["val"],
                parts[config.split],
                read.tags,
                seeds=range(config.seed, config.seed + config.seeds),
                fractions=config.fractions,
                protocol=config,
                shuffle=config.shuffle,
                groups=inputs.groups,
                n_resamples=config.resamples,
                config=config.training,
                device=device,
                track=work.resources.track,
                keep=keep,
            )
        manifest = {
            "path": portable_path(read.manifest.source, inputs.note.path.parent),
            "digest": read.manifest.digest(),
        }
        items = {name: len(part.inputs) for name, part in parts.items()}
        return TaggingResult(config, inputs, manifest, items, report, work.run)


def _tagged_modality(run: Run) -> Modality:
    """Return the modality of a run whose items have a length, which tags are of, or its last one."""
    present = [modality for modality in MODALITIES if modality in run.heads.specs]
    timed = [modality for modality in present if MODALITIES[modality].timed]
    if not present:
        raise RunError(f"run {run.folder.name} has no heads to tag by; name another run")
    return (timed or present[::-1])[0]


def _score_columns(report: TaggingReport) -> dict[str, Any]:
    """Make a row for each test item and tag: whether it has it, and how likely the head of each seed holds that."""
    columns: dict[str, Any] = {
        "id": [id_ for id_ in report.ids for _ in report.tags],
        "tag": list(report.tags) * len(report.ids),
        "relevant": report.relevant.flatten().numpy(),
    }
    return columns | {
        f"probability_{seed}": values.flatten().numpy()
        for seed, values in zip(report.seeds, report.probabilities, strict=True)
    }
