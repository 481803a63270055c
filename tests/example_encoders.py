"""The encoders of examples/, found by name for a while as if they lay in the package."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import emoclim.encoders

ROOT = Path(__file__).parents[1]
EXAMPLES = {"palette", "small_cnn", "hashed_words"}  # of images; of audio, with parameters; of text


@contextmanager
def dropped_in(folder: Path) -> Iterator[None]:
    """Copies of the examples in a folder that counts as one of encoders for a while."""
    for name in EXAMPLES:
        shutil.copy(ROOT / "examples" / f"{name}.py", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emoclim.encoders, "__path__", [*emoclim.encoders.__path__, str(folder)])
        try:
            yield
        finally:
            for name in EXAMPLES:
                sys.modules.pop(f"emoclim.encoders.{name}", None)
                vars(emoclim.encoders).pop(name, None)
