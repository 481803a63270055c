"""The steps of `emoclim reproduce`, each of them that of another command: extract, train, evaluate.

Every step leaves what its command leaves, and what is there already is not done again.
"""

from dataclasses import dataclass, field
from pathlib import Path

from emoclim.config import EvaluateConfig, ExtractConfig
from emoclim.data import ContentKeys, Setting
from emoclim.errors import RunError
from emoclim.modality import Modality
from emoclim.pipeline.encoder_choice import EncoderChoice
from emoclim.pipeline.evaluation.evaluate import evaluate_run
from emoclim.pipeline.evaluation.result import Evaluation
from emoclim.pipeline.extract import ExtractionResult, extract_features
from emoclim.pipeline.library import read_splits
from emoclim.pipeline.paper_rows import IMAGE_ROLE
from emoclim.pipeline.reproduction_data import SPLIT_SEED
from emoclim.pipeline.reproduction_plan import ReproductionPlan, RowPlan
from emoclim.pipeline.reproduction_planning import state_of
from emoclim.pipeline.run import Means, resume, start
from emoclim.pipeline.tagging.tag import Tag, TaggingConfig
from emoclim.pipeline.tagging.tagging_result import TaggingResult
from emoclim.pipeline.training.encoder_inputs import EndToEndConfig
from emoclim.pipeline.training.train_end_to_end import TrainEndToEnd
from emoclim.pipeline.training.train_heads import HeadsConfig, TrainHeads
from emoclim.pipeline.training.trained_runs import ENCODER_FILE, open_run, trained_library
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track
from emoclim.reports import JointSpace

Key = tuple[Path, str, Path | None, tuple[tuple[str, Setting], ...]]


