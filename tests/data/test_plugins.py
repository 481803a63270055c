"""Plug-ins of another installed package: found by entry points, beside the files of our own folders."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import answer

from emoclim.data import dataset_names
from emoclim.encoders import encoder_names, load_encoder
from emoclim.encoders.loading import ENCODERS
from emoclim.errors import ConfigError, EncoderError

EXAMPLES = Path(__file__).parents[2] / "examples"
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Put modules and entry points where pip would."""

    def put(name: str, sources: dict[str, str], points: str) -> None:
        for module, source in sources.items():
            (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(points, encoding="utf-8")

    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield put
    for module in set(sys.modules) - before:
        if str(getattr(sys.modules[module], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[module]


def test_an_encoder_of_another_package_is_listed_and_loaded(install: Install) -> None:
    source = (EXAMPLES / "palette.py").read_text(encoding="utf-8")
    install("colours", {"colours_palette": source}, "[emoclim.encoders]\npalette = colours_palette\n")
    assert "palette" in ENCODERS.names()
    assert "colours_palette" not in sys.modules
    assert {"palette", "palette_video"} <= set(encoder_names())
    assert load_encoder("palette", size=48).spec.settings["size"] == 48
    listed = {encoder["name"]: encoder for encoder in answer("encoders")["encoders"]}
    assert source.startswith(f'"""{listed["palette"]["about"][:40]}')


def test_a_data_set_of_another_package_is_listed_and_prepared(install: Install, tmp_path: Path) -> None:
    source = (EXAMPLES / "artphoto.py").read_text(encoding="utf-8")
    install("photos", {"art_photos": source}, "[emoclim.datasets]\nartphoto = art_photos\n")
    assert "artphoto" in dataset_names()
    from dataset_contract import Subject, miniature_of

    folder = Subject("artphoto", miniature_of("artphoto")).write(tmp_path / "photos")
    assert answer("prepare", "artphoto", folder, "--workspace", tmp_path)["items"] == 32


def test_two_encoders_of_one_name_are_refused(install: Install) -> None:
    install("other", {"other_colour": ""}, "[emoclim.encoders]\ncolour = other_colour\n")
    with pytest.raises(EncoderError, match="other_colour"):
        load_encoder("colour")


def test_a_plugin_that_cannot_be_imported_is_told_with_its_package(install: Install) -> None:
    from emoclim.data import find_dataset

    install("broken", {"broken_set": "import not_installed_anywhere"}, "[emoclim.datasets]\nbroken = broken_set\n")
    with pytest.raises(ConfigError, match="broken .*not_installed_anywhere"):
        find_dataset("broken")
