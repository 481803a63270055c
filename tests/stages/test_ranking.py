"""Exact ranking against a plain sort in double precision: ties, near ties, selections, scans that err as they may."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.errors import ManifestError
from emoclim.stages import EmbeddedQuery, ExactRanker, combine
from emoclim.stages.searching import ranking


def drawn(n: int, width: int, seed: int) -> Tensor:
    return normalize(torch.randn(n, width, generator=torch.Generator().manual_seed(seed)), dim=1)


def tables() -> dict[str, Tensor]:
    """Candidates by what is hard about them."""
    spread, few = drawn(300, 16, 1), drawn(7, 16, 2)
    near = normalize(drawn(1, 16, 3) + 2e-7 * drawn(300, 16, 4), dim=1)
    return {
        "spread": spread,
        "copies": few[torch.arange(300) % 7],
        "nearly equal": near,
        "all equal": few[:1].expand(300, -1).contiguous(),
        "narrow": drawn(300, 2, 5),
        "one": few[:1],
    }


def plain(vectors: Tensor, wanted: Tensor, rows: list[int]) -> list[tuple[int, float, float]]:
    """Each row with its score and percentile, best first, by sums without error."""
    query = wanted.double().tolist()
    scores = {
        row: float(np.float32(math.fsum(a * b for a, b in zip(vectors[row].tolist(), query, strict=True))))
        for row in rows
    }
    order = sorted(rows, key=lambda row: -scores[row])
    return [
        (row, scores[row], 100 * sum(other < scores[row] for other in scores.values()) / len(rows)) for row in order
    ]


def selections(n: int) -> dict[str, tuple[Tensor | None, list[int]]]:
    """What may be included, and its rows."""
    half = torch.arange(n) % 2 == 0
    few = torch.arange(0, n, 50)
    flags = torch.zeros(n, dtype=torch.bool).index_fill(0, few, value=True)
    return {
        "all": (None, list(range(n))),
        "flags": (half, half.nonzero()[:, 0].tolist()),
        "few flags": (flags, few.tolist()),
        "rows": (few, few.tolist()),
        "none": (torch.zeros(n, dtype=torch.bool), []),
    }


@pytest.mark.parametrize("table", tables())
@pytest.mark.parametrize("selection", selections(1))
@pytest.mark.parametrize("erring", [False, True])
def test_ranks_as_a_plain_sort_does(table: str, selection: str, erring: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = tables()[table]
    wanted = normalize(vectors[0] + 0.1 * drawn(1, vectors.shape[1], 6)[0], dim=0)
    if erring:  # as far as the bound lets it
        monkeypatch.setattr(ranking, "scan", worst(ranking.scan, ranking.error(wanted)))
    monkeypatch.setattr(ranking, "ROWS_AT_ONCE", 70)
    included, rows = selections(len(vectors))[selection]
    expected = plain(vectors, wanted, rows)
    for top in (1, 5, 2000):
        found = ExactRanker(vectors)(wanted, top, included)
        told = list(zip(found.rows.tolist(), found.scores.tolist(), found.percentiles.tolist(), strict=True))
        assert told == expected[:top]


def worst(scan: Any, error: float) -> Any:
    def found(*given: Any) -> Tensor:
        scores: Tensor = scan(*given)
        draw = torch.rand(scores.shape, generator=torch.Generator().manual_seed(len(scores)))
        return scores + 0.9 * error * (2 * draw - 1)

    return found


def test_scans_err_by_less_than_the_bound() -> None:
    for width in (2, 128, 1024):
        vectors, wanted = drawn(5000, width, 1), drawn(1, width, 2)[0]
        off = vectors @ wanted - ranking.rescore(vectors, wanted, torch.arange(5000))
        assert off.abs().max() < ranking.error(wanted)


def test_queries_add_up_and_may_cancel_each_other() -> None:
    a, b = (EmbeddedQuery(row) for row in drawn(2, 8, 1))
    assert combine([a]) is a
    torch.testing.assert_close(combine([a, b]).wanted, normalize(a.wanted + b.wanted, dim=0))
    torch.testing.assert_close(combine([a], [b]).wanted, normalize(a.wanted - b.wanted, dim=0))
    torch.testing.assert_close(combine([], [b]).wanted, -b.wanted)
    with pytest.raises(ManifestError, match="cancel"):
        combine([a], [a])
