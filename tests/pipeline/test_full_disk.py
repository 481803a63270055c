"""Disks that are full: each command on caches says so in a sentence, leaves nothing half made, and can be repeated."""

import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from cache_workspace import answer, run, write_music
from cache_workspace import extracted as extracted
from typer.testing import CliRunner, Result

from emoclim.cli import app
from emoclim.config import ExtractConfig
from emoclim.pipeline.extract import extract_features
from emoclim.pipeline.workspace import Shard, Workspace

LIMITS = (300, 20_000)  # bytes that a file may have


@pytest.fixture(scope="module")
def prepared(extracted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three workspaces: with a cache, with shards of it, and with music only; and features to import."""
    root = tmp_path_factory.mktemp("prepared")
    shutil.copytree(extracted, root / "whole")
    for name in ("shards", "music"):
        write_music(root / name)
    for index in (1, 2):
        config = ExtractConfig(encoder="timbre", workers=0)
        extract_features("audio", config=config, workspace=Workspace(root / "shards"), shard=Shard(index, 2))
    ids = [f"music/piece{n}.wav" for n in range(8)]
    np.savez(root / "given.npz", ids=np.array(ids), values=np.random.default_rng(0).standard_normal((8, 3000), "f4"))
    return root


COMMANDS: dict[str, tuple[str, ...]] = {
    "export npz": ("cache", "export", "timbre", "out.npz", "--workspace", "whole"),
    "export Parquet": ("cache", "export", "timbre", "out.parquet", "--workspace", "whole"),
    "export a folder": ("cache", "export", "timbre", "out", "--workspace", "whole"),
    "import": ("cache", "import", "given.npz", "--modality", "audio", "--name", "x", "--workspace", "whole"),
    "import zarr": (
        *("cache", "import", "given.npz", "--modality", "audio", "--name", "x", "--workspace", "whole"),
        *("--backend", "zarr", "--allow-extra"),
    ),
    "merge": ("cache", "merge", "timbre", "--workspace", "shards"),
    "extract": ("extract", "audio", "--encoder", "timbre", "--workers", "0", "--workspace", "music"),
}


def with_small_files(limit: int, *words: str) -> Result:
    """What a command tells while no file may be longer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        return CliRunner().invoke(app, words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_full_disk(prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    done = 3 if command[0] == "extract" else 0  # one file is no music
    failed = 0
    for limit in LIMITS:
        result = with_small_files(limit, *command)
        if result.exit_code == done:
            break
        failed += 1
        assert result.exit_code == 2, result.output + repr(result.exception)
        assert "File too large" in result.output
        assert not [path for path in tmp_path.rglob("*") if path.suffix == ".partial" or path.name.startswith("out")]
    else:
        run(*command, code=done)
    assert failed
    for cache in (path for path in tmp_path.glob("*/cache/*") if path.suffix in (".h5", ".zarr")):
        assert answer("cache", "verify", cache, "--workspace", cache.parents[1])["sound"]
