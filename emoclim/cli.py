"""The command line `emoclim`: its commands by name, each imported when it is used, so that help is instant."""

import atexit
import gc
import io
import logging
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from typing_extensions import override

from emoclim import __version__, commands
from emoclim.commands import Group

# What the help of `emoclim` says of each command without importing it
COMMANDS: Mapping[str, str] = {
    "extract": "Encode items once, into a cache of features.",
    "train-heads": "Train heads on cached features.",
    "train-end-to-end": "Train an encoder of music and heads together.",
    "evaluate": "Report how well emotions are found, or tags.",
    "search": "Find music for a photo, or photos for music.",
    "compare": "Tell whether runs differ.",
    "cache": "Look after the caches of features.",
    "prepare": "Make a manifest of a data set.",
    "encoders": "Show the encoders: what each takes and gives, and which checkpoints are here.",
    "reproduce": "Make tables of a paper anew.",
    "demo": "Run everything on a generated corpus.",
}
MODULES = {"train-heads": "train", "train-end-to-end": "train", "compare": "evaluate"}  # where not called alike


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
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)
