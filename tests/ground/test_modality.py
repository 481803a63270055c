"""The table of modalities: complete, alone, and enough for every modality to be read, placed and named."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from matplotlib.markers import MarkerStyle

import emoclim.modality
from emoclim.data.datasets.files import modality_of
from emoclim.data.manifest import Item, read_manifest
from emoclim.encoders.loading import find_encoder
from emoclim.errors import CacheError, EncoderError, ManifestError
from emoclim.modality import BOX, DEFAULT, MODALITIES, Modality
from emoclim.pipeline.evaluation.page import preview
from emoclim.pipeline.extract import extract_features
from emoclim.pipeline.find_caches import newest_cache
from emoclim.pipeline.workspace import Workspace

EVERY = pytest.mark.parametrize("modality", get_args(Modality))


def test_every_modality_stands_in_the_table_once_and_each_can_be_told_in_a_plot() -> None:
    assert tuple(MODALITIES) == get_args(Modality)
    for fact in ("folder", "name", "marker"):
        assert len({getattr(facts, fact) for facts in MODALITIES.values()}) == len(MODALITIES)
    for facts in MODALITIES.values():
        MarkerStyle(facts.marker)
        assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in facts.suffixes)


@pytest.mark.parametrize("preset", [None, DEFAULT, BOX])
@EVERY
def test_the_encoder_of_a_preset_takes_the_modality(modality: Modality, preset: str | None) -> None:
    name = MODALITIES[modality].encoder_named(preset)
    assert name is None or modality == find_encoder(name).MODALITY


@EVERY
def test_a_folder_of_any_modality_is_a_manifest(modality: Modality, tmp_path: Path) -> None:
    suffix = min(MODALITIES[modality].suffixes)
    folder = tmp_path / "data" / MODALITIES[modality].folder
    (folder / "awe").mkdir(parents=True)
    (folder / "awe" / f"one{suffix.upper()}").touch()
    (folder / "awe" / "other.xyz").touch()
    assert Workspace(tmp_path).manifest(modality) == folder
    found = read_manifest(folder, modality)
    assert [(item.id, item.label) for item in found.items] == [(f"awe/one{suffix.upper()}", "awe")]


@EVERY
def test_what_is_lacking_is_told_for_any_modality(modality: Modality, tmp_path: Path) -> None:
    folder = MODALITIES[modality].folder
    with pytest.raises(ManifestError, match=f"{folder}.csv"):
        Workspace(tmp_path).manifest(modality)
    with pytest.raises(CacheError, match=f"emoclim extract {folder}"):
        newest_cache(Workspace(tmp_path), modality, None)
    if MODALITIES[modality].encoder is None:
        with pytest.raises(EncoderError, match=modality):
            extract_features(modality, workspace=Workspace(tmp_path))


def test_a_note_beside_the_pictures_makes_no_folder_one_of_texts() -> None:
    paths = ["awe/a.jpg", "readme.txt", "clip.docx"]
    assert modality_of(paths, Path("photos")) == "image"
    assert modality_of(["joy/1.txt", "readme.txt"], Path("stories")) == "text"


def test_files_of_pictures_and_sound_are_videos_unless_others_are_sound_alone() -> None:
    assert modality_of(["joy/1.mp4", "joy/2.webm", "readme.txt"], Path("films")) == "video"
    assert modality_of(["joy/1.mp4", "joy/2.flac"], Path("music")) == "audio"


def test_a_text_is_shown_as_it_is() -> None:
    assert preview("text", Item("t", text="I laughed."), 0.0) == (None, "I laughed.")


def test_the_table_stands_alone_and_loads_nothing() -> None:
    imported = {
        name
        for node in ast.walk(ast.parse(Path(emoclim.modality.__file__).read_text(encoding="utf-8")))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else getattr(node, "names", []))
    }
    assert imported <= {"collections.abc", "dataclasses", "types", "typing"}
    script = "import emoclim.modality, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
