"""Settings: defaults of the papers, refusals in one sentence, TOML files."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import Field

from emoclim.config import (
    Settings,
    TrainConfig,
    read_settings_file,
    split_settings,
)
from emoclim.errors import ConfigError
from emoclim.learning import Augmentations, EncoderTuning, TagConfig
from emoclim.learning.sweep import loss_weights


def load_config(path: Path, base: TrainConfig) -> TrainConfig:
    return read_settings_file(path, lambda data: base.updated(**data))


def write(folder: Path, text: str) -> Path:
    path = folder / "train.toml"
    path.write_text(text)
    return path


def test_the_defaults_are_those_of_the_papers() -> None:
    paper = TrainConfig()
    assert (paper.batch_size, paper.learning_rate, paper.epochs) == (64, 1e-4, 15)
    assert (paper.hidden_dim, paper.embedding_dim, paper.dropout, paper.patience) == (256, 128, 0.5, None)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("learning_rate", 0, "greater than 0"),
        ("learning_rate", float("nan"), "a finite number"),
        ("learning_rate", float("inf"), "a finite number"),
        ("learning_rate", "0.07", "a valid number"),
        ("learning_rate", True, "a valid number"),
        ("batch_size", 1, "greater than or equal to 2"),
        ("batch_size", 10_000, "less than or equal to 8192"),
        ("batch_size", 64.0, "a valid integer"),
        ("epochs", 0, "greater than or equal to 1"),
        ("epochs", 10**22, "at most 4294967295"),
        ("seed", 2**64, "at most 4294967295"),
        ("hidden_dim", 2**63 - 1, "less than or equal to 65536"),
        ("embedding_dim", 2**40, "less than or equal to 65536"),
        ("batches_per_epoch", 10**9, "less than or equal to 1000000"),
        ("epochs", True, "a valid integer"),
        ("epochs", "3", "a valid integer"),
        ("dropout", 1, "less than 1"),
        ("dropout", None, "a valid number"),
        ("patience", 0, "greater than or equal to 1"),
        ("seed", -1, "greater than or equal to 0"),
        ("precision", "fp16", "'fp32' or 'bf16'"),
    ],
)
def test_out_of_range_is_told_with_what_is_allowed(name: str, value: Any, allowed: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name} = {value!r} is not possible; it should be {allowed}$"):
        TrainConfig(**{name: value})
    with pytest.raises(ConfigError, match=f"^{name} = "):
        TrainConfig().updated(**{name: value})


def test_a_value_without_end_is_not_repeated_in_whole() -> None:
    for value in (10**4000, "x" * 10_000, [[1] * 10_000]):
        with pytest.raises(ConfigError, match="is not possible") as told:
            TrainConfig(epochs=value)
        assert len(str(told.value)) < 250


class Nested(Settings):
    train: TrainConfig
    places: tuple[float, ...] = Field(default=(), strict=False)


def test_settings_within_settings_come_back_from_json() -> None:
    nested = Nested(train=TrainConfig(epochs=3), places=[1, 2.5])
    assert Nested.model_validate(nested.model_dump(mode="json")) == nested
    assert nested.updated(places=()).train is nested.train
    with pytest.raises(ConfigError, match="train is missing"):
        Nested.model_validate({})
    with pytest.raises(ConfigError, match="epochs = 0"):
        Nested.model_validate({"train": {"epochs": 0}})


@pytest.mark.parametrize("kind", [TrainConfig, EncoderTuning, Augmentations, TagConfig])
def test_every_setting_describes_itself_and_its_default(kind: type[Settings]) -> None:
    for name, field in kind.model_fields.items():
        assert (field.description or "").rpartition("; default ")[0][0].isupper(), name
    assert (Augmentations.model_fields["background_snr"].description or "").endswith(", in dB; default 3.0,30.0")


def test_settings_of_several_classes_in_one_file_are_told_apart() -> None:
    assert split_settings({"epochs": 3, "unfreeze": "all"}, TrainConfig, EncoderTuning) == (
        {"epochs": 3},
        {"unfreeze": "all"},
    )
    with pytest.raises(ConfigError, match="'unfreez' .did you mean 'unfreeze'"):
        split_settings({"epochs": 3, "unfreez": "all"}, TrainConfig, EncoderTuning)


def test_a_file_nested_without_end_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train.toml cannot be read .*nested too deeply|recursion"):
        load_config(write(tmp_path, f"seed = {'[' * 100_000}"), TrainConfig())


def test_the_edges_are_allowed() -> None:
    config = TrainConfig(batch_size=2, weight_decay=0, dropout=0, epochs=1, patience=1, seed=0)
    assert (config.weight_decay, config.dropout) == (0.0, 0.0)
    assert isinstance(config.dropout, float)


def test_dict_round_trip() -> None:
    config = TrainConfig(dropout=0.2, patience=3, seed=7)
    assert TrainConfig.model_validate(config.model_dump()) == config
    assert TrainConfig.model_validate({}) == TrainConfig()


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    base = TrainConfig(epochs=3, seed=5)
    found = load_config(write(tmp_path, "learning_rate = 1e-3\nseed = 9\n"), base)
    assert found == TrainConfig(epochs=3, seed=9, learning_rate=1e-3)


def test_an_unknown_name_is_told_with_the_closest(tmp_path: Path) -> None:
    path = write(tmp_path, "learning_rat = 1e-3\n")
    with pytest.raises(
        ConfigError,
        match=r"no setting is called 'learning_rat' \(did you mean 'learning_rate'\?\); there are batch_size, ",
    ):
        load_config(path, TrainConfig())


def test_an_unknown_name_near_none_is_told() -> None:
    with pytest.raises(ConfigError, match="no setting is called 'xyz'; there are batch_size, "):
        TrainConfig().updated(xyz=1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('learning_rate = "warm"', "train.toml: learning_rate = 'warm' is not possible"),
        ("epochs = 1.5", "train.toml: epochs = 1.5 is not possible"),
        ("epochs = ", r"train.toml cannot be read \(Invalid value"),
        ("[training]\nepochs = 3", "train.toml: no setting is called 'training'"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_config(write(tmp_path, text), TrainConfig())


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none.toml cannot be read .No such file"):
        load_config(tmp_path / "none.toml", TrainConfig())


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"train.toml cannot be read"):
        load_config(path, TrainConfig())


def test_loss_weights_are_returned_as_floats() -> None:
    assert loss_weights([1, 0, 0.5, 0]) == (1.0, 0.0, 0.5, 0.0)
    assert loss_weights((1,), n_terms=1) == (1.0,)


@pytest.mark.parametrize(
    "values",
    [(0, 0, 0, 0), (1, 1, 1), (1, 1, 1, 1, 1), (1, 1, 1, -1), (1, 1, 1, float("nan")), (1, 1, 1, float("inf")), "1111"],
)
def test_loss_weights_that_cannot_be_used(values: Any) -> None:
    with pytest.raises(ConfigError, match=r"loss weights \(.*\) must be 4 finite numbers of at least 0, not all 0"):
        loss_weights(values)
