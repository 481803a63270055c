"""What a run is to do: candidates, classes and features; all that its bytes depend on."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim.config import TrainConfig, loss_weights
from emoclim.data import LabelMap, class_similarity, read_valence_arousal
from emoclim.encoders import file_hash
from emoclim.errors import ConfigError
from emoclim.learning import EMO_CLIM, Candidate, Space, read_space, seeds, simplex_points
from emoclim.modality import Modality

EVEN = (0.25, 0.25, 0.25, 0.25)
TRIALS = 16  # of a study in a round, unless told otherwise


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """A study that proposes what to train."""

    storage: str  # where it lies, a URL or a file
    name: str | None  # its name; None makes one of all that its trials must share
    rounds: int  # how often it is asked, and for how many trials each time
    trials: int  # how often it is asked, and for how many trials each time
    space: Space

    def __post_init__(self) -> None:
        if not self.storage:
            raise ConfigError("--optuna needs a URL or a file")
        if self.rounds < 1 or self.trials < 1:
            raise ConfigError(f"{self.rounds} rounds of {self.trials} trials are not possible; give at least one")

    @property
    def n_heads(self) -> int:
        """Pairs of heads in a round."""
        return self.trials * len(self.space.settings.get("seed", [self.space.base.seed]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "storage": self.storage,
            "name": self.name,
            "rounds": self.rounds,
            "trials": self.trials,
            "weights": [list(row) for row in self.space.weights],
            "settings": {name: list(values) for name, values in self.space.settings.items()},
            "base": self.space.base.model_dump(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "StudyPlan":
        """Inverse of :meth:`to_dict`."""
        space = Space(data["weights"], data["settings"], TrainConfig.model_validate(data["base"]))
        return cls(data["storage"], data["name"], data["rounds"], data["trials"], space)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the bytes of a run depend on, beside the features."""

    libraries: Mapping[Modality, Mapping[str, Any]]  # by modality, what a run remembers of a library
    label_map: LabelMap
    # what to train, a round at a time; with a study, those that it has proposed so far
    rounds: tuple[tuple[Candidate, ...], ...]
    rule: str
    keep: int | None  # how many of the best heads to keep; None keeps all
    most: int  # heads to train as one bank
    # of the classes, `(C, C)`, with the file and the width that it comes from; None for the papers' loss
    similarity: Mapping[str, Any] | None = None
    study: StudyPlan | None = None  # what proposes the rounds, if they were not given
    token: str = ""  # what tells the run from all others in a study
    tensorboard: bool = False  # whether event files are written

    @property
    def n_rounds(self) -> int:
        """How many rounds there are to be."""
        return self.study.rounds if self.study else len(self.rounds)

    @property
    def study_name(self) -> str:
        """Name of the study."""
        given = self.study.name if self.study else None
        return given or f"emoclim-{self.experiment()}"

    def experiment(self) -> str:
        """Digest of what scores of two runs must share to be comparable: 12 hex."""
        plan = self.to_dict()
        compared = {name: plan[name] for name in ("label_map", "select", "similarity")}
        compared |= {modality: (note["cache"], note["digest"]) for modality, note in self.libraries.items()}
        if self.rule == "loss" and self.study:
            base = self.study.space.candidates()[0].config
            compared["loss"] = base.temperature, base.batch_size, base.no_positive
        return hashlib.sha256(json.dumps(compared, sort_keys=True).encode()).hexdigest()[:12]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "libraries": {modality: dict(note) for modality, note in self.libraries.items()},
            "label_map": {"classes": list(self.label_map.classes), "maps": self.label_map.maps},
            "rounds": [
                [{"loss_weights": list(one.loss_weights), "config": one.config.model_dump()} for one in candidates]
                for candidates in self.rounds
            ],
            "select": self.rule,
            "keep": self.keep,
            "most": self.most,
            "similarity": self.similarity,
            "study": self.study.to_dict() if self.study else None,
            "token": self.token,
            "tensorboard": self.tensorboard,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Plan":
        """Inverse of :meth:`to_dict`."""
        return cls(
            data["libraries"],
            LabelMap(tuple(data["label_map"]["classes"]), data["label_map"]["maps"]),
            tuple(
                tuple(
                    Candidate(loss_weights(one["loss_weights"]), TrainConfig.model_validate(one["config"]))
                    for one in candidates
                )
                for candidates in data["rounds"]
            ),
            data["select"],
            data["keep"],
            data["most"],
            data["similarity"],
            StudyPlan.from_dict(data["study"]) if data["study"] else None,
            data["token"],
            data["tensorboard"],
        )


def what_to_try(
    config: TrainConfig,
    weights: Sequence[Sequence[float]] = (),
    sweep: int | None = None,
    temperatures: Sequence[float] = (),
    n_seeds: int = 1,
    file: Path | None = None,
) -> Space:
    """What to try, from the options of the command."""
    if file is not None:
        if weights or sweep or temperatures or n_seeds != 1:
            raise ConfigError(
                f"{file} says what to try; leave out the other options of the sweep, or write them into it"
            )
        return read_space(file, config)
    rows = [*weights, *(simplex_points(sweep, len(EMO_CLIM), config.seed) if sweep else [])] or [EVEN]
    settings: dict[str, Sequence[Any]] = {
        "seed": seeds(config.seed, n_seeds),
        "temperature": temperatures or [config.temperature],
    }
    return Space(list(dict.fromkeys(map(tuple, rows))), settings, config)


def similarity_of(file: Path, width: float, mapping: LabelMap) -> dict[str, Any]:
    """Similarity of the classes by a table of valence and arousal, and where it comes from, as plain values."""
    table = class_similarity(mapping.classes, read_valence_arousal(file), width)
    return {"file": file.name, "sha256": file_hash(file), "width": width, "table": table.tolist()}
