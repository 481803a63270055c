"""Configure and name the trainings of a row of a table. Used by the plan.

Invariant: the run of a row is named after a digest of all that its heads depend on, so that one that is there need not
be made again.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from emoclim.cache import BY_ID, open_cache, portable_path
from emoclim.config import EvaluateConfig
from emoclim.data import (
    ContentKeys,
    Item,
    Manifest,
    contents_of,
    plain_relevance,
    read_label_map,
    read_relevance,
)
from emoclim.encoders import Encoder, file_hash
from emoclim.errors import DecodeError
from emoclim.modality import Modality
from emoclim.pipeline.crossing.config import CrossConfig
from emoclim.pipeline.machine import digest_of
from emoclim.pipeline.reproduction.request import ImportedFeatures, Request
from emoclim.pipeline.reproduction.rows import State, Training
from emoclim.pipeline.run import PLAN, UNFINISHED
from emoclim.pipeline.training.config import EndToEndConfig, HeadsConfig, LabelledConfig, PretrainConfig
from emoclim.pipeline.training.end_to_end.crops import make_augmenters, without_place
from emoclim.pipeline.training.trained_runs import ENCODER_FILE
from emoclim.pipeline.workspace import FOLDS_FILE, REPRODUCED, Workspace, heads_file
from emoclim.progress import Track
from emoclim.recipes import Row

MEASURED = EvaluateConfig(split="all", ks=(1, 2), measures=("MRR",))  # of each fold


@dataclass(frozen=True, slots=True)
class TrainingPlanner:
    """Finds what is to be trained for a row, given all that it needs."""

    row: Row
    request: Request
    manifests: Mapping[str, Manifest]
    encoders: Mapping[Modality, Encoder | ImportedFeatures]  # of the row
    workspace: Workspace
    keys: ContentKeys
    track: Track

    @property
    def min_seconds(self) -> float:
        """What a recording lasts at least that heads are trained on, and that is ranked."""
        shortest = max((one.segment_seconds for one in self.encoders.values()), default=0.0)
        return shortest if self.request.settings.drop_short else 0.0

    def trainings(self) -> list[Training]:
        """List the runs of the row, and how far each is."""
        starts = self._starts()
        configs = self._configs([self.workspace.runs / one.run / ENCODER_FILE for one in starts])
        named = [(config, self._run_name(config, starts[place:][:1])) for place, config in enumerate(configs)]
        return [
            Training(config, run, state_of(self.workspace, run), tuple(starts[place:][:1]))
            for place, (config, run) in enumerate(named)
        ]

    def _starts(self) -> list[Training]:
        """List the runs with whose encoders those of the row start, seed by seed."""
        if not self.row.start:
            return []
        row = self.request.table.rows[self.row.start]
        encoders = {modality: one for modality, one in self.encoders.items() if modality in row.encoders}
        return replace(self, row=row, encoders=encoders).trainings()

    def _configs(self, starts: Sequence[Path]) -> list[LabelledConfig]:
        """Make the configurations of the trainings: heads of all seeds are one run, encoders one each."""
        row, request = self.row, self.request
        (base, own), seeds = request.training(row), request.seeds_of(row)
        loss: dict[str, Any] = {"objective": row.objective or request.recipe.objective, "own": own.model_dump()}
        label_map = Path(row.label_map) if row.label_map else request.trained_map
        shared = loss | {"label_map": label_map} | request.vectors(row)
        libraries = {
            modality: f"{self.workspace.cache_path(one.spec, '.h5').stem}:{self.manifests[modality].source}"
            for modality, one in self.encoders.items()
        }
        if row.crossed:
            extra = tuple(self.manifests[name].source for name in row.extra)
            return [CrossConfig(libraries=libraries, base=base, extra=extra, evaluation=MEASURED, **shared)]
        if row.trained is None:
            settings: dict[str, tuple[Any, ...]] = {"seed": tuple(seeds)} if len(seeds) > 1 else {}
            return [
                HeadsConfig(libraries=libraries, base=base, settings=settings, min_seconds=self.min_seconds, **shared)
            ]
        choice = request.choices(row)[row.trained]
        tuning, augmentations = request.joint(row)
        one = (PretrainConfig if row.step == "pretrain" else EndToEndConfig)(
            encoders={row.trained: choice.name},
            checkpoints={row.trained: choice.checkpoint},
            encoder_settings={row.trained: dict(choice.settings)},
            libraries={**libraries, row.trained: str(self.manifests[row.trained].source)},
            base=base,
            tuning=tuning,
            augmentations=augmentations,
            store=request.store,
            **shared,
        )
        files = [{"checkpoints": {row.trained: path}} for path in starts] or [{}] * len(seeds)
        return [one.updated(base=base.updated(seed=seed), **file) for seed, file in zip(seeds, files, strict=True)]

    def _run_name(self, config: LabelledConfig, starts: Sequence[Training]) -> str:
        """Make a name that only a training of the same settings on the same items, with the same content, has."""
        row, encoders, workspace = self.row, self.encoders, self.workspace
        what: list[Any] = [
            *(one.run for one in starts),
            row.step,
            config.model_dump(mode="json", exclude={"libraries", *config.NOTED}),
        ]
        if config.label_map is not None:
            items = {modality: self.manifests[modality].items for modality in encoders}
            labels = {modality: {item.label for item in own if item.label} for modality, own in items.items()}
            if "taxonomy" in config.make_objective().needs:
                label_map, relevance = read_relevance(config.label_map, labels)
                what.append([label_map.maps, plain_relevance(relevance)])
            else:
                what.append(read_label_map(config.label_map, labels).maps)
        vectors = [str(given) for given in (config.vad, config.word_vectors) if given]
        what += [file_hash(Path(given)) if Path(given).is_file() else given for given in vectors]
        for name in (*encoders, *row.extra):
            manifest = self.manifests[name]
            modality = manifest.modality
            cache = workspace.cache_path(encoders[modality].spec, ".h5")
            kept = usable(manifest, [] if modality == row.trained else [cache], self.keys)  # trained ones take files
            taught = (item for item in kept.items if row.crossed or item.split in ("train", "val"))
            place = portable_path(manifest.source, workspace.caches)
            what.append((cache.name, place, manifest.digest(), contents_of(taught, self.keys)))
        if isinstance(config, EndToEndConfig):
            live = {modality: cast(Encoder, encoders[modality]) for modality in config.encoders}  # none is imported
            note, _ = make_augmenters(config.augmentations, live, workspace, self.track)
            what.append(without_place(note))
        names = "-".join(encoder.spec.name for encoder in encoders.values())
        how = "folds" if row.crossed else "unfrozen" if row.trained else "frozen"
        return f"{REPRODUCED}{names}-{how}-{digest_of(what)[:8]}"


def state_of(workspace: Workspace, run: str) -> State:
    """Tell how far the training of a row is."""
    folder = workspace.runs / run
    if (folder / UNFINISHED / PLAN).is_file():
        return "unfinished"
    return "done" if heads_file(folder).is_file() or (folder / FOLDS_FILE).is_file() else "to do"


def usable(manifest: Manifest, caches: Iterable[Path], keys: ContentKeys) -> Manifest:
    """Leave out items whose file is missing, or that failed to encode into one of some caches, or to be imported."""
    failed, imported = set[str](), list[Set[str]]()
    for path in caches:
        if path.exists():
            with open_cache(path) as cache:
                failed |= cache.failures().keys()
                imported += [cache.keys()] if cache.spec.keyed_by_id else []

    def fits(item: Item) -> bool:
        if imported:
            return all(f"{BY_ID}{item.id}" in keys for keys in imported)
        try:
            return (item.path is None or item.path.is_file()) and not (failed and keys(item) in failed)
        except DecodeError:
            return False

    return replace(manifest, items=tuple(filter(fits, manifest.items)))
