"""Rank very large libraries without reading all of them, by inverted lists of faiss. Used by search where these are.

The library's vectors are grouped around centres, in 8 bits a value; a query reads the lists of the centres nearest to
it, and the best found there are compared again by the vectors themselves. Invariant: scores are exact; where fewer are
ranked than lists pay for, and of rows that came after the lists were made, all are read.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.errors import CacheError, MissingLibrary
from emoclim.files import atomic
from emoclim.progress import Track, silent
from emoclim.stages import ExactRanker, Ranking, rescore

SAMPLED_PER_LIST = 64  # rows that centres are placed by
BLOCK = 65_536  # rows that are added at once
SEED = 0
CHECKED, NEAREST = 64, 10  # queries that say how many lists are read, and the hits of each
RECALL = 0.98  # share of these that is to be found
AGAIN = 100  # rows that are compared again, and four times as many as are asked for
SAMPLE = 16_384  # rows that percentiles are estimated by
FEW = 100_000  # so many are read all
NARROW = 32  # and one in so many


class ApproximateRanker:
    """Ranks by inverted lists of vectors ``(N, E)``, in which about 98 % of the nearest ten are found.

    Percentiles are estimated by a sample of rows, which are the same for all queries.
    """

    def __init__(self, vectors: Tensor, lists: Any) -> None:
        self._vectors, self._lists, self._exact = vectors, lists, ExactRanker(vectors)
        self._sampled = _sample(len(vectors), SAMPLE)
        self._sample = vectors[self._sampled]

    @property
    def listed(self) -> int:
        """How many rows lie in lists; those behind are read all."""
        return int(self._lists.ntotal)

    def __call__(self, wanted: Tensor, top: int, included: Tensor | None = None) -> Ranking:
        """See :class:`Ranker`."""
        n = len(self._vectors)
        flags = included if included is None or included.dtype == torch.bool else _flags(included, n)
        count = n if flags is None else int(flags.count_nonzero())
        if count <= max(FEW, n // NARROW, AGAIN + 4 * top):
            return self._exact(wanted, top, included)
        near = self._near(wanted, top, flags, count / n)
        if len(near) < top:
            return self._exact(wanted, top, included)
        scores = rescore(self._vectors, wanted, near)
        order = scores.argsort(descending=True, stable=True)[:top]
        return Ranking(near[order], scores[order], self._percentiles(wanted, scores[order], flags, count), exact=False)

    def _near(self, wanted: Tensor, top: int, flags: Tensor | None, share: float) -> Tensor:
        """Find rows that may be the best, ascending: of the lists, and all behind these that are the best there."""
        chosen = None
        if flags is not None:
            bits = np.packbits(flags.numpy(), bitorder="little")  # referred to by what selects
            chosen = _faiss().IDSelectorBitmap(bits)
        lists = min(self._lists.nlist, int(self._lists.nprobe / share))  # as few rows are ranked in each as there are
        asked = _faiss().SearchParametersIVF(nprobe=lists, sel=chosen)
        _, found = self._lists.search(wanted[None].numpy(), AGAIN + 4 * top, params=asked)
        rows = torch.from_numpy(found[0])
        rows = rows[(rows >= 0) & (rows < len(self._vectors))]
        behind = torch.arange(self.listed, len(self._vectors))
        if flags is not None:
            behind = behind[flags[behind]]
        return torch.cat([rows.sort().values, self._exact(wanted, top, behind).rows.sort().values])

    def _percentiles(self, wanted: Tensor, scores: Tensor, flags: Tensor | None, count: int) -> Tensor:
        """Estimate how many percent score lower than each of the best; those found before it do not."""
        sample = self._sample if flags is None else self._sample[flags[self._sampled]]
        known = (sample @ wanted).sort().values
        lower = torch.searchsorted(known, scores).double() / max(1, len(known))
        at_least = len(scores) - torch.searchsorted(scores.flip(0), scores).double()
        return 100 * torch.minimum(lower if len(known) else torch.ones_like(lower), 1 - at_least / count)


def build_lists(path: Path, vectors: Tensor, track: Track = silent) -> float:
    """Write the lists of vectors ``(N, E)``, and return which share of the nearest ten of some queries they find.

    Memory is that of the lists, a byte a value; vectors are read block by block.

    Raises
    ------
    MissingLibrary
        faiss is not installed.
    """
    faiss = _faiss()
    n, width = vectors.shape
    size = 2 ** max(0, int(np.log2(max(1, n)) / 2))  # about the root of how many there are
    centres = faiss.IndexFlatIP(width)
    kind = faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    lists = faiss.IndexIVFScalarQuantizer(centres, width, size, *kind)
    lists.cp.seed, lists.cp.min_points_per_centroid = SEED, 1
    lists.train(vectors[_sample(n, SAMPLED_PER_LIST * size)].numpy())
    blocks = range(0, n, BLOCK)
    for first in track(blocks, "lists", len(blocks)):
        lists.add(vectors[first : first + BLOCK].numpy())
    recall = _tune(lists, vectors)
    with atomic(path) as partial:
        faiss.write_index(lists, str(partial))
    return recall


def read_lists(path: Path, vectors: Tensor) -> ApproximateRanker | None:
    """Open the lists of vectors, mapped into memory; None where there are none.

    Raises
    ------
    CacheError
        They are damaged, or of other vectors.
    MissingLibrary
        faiss is not installed.
    """
    if not path.is_file():
        return None
    faiss = _faiss()
    try:
        lists = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise CacheError(f"{path} is damaged; delete it, and the library is read whole") from error
    if lists.d != vectors.shape[1] or lists.ntotal > len(vectors):
        raise CacheError(f"{path} is of another library; delete it, and the library is read whole")
    return ApproximateRanker(vectors, lists)


def _tune(lists: Any, vectors: Tensor) -> float:
    """Read as many lists as some queries need: vectors of the library, and what lies between two of these."""
    some = vectors[_sample(len(vectors), CHECKED)]
    asked = normalize(some + some.roll(1, 0) * (torch.arange(len(some)) % 2)[:, None], dim=1)
    best = _nearest(asked, vectors)
    lists.nprobe, recall = 1, 0.0
    while True:
        _, found = lists.search(asked.numpy(), AGAIN + 4 * NEAREST)
        recall = float(np.mean([np.isin(own, row).mean() for own, row in zip(best.numpy(), found, strict=True)]))
        if recall >= RECALL or lists.nprobe >= lists.nlist:
            return recall
        lists.nprobe = min(2 * lists.nprobe, lists.nlist)


def _nearest(asked: Tensor, vectors: Tensor) -> Tensor:
    """Return the rows of the nearest ten of each of some queries, in single precision."""
    scores, rows = torch.empty(len(asked), 0), torch.empty(len(asked), 0, dtype=torch.int64)
    for first in range(0, len(vectors), BLOCK):
        block = asked @ vectors[first : first + BLOCK].T
        scores = torch.cat([scores, block], dim=1)
        rows = torch.cat([rows, torch.arange(first, first + block.shape[1]).expand(len(asked), -1)], dim=1)
        scores, places = scores.topk(min(NEAREST, scores.shape[1]), dim=1)
        rows = rows.gather(1, places)
    return rows


def _sample(n: int, size: int) -> Tensor:
    """Draw rows, the same each time, ascending."""
    drawn = np.random.default_rng(SEED).choice(n, min(n, size), replace=False)
    return torch.from_numpy(np.sort(drawn))


def _flags(rows: Tensor, n: int) -> Tensor:
    flags = torch.zeros(n, dtype=torch.bool)
    flags[rows] = True
    return flags


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingLibrary("a search without reading all needs faiss: pip install 'emoclim[faiss]'") from error
    return faiss
