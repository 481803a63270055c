"""Every encoder that there is keeps every promise of an encoder."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from encoder_cases import Case, NamedEncoderContract, Subject, another, make_subject, shrunk
from pseudo_weights import register_tiny_clip

from emoclim.data import Setting
from emoclim.encoders.loading import encoder_names, load_encoder
from emoclim.errors import EncoderError


@pytest.fixture(scope="module", params=encoder_names())
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    folder = tmp_path_factory.mktemp(request.param)
    register_tiny_clip(folder)
    with shrunk(request.param):
        yield make_subject(request.param, folder)


class TestEveryEncoder(NamedEncoderContract):
    pass


@pytest.mark.parametrize(
    ("value", "other"), [(256, 512), (0, 1), (0.5, 0.25), (0.0, 0.5), (True, False), (False, True)]
)
def test_another_value_of_a_setting_follows_from_its_type(value: Setting, other: Setting) -> None:
    found = another(value)
    assert (type(found), found) == (type(other), other)


@pytest.mark.parametrize(("changes", "key"), [({}, "model"), ({"model": "630k"}, "source_rate")])
def test_a_setting_whose_other_values_cannot_be_guessed_is_told(
    tmp_path: Path, changes: dict[str, Setting], key: str
) -> None:
    with pytest.raises(pytest.fail.Exception, match=f"name another {key} of 'clap' in CASES of encoder_cases.py"):
        make_subject("clap", tmp_path, Case(changes=changes)).load_changed()


def test_a_name_that_is_no_encoder_is_told() -> None:
    with pytest.raises(EncoderError, match="'base'; there are: .*clip"):
        load_encoder("base")
