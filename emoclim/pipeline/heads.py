"""`emoclim train-heads`: caches and settings -> a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from emoclim.config import TrainConfig
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Modality
from emoclim.data.taxonomy import LabelMap, match_labels, read_label_map
from emoclim.features import Split
from emoclim.heads import save_heads
from emoclim.losses import EMO_CLIM
from emoclim.pipeline.libraries import Library, labelled_library, labels_of, library_note, read_splits
from emoclim.pipeline.workspace import (
    HEADS_FILE,
    Workspace,
    choose_device,
    few_threads,
    provenance,
    write_folder,
    write_json,
)
from emoclim.progress import Track, silent
from emoclim.reports.plots import plot_history
from emoclim.stages.evaluate import evaluate
from emoclim.stages.train_heads import Training, train_heads

EVEN = (0.25, 0.25, 0.25, 0.25)
HEADS_PER_THREAD = 4  # fewer do not repay a thread of their own


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What one `emoclim train-heads` did.

    Attributes
    ----------
    folder
        The run.
    libraries
        What it was trained on.
    label_map
        Classes.
    left_out
        By modality, how many items of each label have no class.
    training
        Heads and history.
    chosen
        Index of the pair with the best validation retrieval.
    validation
        Per pair: mean reciprocal rank on validation, macro over classes, mean of the cross-modal directions.
    """

    folder: Path
    libraries: Mapping[Modality, Library]
    label_map: LabelMap
    left_out: Mapping[Modality, Mapping[str, int]]
    training: Training
    chosen: int
    validation: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"run": str(self.folder), **_settings(self)}

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        lines = [
            f"{modality}: {library.manifest.source}, features of {library.note.path.stem}"
            for modality, library in self.libraries.items()
        ]
        for modality, counts in self.left_out.items():
            if counts:
                told = ", ".join(f"{count} {label}" for label, count in counts.items())
                lines.append(f"{modality}: left out, having no partner: {told}")
        return [*lines, f"classes: {', '.join(self.label_map.classes)}", f"run: {self.folder}"]

    def table_rows(self) -> list[tuple[str, ...]]:
        """A row of column names, then one row per pair of heads; the chosen one is marked."""
        rows = [("", *(" > ".join(term) for term in self.training.terms), "best epoch", "val. MRR")]
        for k, weights in enumerate(self.training.weights.tolist()):
            mark = "chosen" if k == self.chosen else ""
            epoch = str(int(self.training.best_epoch[k]) + 1)
            rows.append((mark, *(f"{weight:g}" for weight in weights), epoch, f"{self.validation[k]:.2%}"))
        return rows


def train(
    *,
    images: str | None = None,
    audio: str | None = None,
    loss_weights: Sequence[Sequence[float]] = (EVEN,),
    config: TrainConfig = TrainConfig(),  # noqa: B008 - immutable
    label_map: Path | None = None,
    name: str | None = None,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    device: str = "auto",
    track: Track = silent,
) -> TrainingResult:
    """Train K pairs of heads on the cached features of images and music.

    Parameters
    ----------
    images, audio
        Which caches: a file's stem, an encoder or a manifest; None takes the newest.
    loss_weights
        K times the weights of the four terms: image>audio, audio>image, image>image, audio>audio.
    config
        Everything else that training depends on.
    label_map
        TOML file; None maps labels by themselves.
    name
        Of the run; None numbers it.
    workspace
        Where caches are read and the run is written.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    track
        Shows progress.

    Raises
    ------
    EmoclimError
        A cache, a manifest, the label map or a setting cannot be used.
    """
    libraries: dict[Modality, Library] = {
        "image": labelled_library(workspace, "image", images),
        "audio": labelled_library(workspace, "audio", audio),
    }
    encoders = "-".join(library.note.spec.name for library in libraries.values())
    folder = workspace.free_run(name) if name else workspace.new_run(encoders)
    labels = labels_of(libraries)
    mapping = read_label_map(label_map, labels) if label_map else match_labels(labels)
    left_out = {
        modality: mapping.left_out(modality, (item.label for item in library.manifest.items))
        for modality, library in libraries.items()
    }
    keys = ContentKeys(workspace.caches / "content.json")
    splits = read_splits(libraries, mapping, ("train", "val"), keys)
    keys.save()
    where = choose_device(device)
    with few_threads(max(1, len(loss_weights) // HEADS_PER_THREAD)):
        training = train_heads(
            splits["train"], splits["val"], EMO_CLIM, loss_weights, config, device=where, track=track
        )
    validation = tuple(_cross_modal_mrr(splits["val"], training, k, where) for k in range(len(loss_weights)))
    chosen = max(range(len(validation)), key=validation.__getitem__)
    result = TrainingResult(folder, libraries, mapping, left_out, training, chosen, validation)
    write_folder(folder, lambda aside: _write(result, aside))
    return result


def _cross_modal_mrr(split: Split, training: Training, k: int, device: torch.device) -> float:
    report = evaluate(split, training.heads.select(k), device=device)
    across = [one.metrics["MRR"] for one in report.directions.values() if one.query != one.candidate]
    return sum(across) / len(across)


def _write(result: TrainingResult, folder: Path) -> None:
    save_heads(result.training.heads, folder / HEADS_FILE)
    write_json(folder / "settings.json", _settings(result))
    write_json(folder / "history.json", result.training.history_dict())
    write_json(folder / "run.json", provenance())
    history = result.training.history
    plot_history(history.train_loss, history.val_loss, result.training.best_epoch, folder / "history.png")


def _settings(result: TrainingResult) -> dict[str, Any]:
    training = result.training
    return {
        "libraries": {modality: library_note(library) for modality, library in result.libraries.items()},
        "features": {modality: spec.to_dict() for modality, spec in training.heads.specs.items()},
        "label_map": {"classes": list(result.label_map.classes), "maps": result.label_map.maps},
        "left_out": result.left_out,
        "config": training.config.to_dict(),
        "terms": [list(term) for term in training.terms],
        "loss_weights": training.weights.tolist(),
        "best_epoch": training.best_epoch.tolist(),
        "validation_mrr": list(result.validation),
        "chosen": result.chosen,
    }
