"""Show on a terminal what commands return, how far they are, and what went wrong.

A command is a function that returns a `View`; `command` adds it to an app and prints what it returns. Results go to
stdout, progress and errors to stderr.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from pydantic_core import to_jsonable_python
from typer.core import TyperCommand

from emoclim.errors import ConfigError, on_one_line
from emoclim.progress import Track, silent, track_by_lines

if TYPE_CHECKING:
    from rich import table
    from rich.progress import Progress

    from emoclim.learning import Epoch
    from emoclim.reports import PaperTable

T = TypeVar("T")
Rows = Sequence[Sequence[str]]
Form = Literal["json", "latex", "markdown"]
NUMBER = re.compile(r"[-+]?\d[^/]*$|[-–]$")
EPOCH_HEADER, EPOCHS_SHOWN = ("epoch", "training loss", "validation loss"), 8
WIDTH = 200  # characters of a table that goes to a file or a pipe
FORMS: Mapping[Form, str] = {
    "json": "Print the result as JSON.",
    "latex": "Print the result as rows of the papers' tables, in LaTeX.",
    "markdown": "Print the result as rows of the papers' tables, in Markdown.",
}


@dataclass(frozen=True, slots=True)
class Table:
    """A table: a row of column names, then its rows."""

    rows: Rows
    title: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """What a command has to show."""

    data: Any  # for --json: plain values, or a dataclass of them
    tables: Sequence[Table] = ()
    lines: Sequence[str] = ()  # sentences below the tables
    head: Sequence[str] = ()  # sentences above them
    paper: Sequence["PaperTable"] = ()  # for --latex and --markdown
    incomplete: bool = False  # whether more failed than is allowed: exit code 3
    then: Callable[[], None] | None = None  # what goes on, once this is shown, until it is stopped


class Computing(TyperCommand):
    """A command that runs networks or works on many numbers: denormal numbers count as zero meanwhile."""

    def invoke(self, ctx: Any) -> Any:
        """Set up the process, then run the command."""
        from emoclim.encoders import flushed_denormals

        with flushed_denormals():
            return super().invoke(ctx)


def new_app(description: str | None = None) -> typer.Typer:
    """Start a command, or with a description a group of commands, with plain help: drawing it with rich is slow."""
    return typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=description)


def command(
    app: typer.Typer,
    name: str | None = None,
    *,
    computing: bool = True,
    forms: Sequence[Form] = ("json",),
    first: Sequence[Parameter] = (),
    then: Sequence[Parameter] = (),
) -> Callable[[Callable[..., View | None]], Callable[..., View | None]]:
    """Add a function that returns a `View` to an app, with an option for each form in which that can be printed.

    Further options come `first`, or `then`, before the function's keyword-only ones, which gets them as `**options`.
    """

    def add(function: Callable[..., View | None]) -> Callable[..., View | None]:
        @wraps(function)
        def run(**options: Any) -> None:
            asked = [form for form in forms if options.pop(form)]
            if len(asked) > 1:
                listed = " and ".join(f"--{form}" for form in asked)
                raise ConfigError(f"{listed} are forms of the same result; give one of them")
            view = function(**options)
            if view is not None:
                emit(view, asked[0] if asked else None)
                if view.then is not None:
                    view.then()
                if view.incomplete:
                    raise typer.Exit(3)

        own = [one for one in signature(function).parameters.values() if one.kind != Parameter.VAR_KEYWORD]
        last = [one for one in own if one.kind == Parameter.KEYWORD_ONLY]
        flags = [option(form, bool, FORMS[form], False) for form in forms]
        ordered = [*first, *own[: len(own) - len(last)], *then, *last, *flags]
        run.__signature__ = Signature([one.replace(kind=Parameter.KEYWORD_ONLY) for one in ordered])  # type: ignore[attr-defined]
        app.command(name, cls=Computing if computing else TyperCommand)(run)
        return function

    return add


def option(name: str, kind: Any, text: str, default: Any = None) -> Parameter:
    """Make an option that is no parameter of a function."""
    dashed = name.replace("_", "-")
    annotation = Annotated[kind, typer.Option(f"--{dashed}/--no-{dashed}" if default else f"--{dashed}", help=text)]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def emit(view: View, form: Form | None = None) -> None:
    """Print a view in one of its forms; None prints tables and sentences for a reader."""
    if form == "json":
        typer.echo(json.dumps(to_jsonable_python(view.data), indent=2, allow_nan=False))
    elif form is not None:
        _emit_paper(view.paper, form)
    else:
        print_lines(view.head)
        for one in view.tables:
            _print_table(one)
        print_lines(view.lines)


def print_lines(lines: Iterable[str], err: bool = False) -> None:
    """Print sentences, one to a line."""
    for line in lines:
        typer.echo(on_one_line(line), err=err)


def _emit_paper(tables: Sequence["PaperTable"], form: Literal["latex", "markdown"]) -> None:
    from emoclim.reports import typeset_table

    if not tables:
        raise ConfigError("the papers' tables need images and music; leave out --latex and --markdown")
    for one in tables:
        typer.echo(typeset_table(one.rows, one.title, one.note, form))


def _print_table(content: Table) -> None:
    if len(content.rows) < 2:
        return
    from rich.console import Console

    console = Console()
    Console(width=None if console.is_terminal else WIDTH).print(_drawn(content))


def _drawn(content: Table) -> "table.Table":
    """The table as rich draws it; columns of numbers are set to the right."""
    from rich.table import Table as RichTable
    from rich.text import Text

    title = None if content.title is None else Text(on_one_line(content.title))  # it may name a file
    drawn = RichTable(title=title, title_justify="left")
    for name, *cells in zip(*content.rows, strict=True):
        numbers = any(cells) and all(NUMBER.match(cell) for cell in cells if cell)
        drawn.add_column(Text(name), justify="right" if numbers else "left", overflow="fold")
    for row in content.rows[1:]:
        drawn.add_row(*(Text(on_one_line(cell)) for cell in row))
    return drawn


def track(sequence: Iterable[T], description: str = "", total: float | None = None) -> Iterable[T]:
    """Show progress on stderr: a bar on a terminal; elsewhere, as in a log, a line now and then."""
    bar = _progress()
    if bar.disable:
        yield from track_by_lines(sequence, description, total, tell=lambda line: print_lines([line], err=True))
    else:
        with bar:
            yield from bar.track(sequence, description=on_one_line(description), total=total)


@contextmanager
def working(description: str) -> Iterator[None]:
    """Show on stderr that the work of the block is being done, where nobody can say how far it is."""
    step = iter(track(iter((None,)), description))
    next(step)
    try:
        yield
    finally:
        next(step, None)


@contextmanager
def live_table(shown: bool = True) -> Iterator[tuple[Track, Callable[[Rows], None]]]:
    """Show progress on stderr with a table below it.

    Yields what tracks, and a function that replaces the rows of the table.
    """
    if not shown:
        yield silent, lambda rows: None
        return
    from rich.console import Group as Stack
    from rich.live import Live

    bar = _progress()
    live = Live(bar, console=bar.console, transient=True)

    def track_here(sequence: Iterable[T], description: str = "", total: float | None = None) -> Iterable[T]:
        task = bar.add_task(on_one_line(description), total=total)
        try:
            for value in sequence:  # the bar's own track would wait for the bar to be started, which only `live` is
                yield value
                bar.advance(task)
        finally:
            bar.remove_task(task)

    def show(rows: Rows) -> None:
        live.update(Stack(bar, _drawn(Table(rows))), refresh=True)

    if bar.disable:
        yield track, lambda rows: None
    else:
        with live:
            yield track_here, show


@contextmanager
def live_epochs(shown: bool = True) -> Iterator[tuple[Track, Callable[["Epoch"], None]]]:
    """Show progress with a table of the last epochs below it; yields what tracks, and what is told of each epoch."""
    rows: list[tuple[str, ...]] = []
    with live_table(shown) as (track, show_table):

        def show_epoch(epoch: "Epoch") -> None:
            losses = (float(epoch.train_loss[0]), float(epoch.val_loss[0]))
            rows.append((str(epoch.number + 1), *(f"{loss:.4f}" for loss in losses)))
            show_table([EPOCH_HEADER, *rows[-EPOCHS_SHOWN:]])

        yield track, show_epoch


def _progress() -> "Progress":
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}", markup=False),  # names of files may hold brackets
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    return progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
