"""Where manifests, caches and runs lie, and which part of an extraction a shard is.

A workspace is a folder: manifests in ``data/``, caches in ``cache/``, runs in ``runs/``.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

from emoclim.cache import SHARDS
from emoclim.data import ContentKeys, FeatureSpec
from emoclim.errors import ConfigError, ManifestError, RunError, name_some
from emoclim.files import read_json
from emoclim.modality import MODALITIES, Modality

T = TypeVar("T")

HEADS_FILE = "heads.safetensors"
FEATURES_FILE = "features.safetensors"  # in its place where an encoder was trained without heads; never the newest run
FOLDS_FILE = "folds.csv"  # of a run that was cross-validated, and keeps no heads
REPRODUCED = "reproduce-"  # begins the names of the runs of papers' rows
BRIDGED = "words-"  # and of those that compare by words


@dataclass(frozen=True, slots=True)
class Workspace:
    """One folder that commands work in."""

    root: Path = Path()  # the folder; by default the current one

    @property
    def caches(self) -> Path:
        """Folder of the feature caches."""
        return self.root / "cache"

    @property
    def runs(self) -> Path:
        """Folder of the training runs."""
        return self.root / "runs"

    @property
    def trained(self) -> bool:
        """Whether there is a run of heads that were trained."""
        return any(not file.parent.name.startswith(BRIDGED) for file in self.runs.glob(f"*/{HEADS_FILE}"))

    def manifest(self, modality: Modality) -> Path:
        """Find the manifest of a modality in ``data/``."""
        name = MODALITIES[modality].folder
        candidates = [self.root / "data" / f"{name}{suffix}" for suffix in (".csv", ".parquet", "")]
        for path in candidates:
            if path.exists():
                return path
        raise ManifestError(
            f"there is no manifest at {candidates[0]}, and no folder {candidates[-1]}; "
            "make one of them or name your own CSV or folder"
        )

    def cache_path(self, spec: FeatureSpec, suffix: str) -> Path:
        """Return where the features of a spec are cached: modality, encoder, and 12 hex of the whole spec."""
        return self.caches / f"{spec.modality}-{spec.name}-{spec.digest()}{suffix}"

    def content_keys(self, *, trust: bool = True) -> ContentKeys:
        """Open the memo of the contents of files, which whoever looks them up saves."""
        return ContentKeys(self.caches / "content.sqlite", trust=trust)

    def claim_run(self, name: str | None, encoders: str) -> Path:
        """Make the folder of a new run, of that name or ``<number>-<encoders>``, which nobody else is given."""
        if name is None:
            return self._claim_number(encoders)
        if name in ("", "..") or Path(name).name != name:
            raise RunError(f"{name!r} is no name for a run; give one of letters and digits, without slashes")
        try:
            (self.runs / name).mkdir(parents=True)
        except FileExistsError as error:
            raise RunError(f"{self.runs / name} exists already; give another name") from error
        return self.runs / name

    def _claim_number(self, encoders: str) -> Path:
        """Make the folder of the next run; an empty ``.<number>`` keeps others from the number meanwhile."""
        self.runs.mkdir(parents=True, exist_ok=True)
        number = max((number for number in self._taken() if number < 1000), default=0)  # 2026-01-31-mine has none
        while True:
            number += 1
            reserved = self.runs / f".{number:03d}"
            with suppress(FileExistsError):
                reserved.mkdir()
                try:
                    if number not in self._taken():
                        (folder := self.runs / f"{number:03d}-{encoders}").mkdir()
                        return folder
                finally:
                    reserved.rmdir()

    def _taken(self) -> set[int]:
        """Return the numbers of all runs."""
        numbers = [path.name.partition("-")[0] for path in self.runs.glob("[0-9][0-9][0-9]*-*")]
        return {int(number) for number in numbers if number.isdecimal()}

    def run(self, name: str | None) -> Path:
        """Find a run by name or path; for None the newest, of a paper's row or by words only for want of others."""
        finished = [path.parent for path in self.runs.glob(f"*/{HEADS_FILE}")]
        if name is None:
            if not finished:
                raise RunError(f"there is no run in {self.runs}; train one with: emoclim train-heads")
            own = [folder for folder in finished if not folder.name.startswith((REPRODUCED, BRIDGED))]
            return max(own or finished, key=_trained_at)
        for folder in (self.runs / name, Path(name)):
            if heads_file(folder).is_file():
                return folder
        if (self.runs / name / FOLDS_FILE).is_file():
            raise RunError(f"{name} was cross-validated and keeps no heads; train some with: emoclim train-heads")
        unfinished = (self.runs / name).is_dir()
        there = name_some(sorted(folder.name for folder in finished), 10) or "there is none yet"
        advice = f"finish it with --resume {name}" if unfinished else f"name one that is in {self.runs}: {there}"
        raise RunError(f"{name} is no run (no {HEADS_FILE} in {self.runs / name}); {advice}")


def heads_file(folder: Path) -> Path:
    """Return the file of a run's heads, or what stands in its place."""
    features = folder / FEATURES_FILE
    return features if features.is_file() else folder / HEADS_FILE


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several equal parts of an extraction, each of which writes a cache of its own."""

    index: int  # from 1 on
    count: int  # how many there are

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``"2/8"``."""
        numbers = [int(part) for part in text.split("/") if part.isdecimal()]
        if text.count("/") != 1 or len(numbers) != 2 or not 1 <= numbers[0] <= numbers[1]:
            raise ConfigError(f"shard {text!r} is none; write 2/8 for the second of eight")
        return cls(*numbers)

    def path(self, cache: Path) -> Path:
        """Return where the shard of a cache lies until it is merged."""
        return cache.with_suffix(SHARDS) / f"{self.index}-of-{self.count}{cache.suffix}"

    def select(self, items: Sequence[T]) -> Sequence[T]:
        """Return the shard's part of some items."""
        return items[self.index - 1 :: self.count]


def _trained_at(run: Path) -> tuple[str, str]:
    """Return when a run was trained, by its own word."""
    return str(read_json(run / "run.json", RunError, "delete the run, or train it again").get("time", "")), run.name
