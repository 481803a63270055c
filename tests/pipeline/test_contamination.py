"""Whether an encoder has heard a data set before."""

from pathlib import Path

import pytest

from emoclim.data.features import FeatureSpec
from emoclim.data.manifest import Item, Manifest
from emoclim.encoders import clap
from emoclim.pipeline.encoders import contamination


def spec(checkpoint: str, name: str = "clap") -> FeatureSpec:
    return FeatureSpec(name, "audio", 512, checkpoint, {})


def published(model: str) -> FeatureSpec:
    file = clap.published(model=model)
    assert file.hash is not None
    return spec(f"renamed.pt@{file.hash.removeprefix('sha256:')[:12]}")


def manifest(source: str, *files: str) -> Manifest:
    items = tuple(Item(name, Path(name)) for name in files or ("song.wav",))
    return Manifest("any", "audio", Path(source), items)


CLIPS = ("--PJHxphWEs_30.wav", "a0bC-d3f4Gx_120.000.flac", "a0bC-d3f4Hx_30.5_40.5.flac")


@pytest.mark.parametrize(
    "audioset",
    [
        manifest("audioset_mood.csv"),
        manifest("x.csv", "AudioSet/a.wav", "AudioSet/b.wav"),
        manifest("x.csv", *CLIPS, "song.wav"),
        manifest("x.csv", *(f"Y{clip.partition('_')[0][:11]}.wav" for clip in CLIPS)),
    ],
)
@pytest.mark.parametrize("model", clap.VARIANTS)
def test_every_clap_has_heard_audioset_in_some_way(audioset: Manifest, model: str) -> None:
    told = contamination(published(model), audioset)
    assert told is not None
    assert f"{clap.published(model=model).file} was trained on" in told
    assert "AudioSet" in told
    assert str(audioset.source) in told


def test_other_music_is_not_audioset() -> None:
    assert contamination(published("630k"), manifest("songs.csv")) is None
    assert contamination(published("630k"), manifest("songs.csv", CLIPS[0], "song.wav")) is None


def test_names_that_somebody_thought_of_are_none_of_audioset() -> None:
    assert (
        contamination(published("630k"), manifest("songs.csv", "emotify_pop_075_1.ogg", "emotify_pop_076_0.ogg"))
        is None
    )


def test_a_clap_in_a_file_that_nobody_published_is_told_with_all_of_them() -> None:
    told = contamination(spec("converted.safetensors@000000000000"), manifest("audioset_mood.csv"))
    assert told is not None
    assert told.startswith("every published checkpoint of clap was trained on ")


def test_other_encoders_are_not_known_to_have_heard_it() -> None:
    audioset = manifest("audioset_mood.csv")
    assert contamination(spec("musicnn_msd.pth@000000000000", "musicnn"), audioset) is None
    assert contamination(spec("none", "timbre"), audioset) is None
    assert contamination(spec("none", "an import"), audioset) is None
