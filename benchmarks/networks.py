"""What a segment costs each network on a CPU as extraction runs it, and what it would without what was done about it.

Time and memory of the forward pass alone, at extraction's batch size, each way in a process of its own; medians of the
batches. The memory is what the process holds beyond what it held with the network built and the batch made. Parameters
are untrained, which costs the same, for trained ones are loaded without denormal numbers, the only ones that cost more.

"Freed memory not kept": as glibc does by itself, every large block goes back to the system and is cleared when it is
taken again. "All pitches at once": musicnn's first layer as it is written, before the maximum over pitch. "Channels
first": torch's own layout of what a convolution takes. "Compiled": by torch.compile, before the time is taken.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext

import torch
from record import Row, command_line, publish

from emoclim.encoders.loading import find_encoder
from emoclim.encoders.nets import musicnn
from emoclim.extraction.glibc_malloc import keep_freed_memory
from emoclim.stages.encoding import CPU_BATCH

SHAPES = {
    "clip": (3, 224, 224),
    "clap": (480_000,),
    "musicnn": (48_000,),
    "harmonic_cnn": (80_000,),
    "short_chunk_cnn": (59_049,),
}
OURS, FREED, PITCHES, LAYOUT, COMPILED = (
    "as extraction does it",
    "freed memory not kept",
    "all pitches at once",
    "channels first",
    "compiled",
)
OWN = {"musicnn": (PITCHES,), "harmonic_cnn": (LAYOUT,)}


def main() -> None:
    """Run each way by itself."""
    parser = command_line(__doc__)
    parser.add_argument("--encoders", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--batches", type=int, default=8)
    parser.add_argument("--compile", action="store_true", help="compile them too")
    parser.add_argument("--way", nargs=2, metavar=("ENCODER", "WAY"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        print(json.dumps(measured(*asked.way, asked.batches)))
        return
    found: dict[str, dict[str, dict[str, float]]] = {}
    for encoder in asked.encoders:
        ways = (OURS, FREED, *OWN.get(encoder, ()), *((COMPILED,) if asked.compile else ()))
        found[encoder] = {way: in_a_process(encoder, way, asked.batches) for way in ways}
    publish("Networks", __doc__, asked, list(rows(found)), {"ways": found}, "torch")


def in_a_process(encoder: str, way: str, batches: int) -> dict[str, float]:
    """What is measured in a process that does nothing else."""
    command = [sys.executable, __file__, "--batches", str(batches), "--way", encoder, way]
    told = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
    result: dict[str, float] = json.loads(told)
    return result


def measured(encoder: str, way: str, batches: int) -> dict[str, float]:
    """Milliseconds of a segment, and megabytes."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        network = find_encoder(encoder).untrained().eval()
        batch = torch.randn(CPU_BATCH, *SHAPES[encoder])
    if way == PITCHES:
        musicnn.PITCHES = musicnn.N_MELS
    if way == LAYOUT:
        network = network.to(memory_format=torch.contiguous_format)
    if way == COMPILED:
        network = torch.compile(network, dynamic=False)
    before, taken = peak(), []
    with nullcontext() if way == FREED else keep_freed_memory(torch.device("cpu")), torch.inference_mode():
        network(batch)  # what is loaded on first use is there
        for _ in range(batches):
            begun = time.perf_counter()
            network(batch)
            taken.append(time.perf_counter() - begun)
    return {"milliseconds": 1e3 * statistics.median(taken) / len(batch), "megabytes": peak() - before}


def peak() -> float:
    """Most memory that this process has held, in megabytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def rows(found: dict[str, dict[str, dict[str, float]]]) -> Iterator[Row]:
    """Ours against each other way."""
    for encoder, ways in found.items():
        for way, other in ways.items():
            if way != OURS:
                ours = ways[OURS]
                yield Row(f"{encoder}: a segment", ours["milliseconds"], "ms", way, other["milliseconds"])
                yield Row(f"{encoder}: memory", ours["megabytes"], "MB", way, other["megabytes"])


if __name__ == "__main__":
    main()
