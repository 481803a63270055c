"""How much memory commands take at their peak: over N items and ten times as many, and over a recording of hours.

Each command runs by itself. Its memory is what it and the processes that it starts hold together, memory that several
share counted once, looked at a hundred times a second; never less than the peak that the system itself notes of the
largest of them. N items take longer than the few seconds after which freed memory is given back. Files are generated,
and parameters are untrained.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import generated
from record import Row, command_line, counted, publish

from emoclim.modality import Modality

MEGABYTE, GIGABYTE = 1e6, 1e9
INTERVAL = 0.01  # seconds between looks
TIMES = 10
CLIP_SECONDS = 10.0
UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
QUICK = "epochs = 1\nbatches_per_epoch = {steps}\nval_batches = 1\nbatch_size = {batch}\n"
BATCH = 4
TRAINED = 60  # pictures, and clips of 5 s


def main() -> None:
    """Measure what was asked for."""
    parser = command_line(__doc__)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--pictures", type=int, default=300, help="N of pictures, by colour")
    parser.add_argument("--clips", type=int, default=20, help="N of clips of 10 s")
    parser.add_argument("--steps", type=int, default=4, help="N of steps of training end to end, batches of 4")
    parser.add_argument("--hours", type=float, default=3.0, help="of the long recording")
    parser.add_argument("--encoder", default="musicnn", choices=("musicnn", "timbre"), help="of recordings")
    parser.add_argument("--workers", type=int, help="decoding processes; default one per core")
    parser.add_argument("--folder", type=Path, help="where files are made; default the system's for such files")
    asked = parser.parse_args()
    rows: list[Row] = []
    for part in asked.parts:
        with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
            rows += PARTS[part](Path(folder), asked)
    publish("Memory", __doc__, asked, rows, {}, "torch")


def over_pictures(folder: Path, asked: argparse.Namespace) -> Iterator[Row]:
    """Extraction of pictures."""
    yield _over_items(folder, "image", asked.pictures, ["images", "--encoder", "colour"], asked)


def over_clips(folder: Path, asked: argparse.Namespace) -> Iterator[Row]:
    """Extraction of recordings."""
    yield _over_items(folder, "audio", asked.clips, ["audio", *_encoder(folder, asked)], asked)


def _over_items(folder: Path, modality: Modality, number: int, words: list[str], asked: argparse.Namespace) -> Row:
    peaks = []
    (folder / "files").mkdir()
    items = generated.manifest(modality, folder / "files", TIMES * number, CLIP_SECONDS, "mp3").items
    for count in (number, TIMES * number):
        source = generated.write_csv(folder / f"{count}.csv", items[:count])
        place = ["--workspace", str(folder / f"workspace-{count}"), *_machine(asked)]
        peaks.append(peak(["extract", words[0], str(source), *words[1:], *place]) / MEGABYTE)
    few, many = peaks
    name = f"`extract {words[0]} --encoder {words[2]}`, {TIMES * number:,} files"
    return Row(name, many, "MB", f"{number:,} of them", few, "<= 1.05")


def over_steps(folder: Path, asked: argparse.Namespace) -> Iterator[Row]:
    """Training of an encoder and heads."""
    data = folder / "data"
    folders: dict[Modality, str] = {"image": "images", "audio": "audio"}
    for modality, name in folders.items():
        (data / name).mkdir(parents=True)
        items = generated.manifest(modality, data / name, TRAINED, 5.0, "wav").items
        generated.write_csv(data / f"{name}.csv", items)
    place = ["--workspace", str(folder), *_machine(asked)]
    run(["extract", "images", "--encoder", "colour", *place])
    peaks = []
    for steps in (asked.steps, TIMES * asked.steps):
        settings = folder / f"{steps}.toml"
        settings.write_text(QUICK.format(steps=steps, batch=BATCH))
        words = ["--encoder", "musicnn", "--checkpoint", str(generated.checkpoint(folder, "musicnn", None))]
        peaks.append(peak(["train-end-to-end", *words, "--config", str(settings), *place]) / MEGABYTE)
    few, many = peaks
    name = f"`train-end-to-end --encoder musicnn`, {counted(TIMES * asked.steps, 'step')} of {BATCH} clips"
    yield Row(name, many, "MB", f"{asked.steps} of them", few, "<= 1.05")


def over_hours(folder: Path, asked: argparse.Namespace) -> Iterator[Row]:
    """Extraction of one long recording."""
    item = generated.long_recording(folder / "long.wav", 3600 * asked.hours)
    source = generated.write_csv(folder / "long.csv", [item])
    size = (folder / "long.wav").stat().st_size / GIGABYTE
    place = ["--workspace", str(folder), *_machine(asked)]
    taken = peak(["extract", "audio", str(source), *_encoder(folder, asked), *place]) / GIGABYTE
    name = f"`extract audio --encoder {asked.encoder}`, a WAV of {asked.hours:g} h"
    yield Row(name, taken, "GB", "the file", size, "< 1.5 GB")


PARTS: dict[str, Callable[[Path, argparse.Namespace], Iterator[Row]]] = {
    "pictures": over_pictures,
    "clips": over_clips,
    "steps": over_steps,
    "hours": over_hours,
}


def _encoder(folder: Path, asked: argparse.Namespace) -> list[str]:
    """What names the encoder of recordings."""
    words = ["--encoder", asked.encoder]
    if asked.encoder == "timbre":
        return words
    return [*words, "--checkpoint", str(generated.checkpoint(folder, asked.encoder, None))]


def _machine(asked: argparse.Namespace) -> list[str]:
    return ["--device", "cpu", *([] if asked.workers is None else ["--workers", str(asked.workers)])]


def run(words: Sequence[str]) -> None:
    """Run a command of emoclim, unwatched."""
    subprocess.run([sys.executable, "-m", "emoclim", *words], stdout=subprocess.DEVNULL, check=True)


def peak(words: Sequence[str]) -> float:
    """Most bytes that a command of emoclim and its processes hold at a time."""
    return watched([sys.executable, "-m", "emoclim", *words])


def watched(command: Sequence[str]) -> float:
    """Most bytes that a program and the processes that it starts hold at a time."""
    with tempfile.TemporaryFile() as told, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=told) as child:
        most = resident = 0
        while True:
            processes = list(family(child.pid))
            if (now := sum(map(resident_bytes, processes))) > resident:  # only then, for counting shares takes a while
                resident, most = now, max(most, sum(map(held, processes)))
            done, status, usage = os.wait4(child.pid, os.WNOHANG)
            if done:
                break
            time.sleep(INTERVAL)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            told.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed: {told.read().decode(errors='replace')[-2000:]}")
    return max(most, usage.ru_maxrss * UNIT)


def family(pid: int) -> Iterator[int]:
    """A process and all that descend from it; empty where the system does not tell."""
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in path.read_text().split():
                yield from family(int(child))


def resident_bytes(pid: int) -> int:
    """Bytes of a process, with all that it has in common with others; 0 once it has gone."""
    return _noted(Path(f"/proc/{pid}/status"), "VmRSS")


def held(pid: int) -> int:
    """Bytes of a process, its share of what it has in common with others; 0 once it has gone."""
    return _noted(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def _noted(path: Path, name: str) -> int:
    with suppress(OSError):
        found = re.search(rf"^{name}:\s+(\d+) kB", path.read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    return 0


if __name__ == "__main__":
    main()
