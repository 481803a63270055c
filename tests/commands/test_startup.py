"""What starting costs: ``import emoclim``, the help and commands that only look around load nothing heavy."""

import subprocess
import sys

import pytest
from typer.main import get_command

import emoclim
from emoclim.cli import COMMANDS, app

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


def test_the_version_loads_no_heavy_package() -> None:
    assert loaded("from emoclim.cli import app; app(['--version'])") == []


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
