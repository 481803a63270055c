"""Make the run that `emoclim evaluate --words` measures, for which nothing is trained."""

from collections.abc import Mapping
from typing import Any

from emoclim.config import TrainConfig
from emoclim.encoders import wordy_encoders
from emoclim.errors import ConfigError
from emoclim.modality import BOX, MODALITIES, Modality
from emoclim.pipeline.find_caches import cache_notes
from emoclim.pipeline.machine import digest_of
from emoclim.pipeline.run import PLAN, UNFINISHED, Resources, resume, start
from emoclim.pipeline.training.config import HeadsConfig
from emoclim.pipeline.training.train_heads import TrainHeads
from emoclim.pipeline.workspace import BRIDGED, HEADS_FILE, Workspace

BRIEF = TrainConfig(epochs=1, batches_per_epoch=1, val_batches=1)  # nothing is trained


def words_run(named: Mapping[Modality, str], own: Mapping[str, Any], resources: Resources) -> str:
    """Return the name of the run that compares two libraries by words, with `own` settings; make it if there is none.

    Those are the `named` caches, and then the first modalities with labelled features by an encoder of words.
    """
    libraries = _choose(resources.workspace, named)
    step, config = TrainHeads(), HeadsConfig(objective="words", own=dict(own), libraries=libraries, base=BRIEF)
    inputs = step.inputs(config, resources, {})
    settings = [one.model_dump(mode="json") for one in inputs.objective.settings]
    encoders = "-".join(library.note.spec.name for library in inputs.libraries.values())
    name = f"{BRIDGED}{encoders}-{digest_of([settings, inputs.noted])[:8]}"
    folder = resources.workspace.runs / name
    if (folder / UNFINISHED / PLAN).is_file():
        resume(step, name, resources)
    elif not (folder / HEADS_FILE).is_file():
        start(step, config, resources, name=name)
    return name


def _choose(workspace: Workspace, named: Mapping[Modality, str]) -> dict[Modality, str]:
    """Name two caches, by modality: those that are given, then the newest that have labels and can be read by words."""
    wordy, found = wordy_encoders(), dict(named)
    for modality in MODALITIES:
        if len(found) < 2 and modality not in found:
            notes = (note for note in cache_notes(workspace, modality) if note.spec.name in wordy)
            labelled = (note for note in notes if not all(source.unlabelled for source in note.sources))
            if newest := next(labelled, None):
                found[modality] = newest.path.stem
    if len(found) < 2:
        there = f"those of {' '.join(found)}" if found else "none"
        raise ConfigError(
            f"words compare labelled features of two modalities, and {workspace.caches} has {there}; extract more, "
            f"with --encoder {BOX} or one of {', '.join(wordy)}"
        )
    return found
