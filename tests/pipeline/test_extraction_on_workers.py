"""Whatever becomes of the workers, an extraction on many leaves the bytes of one process."""

import os
import shutil
from collections.abc import Generator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import shared_out
import torch
from forked_engine import Fork, Forked
from shared_out import encode, require_same
from soaking import rounds, soak

from emoclim.cache import SHARDS, WriterLock, open_cache
from emoclim.cluster import TaskFolder
from emoclim.cluster.working import _claim_and_do, work
from emoclim.data import Item
from emoclim.encoders import ImageEncoder
from emoclim.errors import CacheError, ConfigError, EmoclimError
from emoclim.pipeline import Shard, Workspace, extract_features, merge_shards
from emoclim.pipeline.caches.merge import append_shards
from emoclim.reports import Extraction

COUNT = 24


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("library")
    shared_out.write_library(root, COUNT)
    return root


@pytest.fixture(scope="module")
def alone(library: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Extraction]:
    """The workspace of one process, and what that tells."""
    root = tmp_path_factory.mktemp("whole") / "workspace"
    shutil.copytree(library, root)
    return root, encode(root).extraction


@pytest.fixture
def whole(alone: tuple[Path, Extraction]) -> Path:
    return alone[0]


@pytest.fixture
def told(alone: tuple[Path, Extraction]) -> Extraction:
    return alone[1]


@pytest.fixture
def root(library: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(library, tmp_path / "workspace"))


def fail(*_: object) -> None:
    raise AssertionError("a file was read again")


def counted(done: Extraction) -> dict[str, object]:
    """What an extraction tells, but for time and place."""
    told = {one.name: getattr(done, one.name) for one in fields(done) if one.name != "timing"}
    return told | {"failures": [(one.id, one.reason.rpartition("/")[2]) for one in done.failures]}


