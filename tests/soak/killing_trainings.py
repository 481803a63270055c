"""Trainings that are killed at any moment and gone on with: they end with the bytes of one that nobody killed."""

import random
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import safetensors.torch
import soundfile
import torch
from encoder_cases import make_subject, shrunk
from example_encoders import ROOT
from forks import Ended, count_events, fork, kill_after, wait
from small_texts import WORDS
from tiny_workspace import BRIEF, CLASSES, RUN, SPLITS, TRAINED, copy

import emoclim.encoders
from emoclim.learning import EncoderTuning, TagConfig
from emoclim.pipeline import (
    EndToEndConfig,
    Resources,
    Tag,
    TaggingConfig,
    TrainEndToEnd,
    TrainHeads,
    collect_leftovers,
    resume,
    start,
)
from emoclim.pipeline.run import PLAN, Step

KILLS = 3  # at the most of one run
NAME = "killed"
TAGS = TaggingConfig(run=RUN, seeds=2, resamples=10, base=TagConfig(epochs=2))
TAGGING = f"runs/{RUN}/tagging/{TAGS.variant('tagging')}"


@dataclass(frozen=True)
class Training:
    """A kind of run: how it begins, how it goes on, and where it and its plan lie."""

    begin: Callable[[Resources], object]
    go_on: Callable[[Resources], object]
    folder: str
    work: str
    result: str = "heads.safetensors"  # which comes last

    def is_done(self, root: Path) -> bool:
        """Whether a run was finished."""
        return (root / self.folder / self.result).exists() and not (root / self.work / PLAN).exists()


def heads(resources: Resources) -> None:
    start(TrainHeads(), TRAINED, resources, name=NAME)


def encoders(resources: Resources) -> None:
    root = resources.workspace.root
    config = EndToEndConfig(
        encoders={"audio": "small_cnn", "text": "minilm"},
        checkpoints={"audio": root / "small.safetensors", "text": root / "minilm.pt"},
        encoder_settings={"audio": {"width": 8}, "text": {"length": 8}},
        base=BRIEF.updated(epochs=2),
        tuning=EncoderTuning(learning_rate=1e-3),
    )
    start(TrainEndToEnd(), config, resources, name=NAME)


def tags(resources: Resources) -> None:
    start(Tag(), TAGS, resources)


def go_on(step: type[Step], resources: Resources) -> None:
    resume(step(), NAME, resources)


TRAININGS = {
    "heads": Training(heads, partial(go_on, TrainHeads), f"runs/{NAME}", f"runs/{NAME}/unfinished"),
    "encoders": Training(encoders, partial(go_on, TrainEndToEnd), f"runs/{NAME}", f"runs/{NAME}/unfinished"),
    "tags": Training(tags, tags, TAGGING, f"{TAGGING}.unfinished", "tags.png"),
}


class TrainingKiller:
    """Trains in forks, always in the same place, and kills them."""

    def __init__(self, tiny: Path, folder: Path) -> None:
        self._clean, self._root, self._told = folder / "clean", folder / "work", folder / "told"
        copy(tiny, self._clean)
        write_sound(self._clean)
        write_texts(self._clean)
        self._small = shrunk("minilm")  # for as long as this process lives
        self._small.__enter__()
        make_subject("minilm", self._clean)
        emoclim.encoders.__path__.append(str(ROOT / "examples"))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = emoclim.encoders.find_encoder("small_cnn").untrained(width=8)
        safetensors.torch.save_file(net.state_dict(), self._clean / "small.safetensors")

    def __call__(self, name: str, number: int) -> list[str]:
        """Kill a kind of training so many times; return what is wrong."""
        training, faults = TRAININGS[name], []
        training.begin(self._anew())  # loads what it needs
        whole = self._whole(training)
        for n in range(number):
            try:
                self._kill(training, whole, random.Random(f"{name} {n}"))
            except AssertionError as error:
                faults.append(f"{name} {n}: {error}")
        return faults

    def _whole(self, training: Training) -> "Whole":
        resources, begun = self._anew(), time.perf_counter()
        counted = self._wait(fork(partial(count_events, partial(training.begin, resources)), self._told))
        seconds = time.perf_counter() - begun
        return Whole(contents(self._root / training.folder), seconds, int(counted.told.split()[-1]))

    def _kill(self, training: Training, whole: "Whole", draw: random.Random) -> None:
        resources = self._anew()
        for kills in range(KILLS + 1):
            if training.is_done(self._root):
                break
            planned = (self._root / training.work / PLAN).exists()
            if not planned and training.folder == f"runs/{NAME}":
                shutil.rmtree(self._root / training.folder, ignore_errors=True)  # as users are told: it never began
            work = partial(training.go_on if planned else training.begin, resources)
            event = draw.randrange(whole.events) if draw.random() < 0.5 else None
            if kills == KILLS:
                self._wait(fork(work, self._told))
            else:
                pid = fork(work, self._told, killed_at=event)
                if event is None:
                    kill_after(pid, draw.uniform(0, whole.seconds))
                wait(pid, self._told)
        collect_leftovers(resources.workspace, delete=True)
        found = contents(self._root / training.folder)
        differing = [name for name in found.keys() | whole.files.keys() if found.get(name) != whole.files.get(name)]
        assert not differing, f"not as nobody's kill would leave them: {differing}"

    def _wait(self, pid: int) -> Ended:
        ended = wait(pid, self._told)
        assert not ended.fault, ended.fault
        return ended

    def _anew(self) -> Resources:
        shutil.rmtree(self._root, ignore_errors=True)
        return Resources(copy(self._clean, self._root), device="cpu", workers=0)


@dataclass(frozen=True)
class Whole:
    """A training that nobody killed."""

    files: dict[str, bytes]
    seconds: float
    events: int  # uses of files


def contents(folder: Path) -> dict[str, bytes]:
    """All of a folder, hidden files too, but for what ``run.json`` says of the time."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): b"" if path.name == "run.json" else path.read_bytes() for path in files}


def write_texts(root: Path) -> None:
    """Write two sentences for each piece of music, with its label and split."""
    felt = [word for word in WORDS if word.isalpha()]
    rows = [
        f"text {number},I felt {felt[number % len(felt)]}. A day on the sea,{CLASSES[number % 3]},{SPLITS[number // 3]}"
        for number in range(3 * len(SPLITS))
    ]
    (root / "data" / "text.csv").write_text("\n".join(["id,text,label,split", *rows, ""]), encoding="utf-8")


def write_sound(root: Path) -> None:
    """Write half a second of noise for each piece of music."""
    for number in range(21):
        noise = np.random.default_rng(number).standard_normal(8000) * 0.1
        soundfile.write(root / "data" / f"piece {number}.wav", noise, 16_000)
