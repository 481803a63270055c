"""The command line `emoclim`: its commands by name, each imported when it is used, and how mistakes are told."""

import atexit
import gc
import io
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typing_extensions import override

from emoclim import __version__, commands
from emoclim.errors import on_one_line, user_message

# What the help of `emoclim` says of each command without importing it
COMMANDS: Mapping[str, str] = {
    "extract": "Encode items once, into a cache of features.",
    "train-heads": "Train heads on cached features.",
    "train-end-to-end": "Train encoders and heads together.",
    "pretrain": "Train an encoder of sound without labels.",
    "evaluate": "Report how well emotions are found, or tags.",
    "cross-validate": "Train heads without each group of items in turn, and evaluate them on it.",
    "search": "Find music for photos or words, or photos for music.",
    "app": "Search on a page: drop photos, recordings or words, and hear what is found.",
    "index": "Make what libraries are searched by, tell what there is, and check it.",
    "compare": "Tell whether runs differ.",
    "cache": "Look after the caches of features.",
    "prepare": "Make a manifest of a data set.",
    "encoders": "Show the encoders: what each takes and gives, and which checkpoints are here.",
    "reproduce": "Make tables of a paper anew.",
    "demo": "Search photos for music without training, then train, evaluate and search on a computed corpus.",
}
CONTINUED = frozenset(
    {"extract", "search", "app", "index", "reproduce", "demo"}
)  # commands that leave caches or runs behind step by step
KEPT = "what was committed is kept, and the same command goes on from it"
AGAIN = "nothing is left half written; run the same command again for its result"
MODULES = {
    "cross-validate": "cross_validate",
    "train-heads": "train",
    "train-end-to-end": "train",
    "compare": "evaluate",
}  # where not called alike


UsageError: Any = typer.BadParameter.__base__  # of options and arguments that a command does not take


class Group(TyperGroup):
    """A group of commands that tells a user's mistake in one line, or with ``--json`` as JSON, with exit code 2."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Remember what was typed."""
        ctx.obj = tuple(args)
        return super().parse_args(ctx, args)

    @override
    def invoke(self, ctx: Any) -> Any:
        """Run the command that was typed."""
        words: tuple[str, ...] = ctx.obj
        as_json = "--json" in words
        try:
            return super().invoke(ctx)
        except UsageError as error:
            error.message += _hint(words, error.message)
            if not as_json:
                raise
            self._fail(error, error.format_message(), as_json)
        except KeyboardInterrupt as error:
            left = KEPT if ctx.invoked_subcommand in CONTINUED else str(error) or AGAIN
            self._fail(error, f"stopped; {left}", as_json, code=130)
        except BrokenPipeError:
            raise  # whoever read the result has seen enough
        except Exception as error:
            if (told := user_message(error)) is None:
                raise
            self._fail(error, told, as_json)

    @staticmethod
    def _fail(error: BaseException, reason: str, as_json: bool, code: int = 2) -> NoReturn:
        if as_json:
            typer.echo(json.dumps({"error": {"type": type(error).__name__, "message": reason}}, indent=2))
        else:
            typer.echo(f"emoclim: {on_one_line(reason)}", err=True)
        raise typer.Exit(code) from error


def _hint(words: Sequence[str], mistake: str) -> str:
    """Name the likely mistake, where a file is called like an option, or a pattern of the shell gave several files."""
    there = [word for word in words[1:] if Path(word).exists()]
    like_options = [word for word in there if word.startswith("-")]
    if like_options and "--" not in words:
        return f"; if {like_options[0]} in this folder is meant, write ./{like_options[0]}, or name it last, behind --"
    if len(there) > 1 and "extra argument" in mistake:
        return f"; {len(there)} files are named one by one: give the folder that holds them, or a table of them"
    return ""


class Commands(Group):
    """The commands of `COMMANDS`, in that order."""

    @override
    def list_commands(self, ctx: Any) -> list[str]:
        """Names of all commands."""
        return list(COMMANDS)

    @override
    def get_command(self, ctx: Any, name: str) -> Any:
        """Import one command."""
        if name not in COMMANDS:
            return None
        module = getattr(commands, MODULES.get(name, name))
        command = typer.main.get_command(module.app)
        command = getattr(command, "commands", {}).get(name, command)  # a module may hold several
        command.name = name
        return command

    @override
    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """List the commands in the help, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


class OneLine(logging.Formatter):
    """Keeps a message in its line, whatever the names of files in it are."""

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        """Format without breaks."""
        return on_one_line(super().formatMessage(record))


app = typer.Typer(
    cls=Commands, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None
)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"emoclim {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Music that feels like a picture: emotion-aligned retrieval between images and music."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an arrow that a terminal cannot show is no reason to stop
    atexit.register(gc.freeze)  # what is left at the end needs no sorting out
    gc.set_threshold(100_000)  # looking for garbage among many thousand items costs more than reading them
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(OneLine("%(levelname)s: %(message)s"))
