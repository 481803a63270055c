"""Encode what a cache lacks on many workers, in shards of their own, and put these into it. Used by `extract`.

Each item is in one shard, by the hash of its content where that is known without reading it, else by its path: parts of
one file are never read by two workers. The shards are tasks, which workers claim; when each is done, the shards are
merged and removed. So a command that is stopped, and typed again, goes on with the shards that are there.
"""

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emoclim.cache import SHARDS, FeatureCache, who_writes
from emoclim.cluster import Engine, Job, TaskFolder, run_tasks
from emoclim.config import ExtractConfig
from emoclim.data import ContentKeys, Fingerprint, Item, Manifest
from emoclim.encoders import Encoder
from emoclim.errors import CacheError, DecodeError, EmoclimError
from emoclim.files import partial_beside
from emoclim.pipeline.caches.merge import append_shards
from emoclim.pipeline.find_caches import shards_in
from emoclim.progress import Stopwatch, Track, silent
from emoclim.reports import Extraction, Timing

SHARDS_PER_WORKER = 16  # so that no worker is long at its last one while others have none
WORTH_A_SHARD = 32  # items: a shard costs the start of the processes that decode
TASKS = "tasks"
CALL = "emoclim.pipeline.scaling.shard:encode_shard"
BY_CLOCK = ("waiting", "compute", "blocked")  # parts of the time of each worker


@dataclass(slots=True)
class Spread:
    """What workers did with the items that a cache lacked."""

    encoded: int = 0
    resumed: int = 0  # of those encoded: by workers of a command that was stopped
    segments: int = 0
    padded: int = 0
    seconds: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(Timing.__slots__, 0.0)
    )  # by the fields of Timing
    given_up: dict[str, str] = field(default_factory=dict)  # reasons by id of items that were tried just now
    remarks: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, result: Mapping[str, Any]) -> None:
        """Count what came of a shard."""
        self.padded += result["padded"]
        self.segments += result["segments"]
        for name, seconds in result["seconds"].items():
            self.seconds[name] += seconds
        self.given_up.update(result["given_up"])
        for about, examples in result["remarks"].items():
            self.remarks.setdefault(about, {}).update(examples)

    def joined(self, rest: Extraction) -> Extraction:
        """Tell what was done as one run tells it, by that of the run that found nothing more to do."""
        return replace(
            rest,
            encoded=rest.encoded + self.encoded,
            reused=rest.reused - self.encoded,
            padded=rest.padded + self.padded,
            segments=rest.segments + self.segments,
            resumed=min(self.resumed, self.encoded),
            timing=Timing(**self.seconds) if self.encoded else rest.timing,
            remarks=self.remarks or rest.remarks,
        )


