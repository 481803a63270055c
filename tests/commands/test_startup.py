"""What starting costs: ``import emoclim`` and the help load nothing heavy."""

import subprocess
import sys

import pytest

import emoclim

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


@pytest.mark.parametrize(
    "code", ["import emoclim", "import emoclim.cli", "import emoclim, emoclim.config, emoclim.errors"]
)
def test_importing_loads_no_heavy_package(code: str) -> None:
    script = f"{code}; import sys; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_help_loads_no_heavy_package() -> None:
    script = (
        "import sys\nfrom emoclim.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('loaded:', *(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "train-heads" in done.stdout
    assert done.stdout.strip().endswith("loaded:")


def test_every_public_name_is_there_and_nothing_else() -> None:
    for name in emoclim.__all__:
        assert getattr(emoclim, name) is not None
        assert name in dir(emoclim)
    with pytest.raises(AttributeError, match="nonsense"):
        emoclim.nonsense  # noqa: B018 - the access is the test
