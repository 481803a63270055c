"""Options: each can be understood alone, those of settings follow their fields, and their texts are read in one way."""

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from pydantic import Field
from typer.main import get_command
from typer.testing import CliRunner

from emoclim.cli import Group, app
from emoclim.commands.interface.options import (
    LIBRARIES,
    SettingOptions,
    named_libraries,
    parse_settings,
    read_list,
    read_pairs,
    refuse_useless,
)
from emoclim.commands.interface.terminal import View, command, new_app
from emoclim.config import Settings
from emoclim.errors import ConfigError
from emoclim.modality import MODALITIES


def leaves(group: Any, *names: str) -> list[tuple[str, Any]]:
    if not hasattr(group, "list_commands"):
        return [(" ".join(names), group)]
    found = [leaves(group.get_command(None, name), *names, name) for name in group.list_commands(None)]
    return [leaf for part in found for leaf in part]


@pytest.mark.parametrize(("name", "leaf"), leaves(get_command(app)))
def test_the_help_of_every_option_can_be_read_alone(name: str, leaf: Any) -> None:
    assert leaf.help.splitlines()[0].endswith("."), name
    options = [one for one in leaf.params if one.param_type_name == "option"]
    assert "json" in {one.name for one in options}
    for one in options:
        place = f"{name} --{one.name}: {one.help}"
        assert one.help, place
        assert one.help[0].isupper() or one.help[0].isdigit(), place
        assert one.help.endswith("."), place
        assert not one.help.startswith("Of "), place
        assert one.required or one.default is not None or "default" in one.help.lower(), place


class Brew(Settings):
    """Settings with a field of each kind."""

    grams: float = Field(default=18.0, gt=0, description="Weight of the coffee, in g")
    cups: int | None = Field(default=None, description="Cups to make; default one")
    milk: bool = Field(default=False, description="Pour milk into it")
    warm: bool = Field(default=True, description="Warm the cup first")
    grind: Literal["fine", "coarse"] = Field(default="fine", description="Grind of the coffee")
    sieve: Annotated[Path, Field(strict=False)] | None = Field(default=None, description="Sieve to use; default none")
    seconds: tuple[float, float] = Field(default=(20.0, 30.0), strict=False, description="Shortest and longest, in s")
    steps: tuple[int, ...] = Field(default=(1,), strict=False, description="Steps of the grinder")
    notes: tuple[str, ...] = Field(default=(), strict=False, description="Notes to taste; default none")
    secret: int = 3  # without a description there is no option


BREW = SettingOptions(Brew, {"grams": "weight"}, left_out={"cups"}, several={"grind"})


def brewed(*words: str) -> dict[str, Any]:
    """What a command with these options is given."""
    found: dict[str, Any] = {}
    small = new_app()

    @command(small, computing=False, then=BREW.options())
    def brew(*, name: str = "", **given: Any) -> View:
        """Brew."""
        found.update(BREW.given(given))
        return View({})

    result = CliRunner().invoke(small, list(words))
    assert result.exit_code == 0, result.output
    return found


def test_options_of_settings_follow_their_fields() -> None:
    assert brewed() == {"milk": False, "warm": True}
    words = ("--weight", "20", "--milk", "--no-warm", "--grind", "fine", "--grind", "coarse", "--sieve", "fine.txt")
    found = brewed(*words, "--seconds", "25,28", "--steps", "3,4", "--notes", "cocoa,nuts")
    assert found == {
        "grams": 20.0,
        "milk": True,
        "warm": False,
        "grind": ["fine", "coarse"],
        "sieve": Path("fine.txt"),
        "seconds": (25.0, 28.0),
        "steps": (3, 4),
        "notes": ("cocoa", "nuts"),
    }
    assert Brew(**(found | {"grind": "coarse"})).seconds == (25.0, 28.0)
    texts = {one.name: one.annotation.__metadata__[0].help for one in BREW.options()}
    assert texts["weight"] == "Weight of the coffee, in g; default 18.0."
    assert texts["seconds"] == "Shortest and longest, in s, with commas between; default 20.0,30.0."
    assert texts["grind"] == "Grind of the coffee; default fine; may be repeated."
    assert texts["warm"] == "Warm the cup first."
    assert {"cups", "secret"}.isdisjoint(texts)


def test_there_is_an_option_for_the_cache_of_each_modality() -> None:
    assert [one.name for one in LIBRARIES] == [facts.folder for facts in MODALITIES.values()]
    given = dict.fromkeys((facts.folder for facts in MODALITIES.values()), None) | {"images": "clip", "text": "words"}
    assert named_libraries(given) == {"image": "clip", "text": "words"}


def test_pairs_are_read_in_one_way() -> None:
    assert read_pairs(["a=1", "b="], "--option", "c=2") == {"a": "1", "b": ""}
    assert parse_settings(["a=1", "b=1.5", "c=x=y"]) == {"a": 1, "b": 1.5, "c": "x=y"}
    assert read_pairs(None, "--option", "c=2") == {}
    for wrong in (["a"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(ConfigError, match="--option"):
            read_pairs(wrong, "--option", "c=2")
    with pytest.raises(ConfigError, match=r"--k '1,2\.5'"):
        read_list("1,2.5", "--k", int)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ((), 0, "made"),
        (("--resume", "x", "--json"), 0, '"made": true'),
        (("--resume", "x", "--epochs", "3"), 2, "--epochs would have no effect: it goes on"),
        (("--rounds", "3"), 2, "--rounds would have no effect: they need --study"),
        (("--json", "--latex"), 2, "--json and --latex"),
        (("--fail",), 3, "made"),
    ],
)
def test_what_has_no_effect_is_refused_and_what_failed_ends_with_3(
    words: tuple[str, ...], code: int, told: str
) -> None:
    small = typer.Typer(cls=Group, rich_markup_mode=None)
    part = new_app("Parts.")
    small.add_typer(part, name="part")

    @command(part, "make", computing=False, forms=("json", "latex"))
    def make(
        context: typer.Context,
        epochs: int = 1,
        rounds: int = 1,
        resume: str | None = None,
        fail: Annotated[bool, typer.Option("--fail")] = False,
    ) -> View:
        """Make."""
        if resume is not None:
            refuse_useless(context, why="it goes on", beside={"resume"})
        refuse_useless(context, {"rounds"}, "they need --study")
        return View({"made": epochs == rounds}, lines=["made"], incomplete=fail)

    result = CliRunner().invoke(small, ["part", "make", *words])
    assert (result.exit_code, told in result.output) == (code, True), result.output