@dataclass(frozen=True, slots=True)
class Spreading:
    """An extraction on the workers of an engine, into a cache on disk that is opened for writing."""

    engine: Engine
    manifest: Manifest
    encoder: Encoder
    cache: FeatureCache
    config: ExtractConfig
    keys: ContentKeys
    keep_segments: bool
    device: str
    track: Track = silent

    @property
    def folder(self) -> Path:
        """Where the shards lie until they are merged."""
        assert self.cache.path is not None
        return self.cache.path.with_suffix(SHARDS)

    @property
    def tasks(self) -> TaskFolder:
        """The shards as tasks."""
        return TaskFolder(self.folder / TASKS)

    def run(self) -> Spread:
        """Fill the cache with what it lacks of the manifest."""
        job, watch, spread = self._plan(), Stopwatch(), Spread()
        if not job.sizes:
            return spread
        before, segments = len(self.cache), self.cache.n_segments
        spread.resumed = self.tasks.items_done(job, self.tasks.undone(job))
        with watch.time("total"):
            what = f"encode {self.manifest.name} on {self.engine.name}"
            run_tasks(self.tasks, self.engine, track=self.track, description=what)
            errors = self._collect(job, spread)
            if len(errors) == len(job.sizes):
                raise EmoclimError(f"no worker on {self.engine.name} could encode anything: {errors[0]}")
            self._merge()
        self.keys.save()
        spread.encoded = len(self.cache) - before  # workers that were killed told nothing of what they had committed
        spread.segments = max(spread.segments, self.cache.n_segments - segments)
        spread.seconds["total"] = watch.seconds["total"]
        for name in BY_CLOCK:
            spread.seconds[name] /= min(self.engine.workers, len(job.sizes))
        return spread

    def _plan(self) -> Job:
        """Find the plan that a command made that was stopped, or make one, of what the cache lacks."""
        key, job = self._key(), self.tasks.job()
        if job is not None and job.key == key:
            job = replace(job, common=self._common(job.common["count"]))
            self.tasks.go_on_with(job)
            return job
        self._end_plan()
        self._merge()
        tasks = _shared_out(self._lacking(), self.engine.workers, self.keys)
        job = Job(key, CALL, self._common(len(tasks)), [len(task["items"]) for task in tasks])
        if tasks:
            self.tasks.write(job, tasks)
        return job

    def _key(self) -> str:
        """Hash what is to be encoded."""
        said = self.manifest.digest(), str(self.manifest.source), self.keep_segments, self.config.rehash
        told = hashlib.blake2b(repr(said).encode(), digest_size=8)
        for item in self.manifest.items:
            told.update(repr((item.id, str(item.path), item.start, item.duration)).encode())
        return told.hexdigest()

    def _common(self, count: int) -> dict[str, Any]:
        config, manifest = self.config, self.manifest
        checkpoint = config.checkpoint and str(config.checkpoint)
        return {
            "encoder": {"name": self.encoder.spec.name, "settings": dict(config.settings), "checkpoint": checkpoint},
            "manifest": {"name": manifest.name, "modality": manifest.modality, "source": str(manifest.source)},
            "cache": str(self.cache.path),
            "count": count,
            "holds_some": len(self.cache) > 0,
            "device": self.device.partition(":")[0],  # each worker sees its own
            "batch_size": config.batch_size,
            "workers": config.workers,
            "cores": self.engine.cores,
            "keep_segments": self.keep_segments,
            "compiled": config.compiled,
        }

    def _lacking(self) -> list[Item]:
        """List the items that may have to be encoded, as far as that is known without reading them."""
        settled = self.cache.keys() | (frozenset() if self.config.retry_failed else self.cache.failures().keys())
        todo, items = [], self.manifest.items
        for item in self.track(items, description=f"look up {self.manifest.name}", total=len(items)):
            with suppress(DecodeError):  # the file is not there, which is told at the end
                if (key := self.keys.known(item)) is None or key not in settled:
                    todo.append(item)  # copies, too, for which their worker turns where the first cannot be read
        return todo

    def _collect(self, job: Job, spread: Spread) -> list[str]:
        """Add up what came of the shards, and learn what the files are; return why shards could not be done."""
        items = {item.id: item for item in self.manifest.items}
        errors = []
        for number in range(1, len(job.sizes) + 1):
            outcome = self.tasks.read(number, ".done")
            if "error" in outcome:
                errors.append(outcome["error"])
                spread.given_up.update((item[0], errors[-1]) for item in self.tasks.read(number)["items"])
                continue
            spread.add(outcome["result"])
            for id_, found in outcome["result"]["files"].items():
                self.keys.learn(items[id_], Fingerprint(*found))
        return errors

    def _end_plan(self) -> None:
        """Keep workers that outlived another plan from what is left of it; nobody may be at work on that."""
        for _ in range(2):  # who began just before it ended, is seen then
            for claimed in self.tasks.path.glob("*.json.writer"):
                _require_idle(claimed.with_suffix(""))
            self.tasks.end()

    def _merge(self) -> None:
        """Put all shards that lie there into the cache, and remove them; the plan first, which is done with."""
        shards = shards_in(self.folder) if self.folder.is_dir() else []
        for shard in shards:
            _require_idle(shard)
        append_shards(shards, self.cache, self.track)
        self.tasks.remove()
        if self.folder.is_dir() and not self.folder.is_symlink():
            done = self.folder.rename(partial_beside(self.folder))  # a shard that is half removed could not be read
            shutil.rmtree(done)


def _require_idle(shard: Path) -> None:
    """Raise where somebody is at work on a shard, or on the task of one."""
    if who := who_writes(shard):
        raise CacheError(f"shard {shard} is being written by {who}; wait for it to end, or stop it there")


def _shared_out(items: Sequence[Item], workers: int, keys: ContentKeys) -> list[dict[str, Any]]:
    """Share items out to tasks, none of which is empty."""
    count = min(len(items), max(workers, min(workers * SHARDS_PER_WORKER, len(items) // WORTH_A_SHARD)))
    shares: dict[int, dict[str, Any]] = {}
    for item in items:
        known = keys.fingerprint(item) if item.path is not None else None
        name = known.digest if known else str(item.path or item.text)
        place = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) % count
        share = shares.setdefault(place, {"items": [], "files": {}})
        share["items"].append([item.id, item.path and str(item.path), item.text, item.start, item.duration])
        if known:
            share["files"][item.id] = known
    return [share | {"number": number} for number, (_, share) in enumerate(sorted(shares.items()), start=1)]
