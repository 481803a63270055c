"""What one `emoclim train-end-to-end` did, for files and readers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim.learning import EMO_CLIM, SweepReport
from emoclim.modality import Modality
from emoclim.pipeline.augmenting import told
from emoclim.pipeline.joint_plans import TRAINED, JointPlan
from emoclim.pipeline.library import Library, library_note
from emoclim.pipeline.runs import encoding_command
from emoclim.pipeline.train_heads import SCHEMA
from emoclim.pipeline.waveforms import StoredCrops
from emoclim.pipeline.workspace import Workspace
from emoclim.stages import JointTraining


@dataclass(frozen=True, slots=True)
class JointResult:
    """What one `emoclim train-end-to-end` did."""

    folder: Path
    plan: JointPlan  # what was to be done
    # what it was trained on; the cache of the trained encoder is yet to be filled
    libraries: Mapping[Modality, Library]
    training: JointTraining  # losses, and how long it took
    report: SweepReport  # how good it is on validation: one candidate
    encoder_file: Path
    stored: StoredCrops | None  # where the crops came from; None for the files
    failures: Mapping[str, str]  # by recording, why it could not be used, as far as that was found
    workspace: Workspace

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        seconds = {"training": self.training.seconds, "waiting_for_files": self.training.waiting}
        stored = None if self.stored is None else self.stored.to_dict()
        found: dict[str, Any] = {
            "run": str(self.folder),
            "encoder": str(self.encoder_file),
            "seconds": seconds,
            "waveforms": stored,
        }
        found["failures"] = dict(self.failures)
        return found | self.settings()

    def settings(self) -> dict[str, Any]:
        """All that the run depends on and what was found, without its place; the same seed gives the same."""
        plan, training = self.plan, self.training
        (line,), (score,) = self.report.lines, self.report.scores
        return {
            "schema": SCHEMA,
            "libraries": {modality: library_note(library) for modality, library in self.libraries.items()},
            "label_map": {"classes": list(plan.label_map.classes), "maps": plan.label_map.maps},
            "features": {
                modality: (plan.start if modality == TRAINED else library.note.spec).to_dict()
                for modality, library in self.libraries.items()
            },
            "left_out": {
                modality: plan.label_map.left_out(modality, (item.label for item in library.manifest.items))
                for modality, library in self.libraries.items()
            },
            "terms": [list(term) for term in EMO_CLIM],
            "similarity": plan.similarity,
            "augmentations": plan.augmentations,
            "store": plan.store,
            "contents": plan.contents,
            "encoder_settings": dict(plan.encoder.settings),
            "heads": [
                {
                    "candidate": 0,
                    "loss_weights": list(plan.weights),
                    "config": plan.config.model_dump() | {"encoder": plan.tuning.model_dump()},
                    "best_epoch": line.best_epoch,
                    "validation": dict(line.metrics),
                    "score": score,
                }
            ],
            "kept": [0],
            "chosen": 0,
            "select": self.report.rule,
            "trained": list(training.trained),
            "processes": plan.processes,
            "interrupted": training.interrupted,
        }

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        training, tuning = self.training, self.plan.tuning
        norms = "work on batches and gather their statistics" if tuning.batchnorm == "train" else "stay as they were"
        waited = training.waiting / max(training.seconds, 1e-9)
        quicker = "the files; more --workers, or --store," if self.stored is None else "the store; more --workers"
        slowest = quicker if waited > 0.5 else "the network; a GPU, or there --precision bf16,"
        lines = [f"{modality}: {library.manifest.source}" for modality, library in self.libraries.items()]
        lines += [
            f"encoder {self.plan.encoder.name}: {len(training.trained)} parameters trained "
            f"(unfreeze {tuning.unfreeze}); batch normalisations {norms}",
            f"{training.seconds:.1f} s, {waited:.0%} of it waiting for files; slowest: {slowest} would help",
        ]
        if self.stored is not None:
            lines.append(self.stored.told())
        if self.failures:
            first, reason = next(iter(self.failures.items()))
            lines.append(f"{len(self.failures)} recordings could not be used ({first}: {reason}); --json lists them")
        if self.plan.processes > 1:
            part = "; batch normalisations saw their part of it" if tuning.batchnorm == "train" else ""
            lines.append(f"{self.plan.processes} processes shared each batch{part}")
        if self.plan.similarity:
            lines.append("similar emotions attracted each other a little")
        if self.plan.augmentations:
            lines.append(f"added to crops of training: {told(self.plan.augmentations)}")
        if training.interrupted:
            lines.append(f"stopped early; go on with: emoclim train-end-to-end --resume {self.folder.name}")
        return [
            *lines,
            f"classes: {', '.join(self.plan.label_map.classes)}",
            f"run: {self.folder}",
            f"encode the music with it before you evaluate or search: {self.next_command()}",
        ]

    def next_command(self) -> str:
        """How to encode the music with the trained encoder."""
        choice = self.plan.encoder
        manifest = self.libraries[TRAINED].manifest
        return encoding_command(
            self.workspace, TRAINED, manifest.source, choice.name, self.encoder_file, choice.settings
        )

    def table_rows(self) -> list[tuple[str, ...]]:
        """A row of column names, then the measures on validation, as those of `train-heads`."""
        return self.report.table_rows(1)
