"""What starting costs: ``import emoclim``, the help and commands that only look around load nothing heavy."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.main import get_command

import emoclim
from emoclim.cache import EncodedItem, open_cache
from emoclim.cli import COMMANDS, app
from emoclim.data import FeatureSpec

HEAVY = (
    "torch",
    "numpy",
    "open_clip",
    "laion_clap",
    "pyarrow",
    "h5py",
    "zarr",
    "sklearn",
    "matplotlib",
    "torchaudio",
    "torchvision",
    "audiomentations",
)


def loaded(code: str, heavy: tuple[str, ...] = HEAVY) -> list[str]:
    """The heavy packages that are loaded after `code`, which may end with SystemExit."""
    script = (
        f"import sys\ntry:\n    {code}\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('loaded:', *(name for name in {heavy!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize(
    "code", ["import emoclim", "import emoclim.cli", "import emoclim, emoclim.config, emoclim.errors"]
)
def test_importing_loads_no_heavy_package(code: str) -> None:
    assert loaded(code) == []


@pytest.mark.parametrize("words", [[], *([name] for name in COMMANDS), ["cache", "verify"], ["extract", "images"]])
def test_help_loads_no_heavy_package(words: list[str]) -> None:
    assert loaded(f"from emoclim.cli import app; app({[*words, '--help']!r})") == []


@pytest.mark.parametrize("words", [["--version"], ["cache", "list"]])
def test_looking_around_in_an_empty_folder_loads_no_heavy_package(words: list[str], tmp_path: Path) -> None:
    place = [] if words == ["--version"] else ["--workspace", str(tmp_path)]
    assert loaded(f"from emoclim.cli import app; app({words + place!r})") == []


@pytest.mark.parametrize(
    "words", [["encoders"], ["encoders", "clip"], ["prepare", "--list"], ["prepare", "csv", "--explain"]]
)
def test_describing_what_there_is_loads_no_network_and_no_cache(words: list[str]) -> None:
    light = {"numpy", "pyarrow"}
    assert loaded(f"from emoclim.cli import app; app({words!r})", tuple(set(HEAVY) - light)) == []


@pytest.mark.parametrize("suffix", [".h5", ".zarr"])
def test_looking_at_a_cache_loads_the_library_of_its_format_only(suffix: str, tmp_path: Path) -> None:
    spec = FeatureSpec("given", "image", 2, "none", {"keys": "ids"})
    with open_cache(tmp_path / "cache" / f"image-given-{spec.digest()}{suffix}", spec) as cache:
        cache.append([EncodedItem("a", torch.ones(2))])
    library = {".h5": "h5py", ".zarr": "zarr"}[suffix]
    for words in (["cache", "list"], ["cache", "info", "given"]):
        found = loaded(f"from emoclim.cli import app; app({[*words, '--workspace', str(tmp_path)]!r})")
        assert found == ["numpy", library]


def test_extracting_what_is_extracted_already_loads_no_network(tmp_path: Path) -> None:
    (tmp_path / "calm").mkdir()
    Image.new("RGB", (8, 8), "blue").save(tmp_path / "calm" / "sea.png")
    words = ["extract", "images", str(tmp_path), "--encoder", "colour", "--workspace", str(tmp_path)]
    run = f"from emoclim.cli import app; app({words!r})"
    assert [loaded(run, ("torch",)) for _ in range(2)] == [["torch"], []]


def test_the_help_of_all_says_of_each_command_what_its_own_does() -> None:
    group = get_command(app)
    for name, summary in COMMANDS.items():
        told = group.get_command(None, name).help
        assert told.splitlines()[0] == summary


def test_every_public_name_is_there_and_nothing_else() -> None:
    for name in emoclim.__all__:
        assert getattr(emoclim, name) is not None
        assert name in dir(emoclim)
    with pytest.raises(AttributeError, match="nonsense"):
        emoclim.nonsense  # noqa: B018 - the access is the test
