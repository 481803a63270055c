"""`emoclim pretrain`: an encoder of sound and recordings without labels -> the encoder, by telling items from others.

By itself, of two crops of each recording, both augmented; with the cached features of another modality, of a crop and
what these show in the same seconds. What is trained above the encoder is thrown away: the run has the features as they
are in place of heads, so that tags are found by them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from typing_extensions import override

from emoclim.data import Split
from emoclim.encoders import Encoder
from emoclim.errors import ConfigError
from emoclim.learning import Banks, Branch, Heads, IdentityBank, WindowEncoder, make_objective
from emoclim.modality import Modality
from emoclim.pipeline.library import Library
from emoclim.pipeline.run import Resources
from emoclim.pipeline.training.config import EndToEndConfig, PretrainConfig
from emoclim.pipeline.training.end_to_end.crops import of_waveforms
from emoclim.pipeline.training.end_to_end.encoder_result import EncoderResult
from emoclim.pipeline.training.end_to_end.train_end_to_end import Material, TrainEndToEnd
from emoclim.pipeline.training.inputs import EndToEndInputs
from emoclim.pipeline.workspace import FEATURES_FILE, Workspace
from emoclim.stages import LabelledItems, LiveModality


@dataclass(frozen=True, kw_only=True)
class PretrainedEncoder(EncoderResult):
    """What one `emoclim pretrain` did: losses, and an encoder."""

    heads_file: ClassVar[str] = FEATURES_FILE
    command: ClassVar[str] = "pretrain"
    before: ClassVar[str] = "before you find tags or train heads"
    measured: ClassVar[bool] = False

    @property
    @override
    def heads(self) -> Heads:
        """The features of the encoder as they are: the projector is thrown away."""
        ((modality, _),) = self.trained.items()
        spec = self.libraries[modality].note.spec
        banks = Banks({modality: IdentityBank(1, spec.dim)}, {modality: Branch(modality, unit=False)})
        return Heads(banks, {modality: spec}, make_objective(self.inputs.objective.name, (modality,), [{}]))

    @override
    def table_rows(self) -> list[tuple[str, ...]]:
        (line,) = self.report.lines
        return [("best epoch", "validation loss"), (f"{line.best_epoch + 1} of {line.epochs}", f"{line.val_loss:.4f}")]

    @override
    def ending(self, command: str) -> list[str]:
        early = [f"stopped early; go on with: emoclim {command} --resume {self.folder.name}"] * self.interrupted
        return [*early, f"run: {self.folder}"]


class Pretrain(TrainEndToEnd):
    """Train an encoder of sound by contrast, without labels."""

    name, config, result = "pretrain", PretrainConfig, PretrainedEncoder

    @override
    def inputs(self, config: EndToEndConfig, resources: Resources, known: Mapping[str, Any]) -> EndToEndInputs:
        if len(config.encoders) != 1:
            raise ConfigError("pretraining takes one encoder; name one with --encoder")
        if config.tuning.unfreeze == "none":
            raise ConfigError("pretraining leaves nothing but the encoder, so unfreeze some of it: all, or say after:4")
        inputs = super().inputs(config, resources, known)
        (live,) = inputs.encoders
        return replace(inputs, libraries={**inputs.libraries, **_partners(inputs.libraries, live)})

    @override
    def named(self, encoders: Mapping[Modality, Encoder]) -> Mapping[Modality, str]:
        of_waveforms(encoders, "to cut crops from; take an encoder of sound")
        return dict.fromkeys(encoders, "")

    @override
    def place(self, config: EndToEndConfig, inputs: EndToEndInputs, workspace: Workspace, name: str | None) -> Path:
        names = [inputs.libraries[modality].note.spec.name for modality in (*inputs.cached, *inputs.encoders)]
        return workspace.claim_run(name, f"{'-'.join(names)}-pretrained")

    @override
    def prepare(self, config: EndToEndConfig, inputs: EndToEndInputs, resources: Resources) -> Material:
        material = super().prepare(config, inputs, resources)
        (crops,) = of_waveforms(inputs.encoders, "").values()
        windows = [
            _windows(modality, inputs, material.splits, crops.segment_seconds, config.base.seed)
            for modality in inputs.cached
        ]
        bare = {name: replace(split, features={}) for name, split in material.splits.items()}
        return replace(material, splits=bare, live=[*material.live, *windows])


def _partners(libraries: Mapping[Modality, Library], live: Modality) -> dict[Modality, Library]:
    """Put items of the other modality, if there is one, into the splits of those that they belong with."""
    splits = {item.pair or item.id: item.split for item in libraries[live].manifest.items}
    found = {}
    for name in libraries.keys() - {live}:
        manifest = libraries[name].manifest
        items = (replace(item, split=splits.get(item.pair or item.id, item.split)) for item in manifest.items)
        found[name] = replace(libraries[name], manifest=replace(manifest, items=tuple(items)))
    return found


def _windows(
    modality: Modality, inputs: EndToEndInputs, splits: Mapping[str, Split], crop_seconds: float, seed: int
) -> LiveModality:
    """Let a cached modality be read as windows, in place of single segments."""
    tables = {name: split.features[modality] for name, split in splits.items()}
    by_id = {item.id: item for item in inputs.libraries[modality].manifest.items}
    train, val = (
        LabelledItems(
            [by_id[id_] for id_ in tables[name].ids], split.labels[modality], pairs=(split.pairs or {})[modality]
        )
        for name, split in splits.items()
    )
    return LiveModality(WindowEncoder.of(tables, crop_seconds, seed), train, val)
