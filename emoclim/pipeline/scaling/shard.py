"""Encode one shard of an extraction: what a worker does, again and again, with an encoder that it loads once."""

import json
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from emoclim.cache import open_cache
from emoclim.data import ContentKeys, Fingerprint, Item, Manifest
from emoclim.encoders import Encoder, choose_device, flushed_denormals, load_encoder
from emoclim.errors import DecodeError
from emoclim.pipeline.machine import decoders
from emoclim.pipeline.workspace import Shard
from emoclim.progress import Track
from emoclim.stages import extract


def encode_shard(task: Mapping[str, Any], common: Mapping[str, Any], track: Track) -> dict[str, Any]:
    """Encode one shard into a cache of its own: what a worker does; return what came of it."""
    encoder = _encoder(json.dumps(common["encoder"]))
    items = tuple(Item(id_, path and Path(path), text, start, end) for id_, path, text, start, end in task["items"])
    manifest = Manifest(**common["manifest"] | {"source": Path(common["manifest"]["source"]), "items": items})
    keys = ContentKeys()
    for item in items:
        if known := task["files"].get(item.id):
            keys.learn(item, Fingerprint(*known))
    whole = Path(common["cache"])

    def tracked(sequence: Iterable[Any], description: str = "", total: float | None = None) -> Iterable[Any]:
        return track(sequence, description, total) if description.startswith("encode") else sequence

    with flushed_denormals(), open_cache(Shard(task["number"], common["count"]).path(whole), encoder.spec) as cache:
        done = extract(
            manifest,
            encoder,
            cache,
            batch_size=common["batch_size"],
            workers=decoders(common["workers"], common["cores"]),
            device=choose_device(common["device"]),
            track=tracked,
            keys=keys,
            keep_segments=common["keep_segments"],
            compiled=common["compiled"],
            elsewhere=_keys_of(whole) if common["holds_some"] else frozenset(),
        )
    return {
        "padded": done.padded,
        "segments": done.segments,
        "seconds": asdict(done.timing),
        "given_up": {one.id: one.reason for one in done.failures},
        "remarks": done.remarks,
        "files": _files(items, keys),
    }


@lru_cache(1)
def _encoder(told: str) -> Encoder:
    """Load the encoder once in a worker, whichever shards it works at."""
    asked = json.loads(told)
    checkpoint = asked["checkpoint"] and Path(asked["checkpoint"])
    return load_encoder(asked["name"], checkpoint=checkpoint, **asked["settings"])


@lru_cache(1)
def _keys_of(cache: Path) -> AbstractSet[str]:
    """Return the keys that a cache holds; while the command is at work, it gets no others."""
    with open_cache(cache) as opened:
        return opened.keys()


def _files(items: Sequence[Item], keys: ContentKeys) -> dict[str, Fingerprint]:
    """Tell what the files are that could be read, for the memo that the workers have in common."""
    found = {}
    for item in items:
        with suppress(DecodeError):
            if item.path is not None and (known := keys.fingerprint(item)):
                found[item.id] = known
    return found
