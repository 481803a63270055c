"""Approximate ranking: recall against an exact scan, selections, rows that came later, what is told of damage."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace as Plain
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.errors import CacheError
from emoclim.index import approximate, build_lists, read_lists
from emoclim.pipeline.searching.opening.lists import make_lists, open_lists, remove_lists
from emoclim.progress import silent
from emoclim.stages import Embedded, EmbeddedQuery, ExactRanker, Gallery

pytest.importorskip("faiss")


def clusters(n: int, spread: float = 0.08, seed: int = 1) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    centres = normalize(torch.randn(40, 24, generator=draw), dim=1)
    rows = centres[torch.randint(40, (n,), generator=draw)] + spread * torch.randn(n, 24, generator=draw)
    return normalize(rows, dim=1)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "FEW", 50)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Tensor]:
    path, vectors = tmp_path_factory.mktemp("lists") / "lists.faiss", clusters(6000)
    assert build_lists(path, vectors) >= 0.95
    return path, vectors


def test_most_of_the_nearest_are_found_and_scores_are_exact(made: tuple[Path, Tensor]) -> None:
    path, vectors = made
    ranker, exact = read_lists(path, vectors), ExactRanker(vectors)
    assert ranker is not None
    found, flags = 0, torch.arange(6000) % 3 == 0
    for n, included in enumerate([None, flags] * 8):
        wanted = normalize(vectors[7 * n] + 0.05, dim=0)
        near, best = ranker(wanted, 10, included), exact(wanted, 10, included)
        assert not near.exact
        found += int(torch.isin(near.rows, best.rows).sum())
        assert included is None or flags[near.rows].all()
        same = exact(wanted, 6000, included)
        places = {row: place for place, row in enumerate(same.rows.tolist())}
        for row, score, percentile in zip(*(one.tolist() for one in near[:3]), strict=True):
            assert score == float(same.scores[places[row]])
            assert percentile == pytest.approx(float(same.percentiles[places[row]]), abs=2)
        assert near.scores.tolist() == sorted(near.scores.tolist(), reverse=True)
    assert found / 160 >= 0.95


def test_narrow_selections_and_long_lists_are_exact(made: tuple[Path, Tensor]) -> None:
    path, vectors = made
    ranker, exact, wanted = read_lists(path, vectors), ExactRanker(vectors), vectors[3]
    assert ranker is not None
    rows = torch.arange(0, 6000, 100)
    flags = torch.zeros(6000, dtype=torch.bool).index_fill(0, rows, value=True)
    for top, included in (5, rows), (5, flags), (6000, None), (3000, flags):
        near, best = ranker(wanted, top, included), exact(wanted, top, included)
        assert near.exact
        assert all(torch.equal(one, other) for one, other in zip(near[:3], best[:3], strict=True))


def test_rows_that_came_later_are_found(made: tuple[Path, Tensor]) -> None:
    path, vectors = made
    longer = torch.cat([vectors, clusters(200, seed=2)])
    ranker = read_lists(path, longer)
    assert ranker is not None
    for row in (6000, 6077, 6199):
        assert int(ranker(longer[row], 5).rows[0]) == row
        assert int(ranker(longer[row], 5, torch.arange(6200) != row).rows[0]) != row


def test_damage_is_told(made: tuple[Path, Tensor], tmp_path: Path) -> None:
    path, vectors = made
    assert read_lists(tmp_path / "none", vectors) is None
    with pytest.raises(CacheError, match="another library"):
        read_lists(path, vectors[:100])
    cut = tmp_path / "cut.faiss"
    cut.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CacheError, match="damaged"):
        read_lists(cut, vectors)
    for n in (1, 3):  # as few as may be
        build_lists(tmp_path / "few.faiss", vectors[:n])
        few = read_lists(tmp_path / "few.faiss", vectors[:n])
        assert few is not None
        assert len(few(vectors[0], 5).rows) == n


def test_lists_of_an_index_are_made_kept_told_and_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "index"
    folder.mkdir()
    vectors = clusters(3000)
    facts: Any = {"lists": folder / "lists-1.faiss", "folder": folder, "embedded": Plain(vectors=vectors)}
    index: Any = Plain(**facts, items=range(3000))
    assert open_lists(index) is None
    lists, recall = make_lists(index, silent)
    assert (lists.listed, (recall or 0.0) > 0.9) == (3000, True)
    before = index.lists.stat().st_mtime_ns
    lists, recall = make_lists(index, silent)
    assert (lists.listed, recall) == (3000, None)
    assert index.lists.stat().st_mtime_ns == before
    longer = torch.cat([vectors, clusters(500, seed=2)])
    grown: Any = Plain(**facts | {"embedded": Plain(vectors=longer)}, items=range(3500))
    assert open_lists(grown) is not None
    assert "500 items" in caplog.text
    assert make_lists(grown, silent)[0].listed == 3500
    query = EmbeddedQuery(vectors[3])
    whole = Embedded("audio", [str(row) for row in range(3500)], longer, "ip")
    near, exact = Gallery(whole, open_lists(grown)).search(query), Gallery(whole).search(query)
    assert (near[0].id, near[0].exact, exact[0].id, exact[0].exact) == ("3", False, "3", True)
    index.lists.write_bytes(index.lists.read_bytes()[:5000])
    assert open_lists(grown) is None
    assert "damaged" in caplog.text
    remove_lists(index)
    assert not index.lists.exists()
    with monkeypatch.context() as patched:
        patched.setattr(approximate, "atomic", full)
        with pytest.raises(CacheError, match="make room"):
            make_lists(index, silent)


def full(path: Path) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
