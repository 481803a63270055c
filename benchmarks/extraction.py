"""Extraction into an HDF5 cache, against the least that it could take, and against one file at a time.

The limit is the bare forward pass of as many batches of the same size, and the core-seconds that decoding takes in one
thread, shared by all cores; on a GPU, which computes while the cores decode, the longer of the two. One file at a time
is as published evaluation code does it: decode a file, encode its windows, then the next, with no batch across files
and no other process. All are measured in rounds that alternate; medians. The network is built before.

A recording costs a core what reading, mixing down, resampling and cutting it take; the spectrogram is the network's.
Beside it stands the same by plain calls of soundfile and soxr, for the whole file at once and without cutting it.

Files are generated where no manifest is named: JPEGs of 640 x 480 with about 90 KB, or recordings in stereo with 44.1
kHz. Without a checkpoint the network has pseudo-weights, as good as any for speed and for nothing else. Of the time by
the clock, "waiting" is for something decoded, "decode" what all processes together spent on that.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import generated
import soundfile
import soxr
import torch
from clock import seconds
from record import Row, command_line, counted, publish
from torch import Tensor

from emoclim.cache import open_cache
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Item, Manifest, read_manifest
from emoclim.encoders import Encoder, frozen
from emoclim.encoders.loading import load_encoder
from emoclim.errors import DecodeError
from emoclim.extraction.batches import even_batch
from emoclim.extraction.glibc_malloc import keep_freed_memory
from emoclim.pipeline.machine import usable_cores
from emoclim.reports.extraction import Timing
from emoclim.stages.encoding import CPU_BATCH
from emoclim.stages.extracting import extract

ENCODERS = ("clip", "musicnn", "harmonic_cnn", "clap", "short_chunk_cnn")
GOALS = {"clip": "<= 1.08", "musicnn": "<= 1.12", "harmonic_cnn": "<= 1.12"}  # of the limit, on a CPU
UNITS = {"image": "images", "audio": "clips"}


def main() -> None:
    """Make what is missing, measure, tell."""
    parser = command_line(__doc__)
    parser.add_argument("--encoder", choices=ENCODERS, default="clip")
    parser.add_argument("--model", help="which of its models; default the encoder's")
    parser.add_argument("--checkpoint", type=Path, help="default pseudo-weights")
    parser.add_argument("--manifest", type=Path, help="real files; default generated ones")
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a generated recording")
    parser.add_argument("--format", default="mp3", choices=("mp3", "flac", "wav"), help="of a generated recording")
    parser.add_argument("--decode-items", type=int, help="how many are decoded to learn what that takes; default all")
    parser.add_argument("--loop-items", type=int, default=100, help="how many are encoded one at a time")
    parser.add_argument("--workers", type=int, nargs="+", default=[usable_cores()], help="decoding processes")
    parser.add_argument("--batch-size", type=int, default=CPU_BATCH)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", choices=("fp32", "bf16", "fp16"))
    parser.add_argument("--compile", action="store_true", help="compile the network, for extraction only")
    parser.add_argument("--rate", help="goal in items per second")
    parser.add_argument("--folder", type=Path, help="where files are made; default the system's for such files")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        folder = Path(name)
        encoder = load(asked, folder)
        modality = encoder.spec.modality
        if asked.manifest:
            manifest = usable(read_manifest(asked.manifest, modality, unlabelled=True), encoder, asked.items)
        else:
            manifest = generated.manifest(modality, folder, asked.items, asked.seconds, asked.format)
        details = Measurement(manifest, encoder, asked, folder).run()
    details |= {"parameters": encoder.spec.checkpoint if asked.checkpoint else generated.PSEUDO}
    packages = ("torch", "h5py", "pillow") if modality == "image" else ("torch", "h5py", "soundfile", "soxr")
    publish("Extraction", __doc__, asked, list(rows(asked, manifest, details)), details, *packages)


def load(asked: argparse.Namespace, folder: Path) -> Encoder:
    """The encoder, its network built; with pseudo-weights it is of a training that nobody published."""
    settings = {"model": asked.model} if asked.model else {}
    if asked.encoder == "clip" and not asked.checkpoint:
        settings["pretrained"] = "none"
    path = asked.checkpoint or generated.checkpoint(folder, asked.encoder, asked.model)
    encoder = load_encoder(asked.encoder, checkpoint=path, precision=asked.precision, **settings)
    _ = encoder.module.to(asked.device)
    return encoder


def usable(whole: Manifest, encoder: Encoder, number: int) -> Manifest:
    """The first items that can be decoded and of which none is another's copy."""
    items: dict[str, Item] = {}
    keys = ContentKeys()
    for item in whole.items:
        with suppress(DecodeError):
            for _ in encoder.prepare(item):
                pass
            items.setdefault(keys(item), item)
        if len(items) == number:
            break
    return replace(whole, items=tuple(items.values()))


