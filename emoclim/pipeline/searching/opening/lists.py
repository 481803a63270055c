"""Make and open lists by which a large library is ranked without reading all of it. Used by search and its index."""

import logging

from emoclim.errors import CacheError, MissingLibrary, reason_of
from emoclim.files import remove
from emoclim.index import ApproximateRanker, Index, build_lists, read_lists
from emoclim.pipeline.searching.opening.indexes import lock_index
from emoclim.progress import Track

log = logging.getLogger(__name__)

BEHIND = 0.1  # share of the items behind lists, which are read all, from which it is told to make them anew
AGAIN = "make them anew with: emoclim index --approximate"


def open_lists(index: Index) -> ApproximateRanker | None:
    """Open the lists of an index; None where there are none, or where they are of no use, which is told."""
    try:
        lists = read_lists(index.lists, index.embedded.vectors) if index.folder else None
    except (CacheError, MissingLibrary) as error:
        log.warning("%s has lists, but all of it is read: %s", index.folder, error)
        return None
    if lists and (behind := len(index.items) - lists.listed) > BEHIND * lists.listed:
        log.warning("%d items of %s are in no lists, and read all; %s", behind, index.folder, AGAIN)
    return lists


def make_lists(index: Index, track: Track) -> tuple[ApproximateRanker, float | None]:
    """Make the lists of an index, if there are none of all its items, and tell what share of the nearest they find."""
    if index.folder is None:
        raise CacheError("lists cannot be made of an index that cannot be kept; make room, or let it be written")
    try:
        lock, _ = lock_index(index.folder)
        recall = None
        try:
            lists = open_lists(index)
            if lists is None or lists.listed < len(index.items):
                recall = build_lists(index.lists, index.embedded.vectors, track)
                lists = read_lists(index.lists, index.embedded.vectors)
        finally:
            lock.release()
    except OSError as error:
        raise CacheError(f"{index.lists} cannot be written ({reason_of(error)}); make room on the disk") from error
    assert lists is not None
    return lists, recall


def remove_lists(index: Index) -> None:
    """Delete the lists of an index, if there are any, so that all of it is read."""
    if index.folder and index.lists.is_file():
        remove(index.lists)
