"""What the commands write to a terminal, and how they read what was typed.

Results go to stdout, progress to stderr.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import typer

from emoclim.errors import ConfigError

T = TypeVar("T")
N = TypeVar("N", int, float)
NUMBER = re.compile(r"[-+]?\d[^/]*$|[-–]$")
WIDE = 200  # columns of a table that goes to a file or a pipe


def print_result(content: Mapping[str, Any], as_json: bool, show: Callable[[], object]) -> None:
    """Print a result as JSON, or as `show` does it."""
    if as_json:
        typer.echo(json.dumps(content, indent=2, allow_nan=False))
    else:
        show()


def print_lines(lines: Iterable[str]) -> None:
    """Print sentences, one to a line."""
    for line in lines:
        typer.echo(line)


def print_table(rows: Sequence[Sequence[str]], title: str | None = None) -> None:
    """Print a header row and the rows below it; columns of numbers are set to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for name, *cells in zip(*rows, strict=True):
        numbers = any(cells) and all(NUMBER.match(cell) for cell in cells if cell)
        table.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*(Text(cell) for cell in row))
    console = Console()
    Console(width=None if console.is_terminal else WIDE).print(table)


def track(sequence: Iterable[T], description: str = "", total: float | None = None) -> Iterable[T]:
    """Show progress on stderr."""
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield from bar.track(sequence, description=description, total=total)


def read_settings(pairs: Sequence[str]) -> dict[str, int | float | str]:
    """``["overlap=0.5"]`` as a mapping, numbers read as such.

    Raises
    ------
    ConfigError
        One has no equals sign.
    """
    settings: dict[str, int | float | str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--setting {pair!r} is not NAME=VALUE; write for example overlap=0.5")
        settings[name] = _number(text)
    return settings


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read_numbers(text: str, option: str, kind: Callable[[str], N]) -> tuple[N, ...]:
    """``"1,5"`` as numbers.

    Raises
    ------
    ConfigError
        They are not of that kind.
    """
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        which = "whole numbers" if kind is int else "numbers"
        raise ConfigError(f"{option} {text!r} is not a list of {which} with commas between them") from error