@dataclass(slots=True)
class Steps:
    """What is done for the rows of a plan, and what was told on the way."""

    plan: ReproductionPlan
    workspace: Workspace
    batch_size: int | None
    workers: int | None
    device: str
    track: Track
    warnings: list[str] = field(default_factory=list)  # why numbers may mislead
    # what was extracted, or looked at, in this process
    encoded: dict[Key, ExtractionResult] = field(default_factory=dict)

    def extract(self) -> bool:
        """Encode all that takes no training; whether any item failed, on which the plan depends."""
        for row in self.plan.rows:
            if not row.missing:
                self._encode("image", self.plan.request.encoders[IMAGE_ROLE])
                if row.row.frozen:
                    self._encode("audio", row.audio)
                    self._encode_tagged(row)
        return any(result.extraction.failures for result in self.encoded.values())

    def lost(self) -> float:
        """The largest share of items that could not be used, or not be encoded."""
        shares = (len(one.extraction.failures) / one.n_items for one in self.encoded.values())
        return max(self.plan.lost(), *shares, 0.0)

    def train(self, row: RowPlan) -> None:
        """Bring a row's training, and the features of all that it was trained on, to their end."""
        images = self._encode("image", self.plan.request.encoders[IMAGE_ROLE]).cache.stem
        if row.row.frozen:
            self._train_heads(row, images)
        else:
            self._train_encoder(row, images)
            self._encode("audio", row.audio, self._trained_file(row))

    def _train_heads(self, row: RowPlan, images: str) -> None:
        audio = self._encode("audio", row.audio).cache.stem
        means = Means(self.workspace, self.device, self.workers, self.track)
        state = state_of(self.workspace, row.run)
        if state == "unfinished":
            result = resume(TrainHeads(), row.run, means)
        elif state == "to do":
            asked = HeadsConfig(libraries={"image": images, "audio": audio}, base=self.plan.request.config)
            result = start(TrainHeads(), asked, means, name=row.run)
        else:
            return
        _go_on(result.interrupted)

    def _train_encoder(self, row: RowPlan, images: str) -> None:
        state, choice, request = state_of(self.workspace, row.run), row.audio, self.plan.request
        means = Means(self.workspace, self.device, self.workers, self.track)
        if state == "unfinished":
            result = resume(TrainEndToEnd(), row.run, means)
        elif state == "to do":
            asked = EndToEndConfig(
                encoder=choice.name,
                checkpoint=choice.checkpoint,
                encoder_settings=dict(choice.settings),
                libraries={"image": images, "audio": str(self.plan.manifests["audio"].source)},
                base=request.config,
                tuning=request.tuning,
                augmentations=request.augmentations,
                store=request.store,
            )
            result = start(TrainEndToEnd(), asked, means, name=row.run)
        else:
            return
        _go_on(result.interrupted)

    def evaluate(self, row: RowPlan) -> Evaluation:
        """Rank the test split."""
        found = evaluate_run(
            row.run,
            EvaluateConfig(min_seconds=row.min_seconds),
            plots=False,
            workspace=self.workspace,
            device=self.device,
        )
        self.warnings += found.warnings
        return found

    def tag(self, row: RowPlan) -> TaggingResult:
        """Find the tags of music that is not what the heads were trained on."""
        self._encode_tagged(row)
        asked = TaggingConfig(run=row.run, manifest=self.plan.manifests["tagging"].source, on=row.row.on, plots=False)
        found = start(Tag(), asked, Means(self.workspace, self.device, track=self.track))
        self.warnings += found.warnings
        return found

    def _encode_tagged(self, row: RowPlan) -> None:
        """Encode the manifest with tags, if there is one."""
        tagging, audio = self.plan.manifests.get("tagging"), self.plan.manifests["audio"]
        if tagging and tagging.source.resolve() != audio.source.resolve():  # or it is there, and labels are of use
            self._encode("audio", row.audio, None if row.row.frozen else self._trained_file(row), tagging.source)

    def embed(self, row: RowPlan) -> JointSpace:
        """Embed the test split."""
        run = open_run(self.workspace, row.run)
        libraries = {modality: trained_library(self.workspace, run, modality) for modality in run.sources}
        keys = ContentKeys(self.workspace.caches / "content.json")
        split = read_splits(libraries, run.label_map, ("test",), keys, every_class=False)["test"]
        keys.save()
        if row.min_seconds:
            split = split.lasting(row.min_seconds)
        embeddings = {modality: run.head().vectors(features)[0][0] for modality, features in split.features.items()}
        note = f"{len(split.labels['image']):,} images, {len(split.labels['audio']):,} music clips; {row.mark}"
        return JointSpace(row.title, embeddings, split.labels, split.classes, note)

    def _encode(
        self, modality: Modality, choice: EncoderChoice, trained: Path | None = None, tagging: Path | None = None
    ) -> ExtractionResult:
        """Encode what is not cached yet of the manifest of a modality, or of one with tags, which trains no heads."""
        source, file = tagging or self.plan.manifests[modality].source, trained or choice.checkpoint
        key = source, choice.name, file, tuple(sorted(choice.settings.items()))
        if key not in self.encoded:
            result = self.encoded[key] = extract_features(
                modality,
                source,
                ExtractConfig(
                    encoder=choice.name,
                    checkpoint=file,
                    settings=choice.settings,
                    unlabelled=tagging is not None,
                    batch_size=self.batch_size,
                    workers=self.workers,
                    seed=SPLIT_SEED,
                ),
                workspace=self.workspace,
                device=self.device,
                track=self.track,
            )
            self.warnings += result.warnings
            if failed := len(result.extraction.failures):
                self.warnings.append(
                    f"{failed} of {result.n_items} items of {source.name} could not be encoded with {choice.name}"
                )
        return self.encoded[key]

    def _trained_file(self, row: RowPlan) -> Path:
        path = self.workspace.runs / row.run / ENCODER_FILE
        if not path.is_file():
            raise RunError(f"run {row.run} has lost its {ENCODER_FILE}; delete {path.parent} and run again")
        return path


def _go_on(interrupted: bool) -> None:
    """A training that was stopped ends with what it has; the rows after it are not wanted then."""
    if interrupted:
        raise KeyboardInterrupt
