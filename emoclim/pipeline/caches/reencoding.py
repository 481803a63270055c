"""Some items of a cache encoded once more: whether the libraries of today make the features of then."""

from collections.abc import Collection, Iterator

import torch

from emoclim.cache.base import FeatureCache
from emoclim.cache.memory import MemoryCache
from emoclim.data.content import ContentKeys
from emoclim.data.manifest import Item, Manifest
from emoclim.errors import CacheError, DecodeError, EmoclimError
from emoclim.pipeline.caches.comparison import Gap, gap_between
from emoclim.pipeline.caches.finding import encoder_of
from emoclim.pipeline.libraries import CacheNote, open_library
from emoclim.pipeline.workspace import Workspace, choose_device
from emoclim.progress import Track, silent
from emoclim.stages.extract import extract


def encode_again(
    note: CacheNote,
    cache: FeatureCache,
    count: int,
    *,
    avoid: Collection[str] = (),
    seed: int = 0,
    device: str = "auto",
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    track: Track = silent,
) -> tuple[Gap, tuple[str, ...]]:
    """Encode random items of a cache from their files, and compare.

    Parameters
    ----------
    note, cache
        Which; open for reading.
    count
        How many items; fewer if there are not so many.
    avoid
        Keys of items to leave out.
    seed
        Decides which.
    device
        ``auto``, ``cpu``, ``cuda`` or ``mps``.
    workspace
        Where the memo of content keys lies.
    track
        Shows progress.

    Returns
    -------
    tuple of Gap and tuple of str
        How far they are apart; and why some cannot be encoded any more, one sentence each.

    Raises
    ------
    EmoclimError
        The encoder is gone or was never known, or no file is there and as it was.
    """
    encoder = encoder_of(note, track)
    keys = ContentKeys(workspace.caches / "content.json")
    chosen: dict[str, Item] = {}
    for key, item in _unchanged_items(note, cache.keys() - frozenset(avoid), keys, seed):
        chosen.setdefault(key, item)
        if len(chosen) == count:
            break
    keys.save()
    if not chosen:
        raise CacheError(
            f"no item of {note.path} can be encoded again, for no file is there and as it was; extract them"
        )
    manifest = Manifest(f"{len(chosen)} items again", note.spec.modality, note.path, tuple(chosen.values()))
    with MemoryCache(encoder.spec) as again:
        extraction = extract(manifest, encoder, again, device=choose_device(device), track=track, keys=keys)
        made = [key for key in chosen if key in again]
        gap = gap_between(cache.read(made), again.read(made))
    problems = [
        f"{failure.id} was encoded, and cannot be any more: {failure.reason}" for failure in extraction.failures
    ]
    return gap, tuple(problems)


def _unchanged_items(
    note: CacheNote, committed: Collection[str], keys: ContentKeys, seed: int
) -> Iterator[tuple[str, Item]]:
    """Items of all manifests that are still there, in random order, with their keys, if these are committed."""
    items: list[Item] = []
    for source in note.sources:
        try:
            items += open_library(note, source, need_files=False).manifest.items
        except EmoclimError:  # a manifest that is gone has no items to encode
            continue
    for row in torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist():
        try:
            key = keys(items[row])
        except DecodeError:
            continue
        if key in committed:
            yield key, items[row]
