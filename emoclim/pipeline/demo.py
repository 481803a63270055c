"""`emoclim demo`: the whole pipeline on a corpus that it generates itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim.config import TrainConfig
from emoclim.data.manifest import Modality, read_manifest
from emoclim.data.synthetic import generate
from emoclim.pipeline.evaluation import Evaluation, evaluate_run
from emoclim.pipeline.features import ExtractionResult, extract_features
from emoclim.pipeline.heads import TrainingResult, train
from emoclim.pipeline.search import SearchResult, search_file
from emoclim.pipeline.workspace import Workspace, few_threads
from emoclim.progress import Track, silent

NEXT_COMMANDS = (
    "emoclim extract images",
    "emoclim extract audio --encoder clap",
    "emoclim train-heads",
    "emoclim evaluate",
)


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo did; its corpus is generated, and so are its numbers.

    Attributes
    ----------
    folder
        The workspace it made.
    extractions
        Of the pictures and of the music.
    training
        The run.
    evaluation
        Its report.
    searches
        Three queries.
    """

    folder: Path
    extractions: tuple[ExtractionResult, ...]
    training: TrainingResult
    evaluation: Evaluation
    searches: tuple[SearchResult, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "corpus": "generated",
            "folder": str(self.folder),
            "extractions": [one.to_dict() for one in self.extractions],
            "training": self.training.to_dict(),
            "evaluation": self.evaluation.to_dict(),
            "searches": [one.to_dict() for one in self.searches],
        }

    def closing(self) -> list[str]:
        """What to do next, for a reader."""
        return [
            "All of this was generated: the numbers say that the pipeline runs, not how good it is on real material.",
            "For your own files, put them at data/images/<emotion>/ and data/audio/<emotion>/ (or list them in",
            "data/images.csv and data/audio.csv) and run, with CLIP and CLAP:",
            "",
            *(f"    {command}" for command in NEXT_COMMANDS),
        ]


def run_demo(
    folder: Path,
    *,
    pictures: int = 40,
    pieces: int = 32,
    seed: int = 42,
    workers: int | None = None,
    track: Track = silent,
) -> Demo:
    """Generate pictures and music, and take them through every stage with the encoders that need no file.

    Parameters
    ----------
    folder
        Where the corpus, the caches and the run go; what an earlier demo left there is used again.
    pictures, pieces
        How many per emotion.
    seed
        Of the corpus and of training.
    workers
        Decoding processes; None takes one per core.
    track
        Shows progress.

    Returns
    -------
    Demo
        Its searches ask with two pictures and one piece of music of the test split.
    """
    workspace = Workspace(folder)
    data = folder / "data"
    generate(data, seed=seed, pictures_per_label=pictures, pieces_per_label=pieces, track=track)
    with few_threads(1):  # nothing here is large enough for more
        extractions = (
            extract_features("image", encoder="colour", workspace=workspace, workers=workers, track=track),
            extract_features("audio", encoder="timbre", workspace=workspace, workers=workers, track=track),
        )
        training = train(config=TrainConfig(seed=seed), workspace=workspace, device="cpu", track=track)
        evaluation = evaluate_run(workspace=workspace, device="cpu")
        searches = tuple(search_file(query, workspace=workspace, top=3, device="cpu") for query in _queries(workspace))
    return Demo(folder, extractions, training, evaluation, searches)


def _queries(workspace: Workspace) -> list[Path]:
    """The first test items of two image emotions and of one music emotion."""
    asked: tuple[tuple[Modality, str], ...] = (("image", "contentment"), ("image", "fear"), ("audio", "exciting"))
    queries = []
    for modality, label in asked:
        items = read_manifest(workspace.manifest(modality), modality).items
        queries += [item.path for item in items if (item.split, item.label) == ("test", label) and item.path][:1]
    return queries
