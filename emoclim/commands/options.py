"""Options that several commands share, and how their texts are read."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer

from emoclim.commands.terminal import FORMS
from emoclim.errors import ConfigError

N = TypeVar("N", int, float)

Root = Annotated[Path, typer.Option("--workspace", help="Folder with data/, cache/ and runs/.")]
Device = Annotated[str, typer.Option(help="Where to compute: auto, cpu, cuda or mps.")]
Workers = Annotated[
    int | None, typer.Option(min=0, help="Processes that decode files; default one per core, at most 8.")
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Segments per forward pass of the encoder; default 8, on a GPU 64.")
]
MaxFailures = Annotated[float, typer.Option(min=0, max=1, help="Share of items that may fail; exit code 3 if more do.")]
Backend = Annotated[Literal["h5", "zarr"], typer.Option(help="File format of the cache.")]
Average = Annotated[
    Literal["embeddings", "features"],
    typer.Option(help="What is averaged over a recording's segments: embeddings (after the heads) or features."),
]
EncoderSettings = Annotated[
    list[str] | None, typer.Option("--setting", help="NAME=VALUE of the encoder, e.g. overlap=0.5; may be repeated.")
]


def given_options(context: typer.Context) -> set[str]:
    """Names of the parameters that stand on the command line, but for the form of the output."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}
    return given - FORMS.keys()


def refuse_useless(context: typer.Context, useless: Collection[str], why: str) -> None:
    """Raise :class:`ConfigError` if options were given that have no effect beside the others."""
    if found := sorted(given_options(context) & set(useless)):
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in found)
        raise ConfigError(f"{listed} would have no effect: {why}; leave out what is not meant")


def read_pairs(pairs: Sequence[str] | None, option: str, example: str) -> dict[str, str]:
    """``["overlap=0.5"]`` as a mapping."""
    found: dict[str, str] = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not name or not equals:
            raise ConfigError(f"{option} {pair!r} is not NAME=VALUE; write for example {example}")
        if name in found:
            raise ConfigError(f"{option} {name} is given twice ({found[name]!r}, {text!r}); leave out one of the two")
        found[name] = text
    return found


def read_settings(pairs: Sequence[str] | None, example: str = "overlap=0.5") -> dict[str, int | float | str]:
    """The pairs of ``--setting`` as a mapping, numbers read as such."""
    return {name: _number(text) for name, text in read_pairs(pairs, "--setting", example).items()}


def read_numbers(text: str, option: str, kind: Callable[[str], N]) -> tuple[N, ...]:
    """``"1,5"`` as numbers."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        which = "whole numbers" if kind is int else "numbers"
        raise ConfigError(f"{option} {text!r} is not a list of {which} with commas between them") from error


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
