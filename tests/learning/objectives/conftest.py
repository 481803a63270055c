"""Toy objectives and a wordy encoder, offered by packages that are installed for the tests of this folder."""

import sys
from collections.abc import Iterator

import pytest
from toy_objectives import NAMES, TOYS, install


@pytest.fixture(scope="module", autouse=True)
def toys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Put modules and entry points where pip would."""
    folder = tmp_path_factory.mktemp("site")
    for name in NAMES:
        (folder / f"toy_{name}.py").write_text((TOYS / f"{name}.py").read_text(encoding="utf-8"), encoding="utf-8")
    install(folder, "toys", {name: f"toy_{name}" for name in NAMES})
    install(folder, "wordy", {"noise": "wordy_noise"}, "emoclim.encoders")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    for name in NAMES:
        sys.modules.pop(f"toy_{name}", None)
