"""Take real photos, music by a model and computed material through every step (`emoclim demo`)."""

import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoclim.config import ExtractConfig, TrainConfig
from emoclim.data import Setting, generate, read_manifest
from emoclim.modality import Modality
from emoclim.pipeline.demonstration.material import SOURCES, Material, claim, gather
from emoclim.pipeline.evaluation.evaluate import evaluate_run
from emoclim.pipeline.evaluation.result import Evaluation
from emoclim.pipeline.extract import extract_features
from emoclim.pipeline.extraction_result import ExtractionResult
from emoclim.pipeline.machine import limit_threads
from emoclim.pipeline.run import Resources, start
from emoclim.pipeline.searching.result import Answers
from emoclim.pipeline.searching.searcher import Searcher
from emoclim.pipeline.training.config import HeadsConfig
from emoclim.pipeline.training.train_heads import HeadsResult, TrainHeads
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent

QUERIES: tuple[tuple[Modality, str], ...] = (("image", "contentment"), ("image", "fear"), ("audio", "exciting"))
FETCH = "networks and music from packages"  # the step that takes as long as the line is slow
WORDS: Mapping[str, Setting] = {}  # settings of the comparison by words
TOP = 3  # hits that are shown


@dataclass(frozen=True, slots=True)
class Demo:
    """What the demo did; its labels are of computed material, and so are its numbers."""

    folder: Path
    material: Material
    by_words: Answers | None  # the photos among the music, before anything was trained; None without trained networks
    extractions: tuple[ExtractionResult, ...]
    training: HeadsResult
    evaluation: Evaluation
    answers: Answers  # by the trained heads
    seconds: Mapping[str, float]  # of each step

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "sources": list(SOURCES),
            "folder": str(self.folder),
            "encoders": dict(self.material.encoders),
            "lacking": self.material.lacking,
            "seconds": dict(self.seconds),
            "by_words": self.by_words and self.by_words.to_dict(),
            "extractions": [one.to_dict() for one in self.extractions],
            "training": self.training.to_dict(),
            "evaluation": self.evaluation.to_dict(),
            "searches": self.answers.to_dict(),
        }

    def head(self) -> list[str]:
        """Say what could not be had, or why photos were searched by words."""
        return [*filter(None, [self.material.lacking]), *(self.by_words.bridges if self.by_words else ())]

    def step_rows(self) -> list[tuple[str, ...]]:
        """Return a row of column names, then one row per step."""
        size = {FETCH: f", {self.material.megabytes} MB downloaded"}
        rows = [(f"{step}{size.get(step, '')}", f"{seconds:.1f}") for step, seconds in self.seconds.items()]
        return [("step", "seconds"), *rows]

    def notes(self) -> list[str]:
        """Say what the numbers mean, and what to do next."""
        return [
            *SOURCES,
            "Precisions are of what was computed: they say that the pipeline runs, not how good it is on real files.",
            "For your own files, without labels or training:",
            "",
            "    emoclim search holiday.jpg --in ~/Music",
            "    emoclim search song.mp3 --in ~/Pictures",
            "",
            "With labels, put them at data/images/<emotion>/ and data/audio/<emotion>/ (or list them in",
            "data/images.csv and data/audio.csv) and train heads on them:",
            "",
            "    emoclim extract images --encoder box",
            "    emoclim extract audio --encoder box",
            "    emoclim train-heads",
            "    emoclim evaluate",
            "    emoclim search holiday.jpg",
            "",
            "Without --encoder box, these take CLIP and CLAP, 2 GB from their hubs.",
        ]

    @property
    def libraries(self) -> list[str]:
        """What photos are searched for in by words; none where they are not, and heads are to search."""
        return [str(self.material.music)] if self.by_words and self.material.music else []

    @property
    def words(self) -> Mapping[str, Setting] | None:
        """Settings of a comparison by words, if these libraries are to be compared so."""
        return WORDS if self.libraries else None

    @property
    def page_command(self) -> str:
        """How the page is opened on all this."""
        words = ["--words", "--in", *self.libraries] if self.libraries else []
        return shlex.join(["emoclim", "app", "--workspace", str(self.folder), *words, "--open"])


def run_demo(
    folder: Path,
    *,
    pictures: int = 40,
    pieces: int = 32,
    seed: int = 42,
    workers: int | None = None,
    track: Track = silent,
) -> Demo:
    """Search without training, then train on computed material, evaluate and search by that."""
    workspace, data, seconds = Workspace(folder), folder / "data", dict[str, float]()
    claim(data)
    with _timed(seconds, FETCH):
        material = gather(data, track=track)
    with _timed(seconds, "pictures and music computed"):
        generate(data, seed=seed, pictures_per_label=pictures, pieces_per_label=pieces, track=track)
    config = ExtractConfig(workers=workers)
    with limit_threads(1):  # files are decoded beside it, and heads are too small for more
        with _timed(seconds, "photos searched for music by words, without training"):
            by_words = _search_by_words(workspace, material, config, track)
        with _timed(seconds, "features of what was computed"):
            extractions = tuple(
                extract_features(modality, None, config.updated(encoder=encoder), workspace=workspace, track=track)
                for modality, encoder in material.encoders.items()
            )
        with _timed(seconds, "heads trained"):
            asked = HeadsConfig(base=TrainConfig(seed=seed))
            training = start(TrainHeads(), asked, Resources(workspace, "cpu", track=track))
        with _timed(seconds, "heads evaluated"):
            evaluation = evaluate_run(workspace=workspace, device="cpu")
        with _timed(seconds, "searched by heads"):
            answers = Searcher(workspace, device="cpu").search(_queries(workspace), top=TOP)
    return Demo(folder, material, by_words, extractions, training, evaluation, answers, seconds)


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - begun


def _search_by_words(workspace: Workspace, material: Material, config: ExtractConfig, track: Track) -> Answers | None:
    """Search the music by a model for the photos, or what is computed where that could not be had."""
    if not material.trained or not material.photos:
        return None
    config = config.updated(encoder=material.encoders["audio"], unlabelled=material.music is not None)
    library = material.music or workspace.manifest("audio")
    extract_features("audio", library, config, workspace=workspace, track=track)
    return Searcher(workspace, library=str(library), words=WORDS).search(material.photos, top=TOP)


def _queries(workspace: Workspace) -> list[Path]:
    """Return the first test item of each emotion of QUERIES."""
    queries = []
    for modality, label in QUERIES:
        items = read_manifest(workspace.manifest(modality), modality).items
        queries += [item.path for item in items if (item.split, item.label) == ("test", label) and item.path][:1]
    return queries
