"""Every encoder that there is keeps every promise of an encoder."""

from pathlib import Path

import pytest
from encoder_cases import Case, NamedEncoderContract, Subject, another, make_subject
from pseudo_weights import register_tiny_clip

from emoclim.encoders.loading import encoder_names, load_encoder
from emoclim.errors import EncoderError
from emoclim.features import Setting


@pytest.fixture(scope="module", params=encoder_names())
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp(request.param)
    register_tiny_clip(folder)
    return make_subject(request.param, folder)


class TestEveryEncoder(NamedEncoderContract):
    pass


@pytest.mark.parametrize(
    ("name", "key", "value", "other"),
    [
        ("colour", "size", 256, 512),
        ("clap", "source_rate", 0, 1),
        ("timbre", "overlap", 0.5, 0.25),
        ("clap", "overlap", 0.0, 0.5),
        ("clap", "model", "630k", "630k_audioset"),
        ("clap", "model", "music_speech", "630k"),
        ("clip", "pretrained", "openai", None),
        ("musicnn", "model", "any", None),
        ("timbre", "flag", True, False),
    ],
)
def test_another_value_of_a_setting_follows_from_its_type(
    name: str, key: str, value: Setting, other: Setting | None
) -> None:
    found = another(name, key, value)
    assert (type(found), found) == (type(other), other)


def test_a_setting_whose_other_values_cannot_be_guessed_is_told(tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match="name another source_rate of 'clap' in CASES of encoder_cases.py"):
        make_subject("clap", tmp_path, Case()).load_changed()


def test_a_name_that_is_no_encoder_is_told() -> None:
    with pytest.raises(EncoderError, match="no encoder is called 'base'; there are: .*clip"):
        load_encoder("base")
