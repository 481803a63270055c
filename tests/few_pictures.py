"""A fixture: a folder of a few pictures of noise, which are encoded in a moment."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_picture(path: Path, seed: int) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Three pictures, one that is broken, and a text that is none."""
    for number in range(3):
        write_picture(tmp_path / "pictures" / f"{number}.png", number)
    (tmp_path / "pictures" / "broken.png").write_bytes(b"\x89PNG")
    (tmp_path / "pictures" / "list.txt").write_text("0.png")
    return tmp_path / "pictures"
