"""What the commands write to a terminal, and how they read what was typed.

Results go to stdout, progress to stderr.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from typer.core import TyperCommand

from emoclim.errors import ConfigError
from emoclim.progress import Track, silent

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Root = Annotated[Path, typer.Option("--workspace", help="Folder with data/, cache/ and runs/.")]

Rows = Sequence[Sequence[str]]
TableFormat = Literal["latex", "markdown"]

T = TypeVar("T")
N = TypeVar("N", int, float)
NUMBER = re.compile(r"[-+]?\d[^/]*$|[-–]$")
WIDE = 200  # columns of a table that goes to a file or a pipe


class Computing(TyperCommand):
    """A command that runs networks or works on numbers: before anything else, the process is set up for that."""

    def invoke(self, ctx: Any) -> Any:
        """Set up, and run."""
        from emoclim.encoders import flushed_denormals

        with flushed_denormals():
            return super().invoke(ctx)


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


def print_table(rows: Rows, title: str | None = None) -> None:
    """Print a header row and the rows below it; columns of numbers are set to the right."""
    from rich.console import Console

    console = Console()
    Console(width=None if console.is_terminal else WIDE).print(_table(rows, title))


def print_paper_table(rows: Rows, title: str, note: str, form: TableFormat) -> None:
    """Print a header row and the rows below it as LaTeX (booktabs) or Markdown."""
    from emoclim.reports import typeset_table

    typer.echo(typeset_table(rows, title, note, form))


def _table(rows: Rows, title: str | None = None) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for name, *cells in zip(*rows, strict=True):
        numbers = any(cells) and all(NUMBER.match(cell) for cell in cells if cell)
        table.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*(Text(cell) for cell in row))
    return table


def track(sequence: Iterable[T], description: str = "", total: float | None = None) -> Iterable[T]:
    """Show progress on stderr."""
    with _progress() as bar:
        yield from bar.track(sequence, description=description, total=total)


@contextmanager
def live_table(shown: bool = True) -> Iterator[tuple[Track, Callable[[Rows], None]]]:
    """Show progress on stderr with a table below it: what tracks, and what shows the rows it is given from now on."""
    if not shown:
        yield silent, lambda rows: None
        return
    from rich.console import Group
    from rich.live import Live

    bar = _progress()
    live = Live(bar, console=bar.console, transient=True)

    def track_here(sequence: Iterable[T], description: str = "", total: float | None = None) -> Iterable[T]:
        task = bar.add_task(description, total=total)
        try:
            for value in sequence:  # the bar's own track would wait for the bar to be started, which only `live` is
                yield value
                bar.advance(task)
        finally:
            bar.remove_task(task)

    def show(rows: Rows) -> None:
        live.update(Group(bar, _table(rows)), refresh=True)

    if bar.disable:
        yield track, lambda rows: None
    else:
        with live:
            yield track_here, show


def _progress() -> "Progress":
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
    return progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def given_options(context: typer.Context) -> set[str]:
    """Names of the parameters that stand on the command line."""
    sources = {name: context.get_parameter_source(name) for name in context.params}
    return {name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"}


def refuse_what_has_no_effect(
    context: typer.Context, with_resume: Set[str], needed: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Take options that another one makes useless, or that need another one, for mistakes."""
    given = given_options(context)
    resuming = "resume" in given
    useless = given - with_resume if resuming else {name for name in given if needed.get(name, name) not in given}
    if useless:
        listed = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(useless))
        why = "--resume goes on with what the run was begun with" if resuming else "they need another option"
        raise ConfigError(f"{listed} would have no effect: {why}; leave out what is not meant")


def read_settings(pairs: Sequence[str]) -> dict[str, int | float | str]:
    """``["overlap=0.5"]`` as a mapping, numbers read as such."""
    settings: dict[str, int | float | str] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ConfigError(f"--setting {pair!r} is not NAME=VALUE; write for example overlap=0.5")
        if name in settings:
            raise ConfigError(f"--setting {name} is given twice; leave out one of the two")
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
    """``"1,5"`` as numbers."""
    try:
        return tuple(kind(part) for part in text.split(","))
    except ValueError as error:
        which = "whole numbers" if kind is int else "numbers"
        raise ConfigError(f"{option} {text!r} is not a list of {which} with commas between them") from error
