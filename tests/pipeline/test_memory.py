"""How much memory a sweep may take: what is available, not what lies idle, and never more than a limit leaves."""

from pathlib import Path

import pytest

from emoclim.pipeline.machine import UNKNOWN, available_memory

GIB = 2**30
MEMINFO = f"MemTotal: {32 * 2**20} kB\nMemFree:  {4 * 2**20} kB\nMemAvailable:   {20 * 2**20} kB\n"


def system(root: Path, files: dict[str, object]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{content}\n")
    return root


def test_memory_that_holds_a_file_is_available(tmp_path: Path) -> None:
    assert available_memory(system(tmp_path, {"proc/meminfo": MEMINFO})) == 20 * GIB


@pytest.mark.parametrize("group", ["/outer/inner", "/"])
def test_a_limit_of_version_2_holds_wherever_it_stands(tmp_path: Path, group: str) -> None:
    around = "sys/fs/cgroup" + group.removesuffix("/inner").rstrip("/")
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": f"0::{group}",
        f"{around}/memory.max": 8 * GIB,
        f"{around}/memory.current": 5 * GIB,
        f"{around}/memory.stat": f"active_file {GIB}\ninactive_file {2 * GIB}",
    }
    assert available_memory(system(tmp_path, files)) == 5 * GIB
    files |= {"sys/fs/cgroup/outer/inner/memory.max": "max", "sys/fs/cgroup/outer/inner/memory.current": 0}
    assert available_memory(system(tmp_path, files)) == 5 * GIB


@pytest.mark.parametrize("folder", ["sys/fs/cgroup/memory/outer", "sys/fs/cgroup/memory"])
def test_a_limit_of_version_1_holds_also_where_a_container_hides_its_path(tmp_path: Path, folder: str) -> None:
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": "4:cpu:/outer\n3:hugetlb,memory:/outer\n0::/",
        f"{folder}/memory.limit_in_bytes": 3 * GIB,
        f"{folder}/memory.usage_in_bytes": 2 * GIB,
    }
    assert available_memory(system(tmp_path, files)) == GIB


def test_a_group_over_its_limit_leaves_nothing(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": 1, "sys/fs/cgroup/memory.current": 2}
    assert available_memory(system(tmp_path, files)) == 0


def test_without_any_word_of_the_system_some_memory_is_taken_to_be_there(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == UNKNOWN
