"""What the extended paper shows, and of which encoders each line is.

An encoder of the paper is a role: another one may stand in for it, which is told wherever its numbers are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

from emoclim.config import encoder_preset
from emoclim.data import Setting
from emoclim.encoders import find_encoder
from emoclim.errors import ConfigError, EncoderError
from emoclim.modality import Modality
from emoclim.pipeline.encoder_choice import EncoderChoice
from emoclim.pipeline.tagging.tag import TaggingConfig
from emoclim.pipeline.tagging.tagging_result import On

Target = Literal["table1", "table2", "table3", "table4", "table5", "figure2"]

IMAGE_ROLE = "clip"
ROLES: Mapping[str, Modality] = MappingProxyType(
    {IMAGE_ROLE: "image", "short_chunk_cnn": "audio", "harmonic_cnn": "audio", "clap": "audio"}
)


@dataclass(frozen=True, slots=True)
class PaperRow:
    """What is trained and measured for one line."""

    encoder: str  # role of the encoder of music; that of images is always the same
    frozen: bool = True  # whether only heads are trained, or the encoder with them
    on: On = "embeddings"  # what tags are found by: `"features"` are the encoder's own, which no head has a part in

    @property
    def name(self) -> str:
        """``"clap-frozen"``."""
        return f"{self.encoder}-{'features' if self.on == 'features' else 'frozen' if self.frozen else 'unfrozen'}"


SHORT, SHORT_UNFROZEN = PaperRow("short_chunk_cnn"), PaperRow("short_chunk_cnn", frozen=False)
HARMONIC, HARMONIC_UNFROZEN = PaperRow("harmonic_cnn"), PaperRow("harmonic_cnn", frozen=False)
CLAP = PaperRow("clap")

# By target: the rows, and how the paper calls each.
TARGETS: Mapping[Target, Mapping[PaperRow, str]] = MappingProxyType(
    {
        "table1": {
            SHORT: "Short-Chunk CNN (frozen)",
            SHORT_UNFROZEN: "Short-Chunk CNN (unfrozen)",
            HARMONIC: "Harmonic CNN (frozen)",
            HARMONIC_UNFROZEN: "Harmonic CNN (unfrozen)",
            CLAP: "CLAP (frozen)",
        },
        "table2": {},
        "table3": {HARMONIC: "Emo-CLIM (frozen Harmonic CNN)", CLAP: "Emo-CLIM (frozen CLAP)"},
        "table4": {
            PaperRow("clap", on="features"): "CLAP",
            HARMONIC: "Emo-CLIM (frozen Harmonic CNN)",
            HARMONIC_UNFROZEN: "Emo-CLIM (unfrozen Harmonic CNN)",
            CLAP: "Emo-CLIM (CLAP)",
        },
        "table5": {CLAP: "CLAP"},
        "figure2": {
            HARMONIC: "(a) frozen Harmonic CNN",
            HARMONIC_UNFROZEN: "(b) unfrozen Harmonic CNN",
            CLAP: "(c) frozen CLAP",
        },
    }
)

SPLITS = "The paper's splits were never published: even with its data, encoders and settings, numbers will differ."
CROPS = (
    "In training the paper takes random crops of images, where a cache holds the centre of each, and with "
    "--setting clip.views=8 so many random crops beside it."
)
FROZEN = (
    "The published code lets batch normalisations of frozen CNNs go on following the batches; here they stand still, "
    "but for: emoclim train-end-to-end --unfreeze none."
)
NOISE = (
    "The published code adds noise to crops of recordings, which the paper leaves to future work; where an encoder is "
    "trained, [augmentations] of --config does so."
)
CLIPS = "The published code ranks no clip that is shorter than an encoder's input; here that is --preset paper-code."
CHECKPOINT = (
    "The paper describes the checkpoint 630k of CLAP, and the published code loads music_speech; here that is "
    "--preset paper-code."
)
TAGGING = (
    f"Own numbers are means over {TaggingConfig().seeds} tagging heads. The paper's two supervised rows are of the "
    "split without untagged clips, the others of the one with them: their PR-AUC cannot be compared."
)

REMARKS: Mapping[Target, tuple[str, ...]] = MappingProxyType(
    {
        "table1": (SPLITS, CROPS, NOISE, CLIPS, FROZEN, CHECKPOINT),
        "table2": (),
        "table3": (SPLITS, CROPS, CLIPS, FROZEN, CHECKPOINT),
        "table4": (SPLITS, TAGGING, CROPS, NOISE, FROZEN, CHECKPOINT),
        "table5": (SPLITS, CROPS, CLIPS, CHECKPOINT),
        "figure2": (SPLITS, CROPS, NOISE, CLIPS, FROZEN, CHECKPOINT),
    }
)


def choose_rows(target: Target, names: Sequence[str]) -> dict[PaperRow, str]:
    """The rows of a target that are called so, by their own name or by that of their encoder; all if none is."""
    if target not in get_args(Target):
        raise ConfigError(f"the paper has no {target!r} that can be reproduced; take {', '.join(get_args(Target))}")
    rows = TARGETS[target]
    known = {name for row in rows for name in (row.name, row.encoder)}
    if strange := sorted(set(names) - known):
        there = f"its rows are {', '.join(row.name for row in rows)}" if rows else "it has none of encoders"
        raise ConfigError(f"{target} has no row called {', '.join(strange)}; {there}")
    return {row: title for row, title in rows.items() if not names or {row.name, row.encoder} & set(names)}


def choose_encoders(
    preset: str,
    names: Mapping[str, str],
    checkpoints: Mapping[str, Path],
    settings: Mapping[str, Mapping[str, Setting]],
) -> dict[str, EncoderChoice]:
    """The encoder of each role: the paper's own, but for what is said otherwise."""
    if strange := sorted((names.keys() | checkpoints.keys() | settings.keys()) - ROLES.keys()):
        raise ConfigError(f"the paper has no encoder {', '.join(strange)}; it has {', '.join(ROLES)}")
    choices = {}
    for role, modality in ROLES.items():
        name, file = names.get(role, role), checkpoints.get(role)
        if (takes := find_encoder(name).MODALITY) != modality:
            raise EncoderError(
                f"encoder {name!r} takes {takes}, and cannot stand in for {role}; name one of {modality}"
            )
        chosen = encoder_preset(preset, name) | dict(settings.get(role, {}))
        choices[role] = EncoderChoice(name, file.resolve() if file else None, chosen)
    return choices
