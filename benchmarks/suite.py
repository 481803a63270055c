"""Runs benchmarks one after the other, each as a process of its own, and keeps their results in benchmarks/results/.

``--set cpu`` are those that need no GPU and together take less than 15 minutes on two cores; ``--set gpu``, those that
need one; ``--only NAME ...``, any, among them the long ones that are in no set. What follows ``--`` goes to the
scripts: ``python benchmarks/suite.py --only extraction_musicnn_real -- --manifest data/audio.csv``.
``--tiny`` only tries whether everything works, on the CPU: its figures are worth nothing, and are not kept.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"
ON_GPU = "--device cuda --precision bf16"
PICTURES = f"{ON_GPU} --encoder clip --batch-size 512 --workers 8 16 --decode-items 500"
CLIPS = f"{ON_GPU} --items 4000 --batch-size 128 --workers 8 16 --decode-items 200"


@dataclass(frozen=True)
class Run:
    """A script with its options, and the set that it is in, if any."""

    name: str
    script: str
    options: str = ""
    set: str | None = None


RUNS = (
    Run("startup", "startup", set="cpu"),
    Run("cache_read", "cache_read", set="cpu"),
    Run("rerun", "rerun", "--runs 5", "cpu"),
    Run("retrieval", "retrieval", "--runs 3", "cpu"),
    Run("tagging", "tagging", set="cpu"),
    Run("sweep_step", "sweep_step", "--runs 9", "cpu"),
    Run("decoders", "decoders", set="cpu"),
    Run("fleet", "fleet", set="cpu"),
    Run("end_to_end", "end_to_end", "--device cpu --batch-size 4 --steps 8 --rounds 1 --threads 1", "cpu"),
    Run("extraction_clip", "extraction", "--encoder clip --items 500 --rounds 2", "cpu"),
    Run("extraction_musicnn", "extraction", "--encoder musicnn --items 60 --loop-items 20 --rounds 2", "cpu"),
    Run("extraction_harmonic_cnn", "extraction", "--encoder harmonic_cnn --items 30 --loop-items 10 --rounds 2", "cpu"),
    Run("extraction_clap", "extraction", "--encoder clap --items 48 --loop-items 16 --rounds 2", "cpu"),
    Run("feeding", "feeding", set="cpu"),
    Run("networks", "networks", set="cpu"),
    Run("search", "search", set="cpu"),
    Run("large_cache", "large_cache"),
    Run("memory", "memory", "--parts pictures clips steps --pictures 500 --clips 30 --steps 10", "cpu"),
    Run("service", "service", set="cpu"),
    # long ones, in no set
    Run("memory_long", "memory", "--parts clips hours --clips 100"),
    Run("networks_compiled", "networks", "--compile"),
    Run("cache_torture", "cache_torture"),
    Run("fleet_long", "fleet", "--items 24000 --rounds 1 --engines local slurm ray"),
    Run("search_large", "search", "--exact --approximate 10000000"),
    Run("retrieval_whole", "retrieval", "--queries 100000 --runs 1"),
    Run("extraction_musicnn_real", "extraction", "--encoder musicnn --items 200 --rounds 1"),  # names files after --
    Run("extraction_harmonic_cnn_real", "extraction", "--encoder harmonic_cnn --items 200 --rounds 1"),  # as well
    Run("extraction_short_chunk_cnn", "extraction", "--encoder short_chunk_cnn --items 80 --loop-items 20"),
    Run("paper_run", "paper_run"),
    Run("uncertainty", "uncertainty"),
    Run("planted", "planted", "--vectors minilm"),  # names a folder after --
    Run("ratings", "ratings", "--works 750 60 100 --channels 8 --epochs 12 --seed 1"),
    Run("emomusic", "emomusic"),  # names a file of features after --
    Run("unfreezing", "unfreezing"),  # names a workspace after --
    Run("bridge", "bridge"),  # as well
    Run("conditioning", "conditioning"),
    Run("linear_probe", "linear_probe"),  # names a manifest and a checkpoint after --
    Run("extraction_clip_gpu", "extraction", f"{PICTURES} --items 20000 --rate 5000", "gpu"),
    Run(
        "extraction_clip_large_gpu",
        "extraction",
        f"{PICTURES} --model ViT-L-14-quickgelu --items 8000 --rate 1500",
        "gpu",
    ),
    Run("extraction_clap_gpu", "extraction", f"{CLIPS} --encoder clap", "gpu"),
    Run("extraction_musicnn_gpu", "extraction", f"{CLIPS} --encoder musicnn", "gpu"),
    Run("extraction_harmonic_cnn_gpu", "extraction", f"{CLIPS} --encoder harmonic_cnn", "gpu"),
    Run("extraction_short_chunk_cnn_gpu", "extraction", f"{CLIPS} --encoder short_chunk_cnn", "gpu"),
    Run("sweep_step_gpu", "sweep_step", "--device cuda --heads 1 64 1024 --runs 5", "gpu"),
    Run("end_to_end_gpu", "end_to_end", f"{ON_GPU} --batch-size 64 --workers 2 8 16", "gpu"),
)
ON_CPU = " --device cpu"
# so little of everything that a script is done in seconds, whatever the options before say
TINY = {
    "startup": "--runs 1",
    "cache_read": "--items 100 --runs 1",
    "cache_torture": "--kills 2 --items 30 --backend h5",
    "rerun": "--items 10 --runs 1",
    "retrieval": "--small 30 40 --candidates 300 --queries 50 --dim 8 --runs 1",
    "large_cache": "--items 3000 --pictures 700",
    "search": "--exact 3000 --approximate 200000 --clusters 20 --queries 5 --runs 3",
    "service": "--items 300 --users 3 --seconds 2 --alone 1",
    "tagging": "--items 600 --runs 1 --no-training",
    "sweep_step": "--heads 1 2 --runs 1" + ON_CPU,
    "fleet": "--items 4 --workers 1 --rounds 1",
    "decoders": "--pictures 2 --large 2 --rounds 1 --model ViT-S-32-alt",
    "end_to_end": "--batch-size 2 --steps 2 --rounds 1 --workers 2 --seconds 4 --format wav" + ON_CPU,
    "extraction": "--items 3 --seconds 1 --format wav --loop-items 1 --batch-size 2 --rounds 1 --workers 1" + ON_CPU,
    "memory": "--parts pictures hours --pictures 2 --hours 0.01 --encoder timbre --workers 1",
    "feeding": "--pictures 8 --rounds 1",
    "networks": "--encoders short_chunk_cnn --batches 1",
    "paper_run": "--heads 1 2 --batches 1 --at-once 1 --share 0.05 --epochs 1",
    "uncertainty": "--repeats 2 --resamples 50 --runs 1",
    "planted": "--draws 20 --shuffles 20 --vectors hashed",
    "ratings": "--works 16 8 10 --channels 4 --epochs 1 --head-epochs 1",
    "emomusic": "--generated 60 --folds 3 --seeds 1 --epochs 1",
    "unfreezing": "--folds 3 --seeds 1 --epochs 1 --steps 1 --batch-size 4 --val-batches 1 --long 1",
    "conditioning": "--videos 4 --passages 2 --seeds 1 --epochs 1 --batches 1 --batch-size 2",
    "linear_probe": "--generated 8 --length 49152 --random 42 43 --folds 2 --resamples 20 --beside timbre",
    "bridge": "--halves 2 --folds 3 --seeds 1 --labels 2 --epochs 1 --batches 2",
}


def main(words: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 if any of it failed."""
    words = list(sys.argv[1:] if words is None else words)
    place = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--set", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument(
        "--only", nargs="+", choices=[run.name for run in RUNS], metavar="NAME", help="instead of a set"
    )
    parser.add_argument("--tiny", action="store_true", help="only try whether everything works")
    parser.add_argument("--results", type=Path, help="folder; default benchmarks/results")
    asked = parser.parse_args(words[:place])
    runs = [run for run in RUNS if (run.name in asked.only if asked.only else run.set == asked.set)]
    begun, failed = time.monotonic(), []
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.results or (Path(scratch) if asked.tiny else RESULTS)
        for number, run in enumerate(runs, 1):
            print(f"[{number}/{len(runs)}] {run.name}", flush=True)
            more = [*(tiny(run) if asked.tiny else ()), *words[place + 1 :]]
            if not succeeds(run, more, folder / f"{run.name}.json"):
                failed.append(run.name)
    print(f"{len(runs) - len(failed)} of {len(runs)} done in {time.monotonic() - begun:.0f} s", flush=True)
    if failed:
        print(f"FAILED: {', '.join(failed)}", flush=True)
    return int(bool(failed))


def tiny(run: Run) -> list[str]:
    """Options that leave next to nothing to do."""
    small_model = " --model ViT-S-32-alt" if "--encoder clip" in run.options else ""
    return shlex.split(TINY[run.script] + small_model)


def succeeds(run: Run, more: Sequence[str], path: Path) -> bool:
    """Run a script, and tell how long it took and which goals were missed."""
    begun = time.monotonic()
    command = [sys.executable, str(HERE / f"{run.script}.py"), *shlex.split(run.options), *more, "--json", str(path)]
    code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode
    print(f"    {'done' if code == 0 else f'FAILED ({code})'} in {time.monotonic() - begun:.0f} s", flush=True)
    if code:
        return False
    for row in json.loads(path.read_text(encoding="utf-8"))["rows"]:
        if row["met"] is False:
            ratio = "" if row["ratio"] is None else f", ratio {row['ratio']:.3g}"
            print(f"    goal missed: {row['name']}: {row['ours']:.3g} {row['unit']}{ratio} ({row['goal']})", flush=True)
    return True


if __name__ == "__main__":
    sys.exit(main())