@dataclass
class Measurement:
    """Ways to encode a manifest, that take turns."""

    manifest: Manifest
    encoder: Encoder
    asked: argparse.Namespace
    folder: Path

    def run(self) -> dict[str, Any]:
        """Medians, what they follow from, and where the time of each extraction went."""
        asked, device = self.asked, torch.device(self.asked.device)
        decoded = self.manifest.items[: asked.decode_items]
        share = len(decoded) / len(self.manifest.items)
        segments = math.ceil(self.decode(decoded)[0] / share)
        sound = self.manifest.modality == "audio"
        size = even_batch(asked.batch_size) if device.type == "cpu" else asked.batch_size  # as extraction does it
        batches = -(-segments // size)
        batch = self.batch(size).to(device)
        alone = self.manifest.items[: asked.loop_items]
        self.forward(batch, 2)
        self.extract(self.manifest.items[:size], asked.workers[0])  # untimed: what is loaded on first use is there
        taken: dict[str, list[float]] = {
            name: [] for name in ("decode", "forward", "loop", *(["plain"] if sound else []))
        }
        timings: dict[int, list[Timing]] = {workers: [] for workers in asked.workers}
        for _ in range(asked.rounds):
            taken["decode"].append(self.decode(decoded)[1] / share)
            if sound:
                taken["plain"].append(plain_decoding(decoded, self.encoder) / share)
            taken["forward"].append(seconds(partial(self.forward, batch, batches), device))
            for workers, found in timings.items():
                found.append(self.extract(self.manifest.items, workers))
            taken["loop"].append(seconds(partial(self.loop, alone), device))
        medians = {name: statistics.median(found) for name, found in taken.items()}
        cores = usable_cores()
        shares = (medians["forward"], medians["decode"] / cores)
        return {
            "items": len(self.manifest.items),
            "decode_items": len(decoded),
            "segments": segments,
            "batch_size": size,
            "batches": batches,
            "cores": cores,
            "decode_core_seconds": medians["decode"],
            "plain_decode_core_seconds": medians.get("plain"),
            "sound_seconds": sum(map(length, decoded)) / share if sound else None,
            "forward_seconds": medians["forward"],
            "limit_seconds": sum(shares) if device.type == "cpu" else max(shares),
            "loop_items": len(alone),
            "loop_seconds": medians["loop"],
            "extraction": {workers: middle(list(map(asdict, found))) for workers, found in timings.items()},
            "rounds": taken
            | {f"{workers} workers": [one.total for one in found] for workers, found in timings.items()},
        }

    def decode(self, items: Sequence[Item]) -> tuple[int, float]:
        """Decode items in this process, in one thread as workers do; how many segments they are, and core-seconds."""
        torch.set_num_threads(1)  # further ones would be waited for, or wait, by spinning
        begun = time.process_time()
        segments = sum(len(block) for item in items for block in self.encoder.prepare(item))
        taken = time.process_time() - begun
        torch.set_num_threads(self.asked.threads)
        return segments, taken

    def batch(self, size: int) -> Tensor:
        """The first segments, again and again if there are too few: ``(size, *input_shape)``."""
        blocks: list[Tensor] = []
        for item in self.manifest.items:
            blocks += self.encoder.prepare(item)
            if sum(map(len, blocks)) >= size:
                break
        rows = torch.cat(blocks)
        return rows.repeat(-(-size // len(rows)), *(1,) * (rows.dim() - 1))[:size].contiguous()

    def forward(self, batch: Tensor, times: int) -> None:
        """Nothing but the network."""
        with keep_freed_memory(batch.device), frozen(self.encoder.spec, batch.device):
            for _ in range(times):
                self.encoder.module(batch)

    def loop(self, items: Sequence[Item]) -> list[Tensor]:
        """One file at a time; the mean feature of each."""
        device = torch.device(self.asked.device)
        features = []
        for item in items:
            windows = torch.cat(list(self.encoder.prepare(item)))
            with frozen(self.encoder.spec, device):
                features.append(self.encoder.module(windows.to(device)).float().mean(0).cpu())
        return features

    def extract(self, items: Sequence[Item], workers: int) -> Timing:
        """Fill a new cache; its total is by the clock, with opening and closing that."""
        asked = self.asked
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            begun = time.perf_counter()
            with open_cache(Path(folder) / "features.h5", self.encoder.spec) as cache:
                done = extract(
                    replace(self.manifest, items=tuple(items)),
                    self.encoder,
                    cache,
                    batch_size=asked.batch_size,
                    workers=workers,
                    device=asked.device,
                    compiled=asked.compile,
                )
            total = time.perf_counter() - begun
        if done.encoded < len(items):
            raise RuntimeError(f"only {done.encoded} items were encoded: {done.failures[:3]}, {done.duplicates[:3]}")
        return Timing(**{**asdict(done.timing), "total": total})


def middle(timings: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The median of each kind of time."""
    return {kind: statistics.median(one[kind] for one in timings) for kind in timings[0]}


def plain_decoding(items: Sequence[Item], encoder: Encoder) -> float:
    """Core-seconds of reading, mixing down and resampling, a file at a time."""
    rate = round(encoder.input_shape[-1] / encoder.segment_seconds)
    begun = time.process_time()
    for item in items:
        samples, found = soundfile.read(item.path, dtype="float32", always_2d=True)
        soxr.resample(samples.mean(1), found, rate, quality="HQ")
    return time.process_time() - begun


def length(item: Item) -> float:
    """Seconds of a recording, by its header."""
    return float(soundfile.info(item.path).duration)


def rows(asked: argparse.Namespace, manifest: Manifest, details: Mapping[str, Any]) -> Iterator[Row]:
    """What was found."""
    unit, number = UNITS[manifest.modality], details["items"]
    weights = "" if asked.checkpoint else ", pseudo-weights"
    subject = f"{' '.join(filter(None, (asked.encoder, asked.model)))} {asked.precision}{weights}, {number:,} "
    subject += f"real {unit}" if asked.manifest else f"generated {unit}"
    subject += ", compiled" if asked.compile else ""
    on_cpu = torch.device(asked.device).type == "cpu"
    limit = "forward + decoding / cores" if on_cpu else "forward, or decoding / cores"
    if (sound := details["sound_seconds"]) is not None:
        ours, plain = (1e4 * details[name] / sound for name in ("decode_core_seconds", "plain_decode_core_seconds"))
        yield Row(f"{subject}: a core's time for 10 s of sound", ours, "ms", "soundfile and soxr", plain, "<= 10 ms")
    for workers, timing in details["extraction"].items():
        name, total = f"{subject}, {counted(workers, 'worker')}", timing["total"]
        yield Row(name, total, "s", limit, details["limit_seconds"], GOALS.get(asked.encoder) if on_cpu else None)
        alone = details["loop_items"] / details["loop_seconds"]
        goal = f">= {asked.rate} {unit}/s" if asked.rate else None
        yield Row(f"{name}: speed", number / total, f"{unit}/s", "one file at a time", alone, goal)
        for kind, spent in timing.items():
            if kind != "total":
                yield Row(f"{name}: {kind}", 100 * spent / total, "% of the time")


if __name__ == "__main__":
    main()
