"""Extraction by `--on`, against a bare pool of as many processes, and what a large library takes on paper.

The bare pool is what one starts by hand: as many processes of `emoclim extract --shard I/N` at the same time, each
with an equal part of the pictures and of the cores. Both encode the same pictures by the same encoder, from nothing,
in turn; medians.
Beyond the pool, `--on` plans, claims shards, watches, joins them to one cache and looks through the manifest. The pool
joins nothing. For want of a cluster of SLURM, its jobs are processes of this machine, which submitit's local executor
starts; Ray runs here too, with a node for each worker, and was started before.

On paper: items by the rate of a worker and the number of workers, and what deaths of workers add. Rates are those that
`extraction.py` measured of each encoder, on the machines that its results name, and round ones. Published is that of
16,384 GPUs in 54 days 419 failed unexpectedly (A. Grattafiori et al., "The Llama 3 Herd of Models", 2024, section
3.3.4). A death costs the start of another worker, what was encoded since the last commit, and at the worst a lease of
the lock. The end waits for the last shard, of which each worker has sixteen.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import generated
from record import Row, command_line, counted, publish

FAILURES_PER_GPU_HOUR = 419 / (54 * 24 * 16_384)
START, COMMIT, LEASE = 60.0, 10.0, 90.0  # seconds: of a worker, between commits, of a lock of NFS
SHARDS_PER_WORKER = 16
LONG = 300.0  # seconds of work that the goal is of: starting, planning and joining take some seconds of any
RESULTS = Path(__file__).parent / "results"
SUBMITIT = "from emoclim.cluster.engines.slurm import Slurm; Slurm.executor = 'local'"
JOBS_HERE = f"{SUBMITIT}; from emoclim.cli import app; app()"
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def main() -> None:
    """Measure and reckon, tell."""
    parser = command_line(__doc__)
    parser.add_argument("--engines", nargs="+", default=["local"], choices=["local", "slurm", "ray"])
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--paper-items", type=float, default=1e8)
    parser.add_argument("--paper-workers", type=int, default=64)
    parser.add_argument("--rates", type=float, nargs="+", default=[10, 100, 1000], help="round ones")
    asked = parser.parse_args()
    times: dict[str, list[float]] = {kind: [] for kind in ("pool", *asked.engines)}
    with tempfile.TemporaryDirectory() as folder, ray_nodes(asked) as address:
        library = Path(folder) / "library"
        make_library(library, asked.items)
        for kind in list(times) * asked.rounds:
            root = Path(folder) / kind
            shutil.copytree(library, root, copy_function=os.link)  # each has the pictures in the memory of the disk
            begun = time.monotonic()
            run_pool(root, asked) if kind == "pool" else run_on(root, asked, kind, address)
            times[kind].append(time.monotonic() - begun)
            shutil.rmtree(root)
    pool, *engines = (statistics.median(taken) for taken in times.values())
    goal = "<= 1.15" if pool >= LONG else None
    rows = [
        Row(f"{counted(asked.items, 'picture')} on {name}:{asked.workers}", on, "s", "the bare pool", pool, goal)
        for name, on in zip(asked.engines, engines, strict=True)
    ]
    rates = {**{f"of {rate:g} items/s": rate for rate in asked.rates}, **dict(measured_rates())}
    rows += [
        row for told, rate in rates.items() for row in on_paper(asked.paper_items, asked.paper_workers, told, rate)
    ]
    publish("Extraction on many workers", __doc__, asked, rows, {"seconds": times})


def make_library(root: Path, items: int) -> None:
    """Write pictures and their manifest."""
    (root / "data" / "pictures").mkdir(parents=True)
    made = generated.manifest("image", root / "data" / "pictures", items, 0.0, "")
    generated.write_csv(root / "data" / "images.csv", made.items)


def run_pool(root: Path, asked: argparse.Namespace) -> None:
    """Start all processes at once, each on its part of the cores as those of `--on` are, and wait for the last."""
    shards = [f"{part}/{asked.workers}" for part in range(1, asked.workers + 1)]
    own = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // asked.workers))}
    parts = [
        subprocess.Popen([*command(root), "--shard", shard, "--workers", "1"], env=own, **QUIET) for shard in shards
    ]
    codes = [part.wait() for part in parts]
    if any(codes):
        raise SystemExit("a process of the pool failed")


def run_on(root: Path, asked: argparse.Namespace, engine: str, address: str | None) -> None:
    """Start one command."""
    more = {"local": "", "slurm": ",cpus=1", "ray": f",address={address}"}[engine]
    program = ("-c", JOBS_HERE) if engine == "slurm" else ("-m", "emoclim")
    words = [*command(root, program), "--on", f"{engine}:{asked.workers}{more}", "--workers", "1"]
    subprocess.run(words, check=True, **QUIET)


def command(root: Path, program: Sequence[str] = ("-m", "emoclim")) -> list[str]:
    """Words of the command, without what shares it out."""
    words = [sys.executable, *program, "extract", "images", "--encoder", "colour"]
    return [*words, "--workspace", str(root), "--json"]


@contextmanager
def ray_nodes(asked: argparse.Namespace) -> Iterator[str | None]:
    """Start as many nodes of Ray as there are workers, if Ray is asked for; the address of the first."""
    if "ray" not in asked.engines:
        yield None
        return
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        for _ in range(asked.workers - 1):
            cluster.add_node(**node)
        yield cluster.address
    finally:
        cluster.shutdown()


def measured_rates() -> Iterator[tuple[str, float]]:
    """Yield what `extraction.py` measured: which encoder on which machine, and items per second."""
    for path in sorted(RESULTS.glob("extraction_*.json")):
        found = json.loads(path.read_text())
        machine = found["machine"]
        where = machine["gpu"] or f"{machine['cores']} cores of {machine['processor']}"
        speeds = [row for row in found["rows"] if row["name"].endswith(": speed")]
        if speeds:
            best = max(speeds, key=lambda row: row["ours"])
            encoder = path.stem.removeprefix("extraction_")
            yield f"of {where}, {encoder}, {best['ours']:.3g} {best['unit']}", best["ours"]


def on_paper(items: float, workers: int, told: str, rate: float) -> Sequence[Row]:
    """Reckon hours of work, and what deaths and the last shards add."""
    work = items / (workers * rate) / 3600
    deaths = FAILURES_PER_GPU_HOUR * workers * work
    lost = deaths * (START + COMMIT + LEASE) / 3600 / workers
    last = work / SHARDS_PER_WORKER / 2
    what = f"{items:,.0f} items on {workers} workers {told}"
    return [
        Row(f"{what}: work", work, "h"),
        Row(f"{what}: deaths to expect", deaths, ""),
        Row(f"{what}: added by deaths, and by waiting for the last shards, on average", lost + last, "h"),
    ]


if __name__ == "__main__":
    main()
