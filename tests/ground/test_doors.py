"""The doors of the rooms: names that are there, no module's name among them, and nothing loaded by walking in."""

import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import emoclim
from emoclim.data.datasets.loading import dataset_names
from emoclim.encoders.loading import encoder_names
from emoclim.encoders.video_encoder import OF_FRAMES

ROOT = Path(emoclim.__file__).parent
ROOMS = sorted(f"emoclim.{path.parent.name}" for path in ROOT.glob("*/__init__.pyi"))
HEAVY = {"torch", "h5py", "zarr", "open_clip", "laion_clap", "pyarrow", "matplotlib", "sklearn"}


def submodules(package: ModuleType) -> set[str]:
    return {module.name for module in pkgutil.iter_modules(package.__path__)}


def test_every_room_has_a_door() -> None:
    assert sorted(f"emoclim.{module.name}" for module in pkgutil.iter_modules([str(ROOT)]) if module.ispkg) == ROOMS


@pytest.mark.parametrize("name", ["emoclim", *ROOMS])
def test_a_door_offers_what_is_there_and_hides_no_module(name: str) -> None:
    door = importlib.import_module(name)
    offered = door.__all__
    assert offered
    assert all(getattr(door, one) is not None for one in offered)
    for one in set(offered) & submodules(door):
        assert getattr(door, one) is importlib.import_module(f"{name}.{one}"), one


def test_walking_in_by_any_door_loads_nothing() -> None:
    script = f"import sys, emoclim, {', '.join(ROOMS)}; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert set(ROOMS) <= loaded
    assert not HEAVY & loaded


@pytest.mark.parametrize(
    ("folder", "names", "mark"),
    [("emoclim.encoders", encoder_names, "load"), ("emoclim.data.datasets", dataset_names, "prepare")],
)
def test_every_plug_in_is_found_by_its_file(folder: str, names: Callable[[], list[str]], mark: str) -> None:
    """Each file that defines what makes a plug-in is one, by the file's name."""
    files = submodules(importlib.import_module(folder))
    own = [name for name in names() if name in files or not name.endswith(OF_FRAMES)]  # others follow from these
    assert own == sorted(name for name in files if hasattr(importlib.import_module(f"{folder}.{name}"), mark))