def test_many_workers_leave_the_bytes_of_one_process(root: Path, whole: Path, told: Extraction) -> None:
    engine = Forked(workers=3)
    done = encode(root, engine).extraction
    assert counted(done) == counted(told)
    assert done.encoded == COUNT
    assert engine.started >= 3
    require_same(root, whole)
    idle = Forked(workers=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emoclim.data.content.hash_bytes", fail)  # what workers read is known from then on
        again = encode(root, idle).extraction
    assert (again.encoded, again.reused, idle.started) == (0, COUNT + 1, 0)


class Stopped(Forked):
    """A command that is stopped when one shard is done."""

    def start(self, folder: Path, number: int) -> Fork:
        tasks = TaskFolder(folder)
        if not (pid := os.fork()):
            torch.set_num_threads(1)
            job = tasks.job()
            assert job is not None
            _claim_and_do(tasks, job, tasks.undone(job)[0])
            os._exit(0)
        os.waitpid(pid, 0)
        raise KeyboardInterrupt


def test_a_command_that_was_stopped_goes_on_with_its_shards(root: Path, whole: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode(root, Stopped(workers=2))
    (folder,) = (root / "cache").glob(f"*{SHARDS}/tasks")
    plan = (folder / "job.json").read_bytes()
    with pytest.raises(KeyboardInterrupt):
        encode(root, Stopped(workers=2))
    assert (folder / "job.json").read_bytes() == plan
    done = encode(root, Forked(workers=3))
    assert 0 < done.extraction.resumed < done.extraction.encoded == COUNT
    (told,) = (line for line in done.summary() if "items/s" in line)
    assert f"besides {done.extraction.resumed} that" in told
    assert "%" not in told  # of a time in which most was not done
    require_same(root, whole)


def test_a_command_that_is_killed_while_it_removes_its_shards_hinders_no_other(root: Path) -> None:
    config = shared_out.SMALL.updated(backend="zarr")

    def remove_half(folder: Path, **how: bool) -> None:
        if SHARDS in folder.name:
            for file in folder.glob("*/zarr.json"):
                file.unlink()
            raise KeyboardInterrupt
        rmtree(folder, **how)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        rmtree = shutil.rmtree
        patch.setattr("emoclim.pipeline.scaling.extraction.shutil.rmtree", remove_half)
        encode(root, Forked(workers=2), config)
    done = encode(root, Forked(workers=2), config).extraction
    assert (done.encoded, done.reused) == (0, COUNT + 1)


def test_shards_of_another_plan_are_kept(root: Path, whole: Path) -> None:
    where = {"config": shared_out.SMALL, "workspace": Workspace(root)}
    extract_features("image", shard=Shard(1, 3), **where)
    done = encode(root, Forked(workers=2)).extraction
    assert 0 < done.encoded < COUNT
    require_same(root, whole)


def note_decoding(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a file for each picture that a process decodes."""
    prepare = ImageEncoder.prepare

    def noted(encoder: ImageEncoder, item: Item) -> Generator[torch.Tensor, None, float]:
        (root / f"decoded-{os.getpid()}-{Path(item.id).stem}").touch()
        return prepare(encoder, item)

    monkeypatch.setattr(ImageEncoder, "prepare", noted)


def test_what_was_encoded_here_meanwhile_is_not_encoded_again_by_workers(
    root: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode(root, Stopped(workers=2))
    encode(root)
    note_decoding(root, monkeypatch)
    done = encode(root, Forked(workers=2)).extraction
    assert (done.encoded, done.reused) == (0, COUNT + 1)
    assert {path.name.rpartition("-")[2] for path in root.glob("decoded-*")} <= {"broken"}
    require_same(root, whole)


def test_what_workers_try_again_is_not_tried_here_once_more(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = encode(root, Forked(workers=2)).extraction
    note_decoding(root, monkeypatch)
    again = encode(root, Forked(workers=2), shared_out.SMALL.updated(retry_failed=True)).extraction
    assert again.failures == before.failures
    (decoded,) = root.glob("decoded-*")
    assert decoded.name.endswith("-broken")
    assert decoded.name != f"decoded-{os.getpid()}-broken"


def test_a_plan_of_files_that_were_known_is_not_gone_on_with_where_none_is_to_be_trusted(root: Path) -> None:
    encode(root, config=shared_out.SMALL.updated(settings={"size": 96}))  # from now on files are known
    with pytest.raises(KeyboardInterrupt):
        encode(root, Stopped(workers=2))
    with pytest.raises(KeyboardInterrupt):
        encode(root, Stopped(workers=2), shared_out.SMALL.updated(rehash=True))
    (folder,) = (root / "cache").glob(f"*{SHARDS}/tasks")
    tasks = TaskFolder(folder)
    job = tasks.job()
    assert job is not None
    assert not any(tasks.read(number)["files"] for number in range(1, len(job.sizes) + 1))


def test_a_plan_whose_workers_load_what_they_encode_with_is_not_replaced(root: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode(root, Stopped(workers=2))
    (folder,) = (root / "cache").glob(f"*{SHARDS}/tasks")
    plan, tasks = (folder / "job.json").read_bytes(), TaskFolder(folder)
    job = tasks.job()
    assert job is not None
    claim = WriterLock(tasks.file(tasks.undone(job)[0]))  # a job of SLURM, which outlives its command
    (root / "data" / "images.csv").write_text("path\npictures/1.png\n")
    with pytest.raises(CacheError, match="being written"):
        encode(root, Forked(workers=2))
    assert (folder / "job.json").read_bytes() == plan
    claim.release()
    assert encode(root, Forked(workers=2)).n_items == 1


def test_no_worker_claims_what_is_left_of_a_plan_while_its_shards_are_merged(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode(root, Stopped(workers=2))
    (folder,) = (root / "cache").glob(f"*{SHARDS}/tasks")

    def append_meanwhile(*given: Any) -> int:
        work(folder)  # of a job that begins now
        assert len(list(folder.glob("*.done"))) == 1
        return append_shards(*given)

    (root / "data" / "images.csv").write_text("path\npictures/1.png\n")
    monkeypatch.setattr("emoclim.pipeline.scaling.extraction.append_shards", append_meanwhile)
    with pytest.raises(KeyboardInterrupt):
        encode(root, Stopped(workers=2))


def test_shards_that_others_write_are_left_alone(root: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode(root, Stopped(workers=2))
    (shard,) = (root / "cache").glob(f"*{SHARDS}/*.h5")
    (root / "data" / "images.csv").write_text("path\npictures/1.png\n")
    with open_cache(shard) as cache, open_cache(shard, cache.spec), pytest.raises(CacheError, match="being written"):
        encode(root, Forked(workers=2))
    assert shard.exists()


def test_the_merge_command_closes_what_a_stopped_command_left(root: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        encode(root, Stopped(workers=2))
    merged = merge_shards("colour", workspace=Workspace(root))
    done = encode(root, Forked(workers=2)).extraction
    assert done.encoded + merged.added == COUNT


def test_an_engine_and_a_shard_are_not_asked_for_together(root: Path) -> None:
    with pytest.raises(ConfigError, match="--shard"):
        extract_features("image", workspace=Workspace(root), shard=Shard(1, 2), on="local:2")


def test_what_no_worker_can_do_is_told_as_one_process_does(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CacheError("there is no room")

    monkeypatch.setattr("emoclim.pipeline.scaling.shard.extract", refuse)
    with pytest.raises(EmoclimError, match="there is no room"):
        encode(root, Forked(workers=2))


@soak
def test_workers_that_are_killed_at_random_lose_and_double_nothing(
    library: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoclim.cluster.working.MAX_TRIES", 31)  # on a slow machine all may die of the same task
    for seed in range(rounds(1)):
        root = Path(shutil.copytree(library, tmp_path / str(seed)))
        engine = Forked(workers=4, longest=1.0, kills=30, seed=seed)
        done = encode(root, engine).extraction
        assert engine.started > 4, seed
        assert (done.encoded, len(done.failures)) == (COUNT, 2), seed
        require_same(root, whole)
