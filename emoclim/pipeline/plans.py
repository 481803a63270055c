"""What a run is to do: candidates, classes and features; all that its bytes depend on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim.config import TrainConfig, loss_weights
from emoclim.data.download import file_hash
from emoclim.data.manifest import Modality
from emoclim.data.taxonomy import LabelMap
from emoclim.data.valence_arousal import class_similarity, read_valence_arousal
from emoclim.errors import ConfigError
from emoclim.losses import EMO_CLIM
from emoclim.sweep import Candidate, cross, read_sweep, seeds, simplex_points

EVEN = (0.25, 0.25, 0.25, 0.25)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the bytes of a run depend on, beside the features.

    Attributes
    ----------
    libraries
        By modality, what a run remembers of a library.
    label_map
        Classes.
    candidates
        What to train.
    rule
        What to choose by.
    keep
        How many of the best heads to keep; None keeps all.
    most
        Heads to train as one bank.
    similarity
        Of the classes, ``(C, C)``, with the file and the width that it comes from; None for the papers' loss.
    """

    libraries: Mapping[Modality, Mapping[str, Any]]
    label_map: LabelMap
    candidates: tuple[Candidate, ...]
    rule: str
    keep: int | None
    most: int
    similarity: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "libraries": {modality: dict(note) for modality, note in self.libraries.items()},
            "label_map": {"classes": list(self.label_map.classes), "maps": self.label_map.maps},
            "candidates": [
                {"loss_weights": list(one.loss_weights), "config": one.config.to_dict()} for one in self.candidates
            ],
            "select": self.rule,
            "keep": self.keep,
            "most": self.most,
            "similarity": self.similarity,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Plan":
        """Inverse of :meth:`to_dict`."""
        candidates = tuple(
            Candidate(loss_weights(one["loss_weights"]), TrainConfig.from_dict(one["config"]))
            for one in data["candidates"]
        )
        mapping = LabelMap(tuple(data["label_map"]["classes"]), data["label_map"]["maps"])
        return cls(
            data["libraries"], mapping, candidates, data["select"], data["keep"], data["most"], data["similarity"]
        )


def candidates(
    config: TrainConfig,
    weights: Sequence[Sequence[float]] = (),
    sweep: int | None = None,
    temperatures: Sequence[float] = (),
    n_seeds: int = 1,
    file: Path | None = None,
) -> list[Candidate]:
    """What to train, from the options of the command.

    Parameters
    ----------
    config
        All settings that nothing else says.
    weights
        Loss weights to try; none, and no sweep, is the even ones.
    sweep
        How many points of the simplex to try besides.
    temperatures
        To try with each of them; none takes that of `config`.
    n_seeds
        How many seeds, from that of `config` on, to try each with.
    file
        TOML file that says all that instead.

    Raises
    ------
    ConfigError
        A value is not possible, or there is a file and something else beside it.
    """
    if file is not None:
        if weights or sweep or temperatures or n_seeds != 1:
            raise ConfigError(
                f"{file} says what to try; leave out the other options of the sweep, or write them into it"
            )
        return read_sweep(file, config)
    rows = [*weights, *(simplex_points(sweep, len(EMO_CLIM), config.seed) if sweep else [])] or [EVEN]
    settings: dict[str, Sequence[Any]] = {
        "seed": seeds(config.seed, n_seeds),
        "temperature": temperatures or [config.temperature],
    }
    return cross(list(dict.fromkeys(map(tuple, rows))), settings, config)


def similarity_of(file: Path, width: float, mapping: LabelMap) -> dict[str, Any]:
    """Similarity of the classes by a table of valence and arousal, and where it comes from, as plain values."""
    table = class_similarity(mapping.classes, read_valence_arousal(file), width)
    return {"file": file.name, "sha256": file_hash(file), "width": width, "table": table.tolist()}
