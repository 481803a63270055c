"""The commands: parse, call the pipeline, show a table (or JSON).

Results go to stdout, progress and warnings to stderr. Exit codes: 0 done; 2 the user's mistake, told in one line;
3 finished, but more items failed than allowed. Each command imports the pipeline that it needs: help is instant.
"""

import atexit
import gc
import io
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from emoclim import __version__
from emoclim.commands import (
    Average,
    Computing,
    Device,
    Json,
    Root,
    print_lines,
    print_result,
    print_table,
    read_settings,
    show_evaluation,
    track,
)
from emoclim.commands import app as cache_app
from emoclim.commands import compare_command as compare
from emoclim.commands import evaluate_command as evaluate
from emoclim.commands import prepare_command as prepare
from emoclim.commands import reproduce_command as reproduce
from emoclim.commands import train_end_to_end_command as train_end_to_end
from emoclim.commands import train_heads_command as train_heads
from emoclim.errors import EmoclimError, reason_of
from emoclim.modality import MODALITIES, Modality


class _Commands(TyperGroup):
    """Tells a user's mistake in one line."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except EmoclimError as error:
            typer.echo(f"emoclim: {error}", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as error:
            typer.echo("emoclim: stopped; what was committed is kept, and the same command goes on from it", err=True)
            raise typer.Exit(130) from error
        except BrokenPipeError:
            raise  # whoever read the result has seen enough
        except OSError as error:
            place = f"{error.filename} cannot be used" if error.filename else "the result cannot be written"
            typer.echo(
                f"emoclim: {place} ({reason_of(error)}); check the place, its permissions and its space", err=True
            )
            raise typer.Exit(2) from error

    def list_commands(self, ctx: Any) -> list[str]:
        return sorted(super().list_commands(ctx), key=lambda name: name != "extract")  # what comes first, first


# plain help: drawing it with rich would take longer than everything else that starting does
app = typer.Typer(
    cls=_Commands, no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, rich_markup_mode=None
)
extract_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Encode pictures or music once, into a cache."
)
app.add_typer(extract_app, name="extract")
app.add_typer(cache_app, name="cache")


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"emoclim {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Music that feels like a picture: emotion-aligned retrieval between images and music."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an arrow that a terminal cannot show is no reason to stop
    atexit.register(gc.freeze)  # what is left at the end needs no sorting out
    gc.set_threshold(100_000)  # looking for garbage among many thousand items costs more than reading them
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING, stream=sys.stderr)


def _extract_command(modality: Modality, default: str) -> Callable[..., None]:
    """`extract images` and `extract audio`: the same options, another modality."""

    def command(
        manifest: Annotated[Path | None, typer.Argument(help="CSV, or folder with one subfolder per label.")] = None,
        encoder: Annotated[str, typer.Option(help="Name of the encoder.")] = default,
        checkpoint: Annotated[Path | None, typer.Option(help="File of its parameters.")] = None,
        model: Annotated[str | None, typer.Option(help="Which of its models; see: emoclim encoders NAME.")] = None,
        precision: Annotated[str | None, typer.Option(help="Of its network: fp32, bf16 or fp16.")] = None,
        views: Annotated[
            int | None, typer.Option(hidden=modality != "image", help="Random crops to keep beside each picture.")
        ] = None,
        decoder: Annotated[
            str | None, typer.Option(hidden=modality != "image", help="Of files: pillow, draft or torchvision.")
        ] = None,
        source_rate: Annotated[
            int | None, typer.Option(hidden=modality != "audio", help="Hz to which clap first brings each recording.")
        ] = None,
        setting: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of the encoder, e.g. overlap=0.5.")] = None,
        preset: Annotated[
            str, typer.Option(help="Its settings to start from: default, paper, paper-code.")
        ] = "default",
        unlabelled: Annotated[bool, typer.Option("--unlabelled", help="Only to be searched; ignore labels.")] = False,
        segments: Annotated[bool, typer.Option(help="Keep the feature of each segment of a recording.")] = True,
        batch_size: Annotated[
            int | None, typer.Option(min=1, help="Segments per forward pass; default 8, on a GPU 64.")
        ] = None,
        workers: Annotated[int | None, typer.Option(min=0, help="Decoding processes; default one per core.")] = None,
        backend: Annotated[Literal["h5", "zarr"], typer.Option(help="File format of the cache.")] = "h5",
        compiled: Annotated[
            bool,
            typer.Option("--compile", help="Compile the network first, for long runs; features move by millionths."),
        ] = False,
        retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed items again.")] = False,
        rehash: Annotated[bool, typer.Option("--rehash", help="Reread files that look unchanged.")] = False,
        shard: Annotated[
            str | None, typer.Option(help="2/8: the second of eight parts; join with: cache merge.")
        ] = None,
        max_failures: Annotated[float, typer.Option(min=0, max=1, help="Share of items that may fail.")] = 0.01,
        seed: Annotated[int, typer.Option(min=0, help="Of views, and of splits if the manifest has none.")] = 42,
        device: Device = "auto",
        workspace: Root = Path(),
        as_json: Json = False,
    ) -> None:
        from emoclim.config import encoder_preset
        from emoclim.pipeline import ExtractConfig, Shard, Workspace, extract_features

        settings = encoder_preset(preset, encoder) | read_settings(setting or [])
        named = {"model": model, "precision": precision, "views": views, "decoder": decoder, "source_rate": source_rate}
        settings |= {name: value for name, value in named.items() if value is not None}
        if settings.get("views"):
            settings.setdefault("view_seed", seed)
        result = extract_features(
            modality,
            manifest,
            ExtractConfig(
                encoder=encoder,
                checkpoint=checkpoint,
                settings=settings,
                unlabelled=unlabelled,
                keep_segments=segments,
                batch_size=batch_size,
                workers=workers,
                backend=backend,
                compiled=compiled,
                retry_failed=retry_failed,
                rehash=rehash,
                seed=seed,
            ),
            workspace=Workspace(workspace),
            shard=Shard.parse(shard) if shard else None,
            device=device,
            track=track,
        )
        print_result(result.to_dict(), as_json, lambda: print_lines(result.summary()))
        if len(result.extraction.failures) > max_failures * result.n_items:
            raise typer.Exit(3)

    command.__doc__ = f"Encode {MODALITIES[modality].nouns} that no cache holds yet."
    return command


for one, facts in MODALITIES.items():
    if facts.encoder:  # the others have none yet
        extract_app.command(facts.folder, cls=Computing)(_extract_command(one, facts.encoder))


app.command("train-heads", cls=Computing)(train_heads)
app.command("train-end-to-end", cls=Computing)(train_end_to_end)
app.command("evaluate", cls=Computing)(evaluate)
app.command("compare", cls=Computing)(compare)
app.command("prepare")(prepare)
app.command("reproduce", cls=Computing)(reproduce)


@app.command(cls=Computing)
def search(
    query: Annotated[Path, typer.Argument(help="A photo or a recording.")],
    top: Annotated[int, typer.Option(min=1, help="How many to show.")] = 5,
    library: Annotated[str | None, typer.Option("--in", help="Name of an extracted manifest to search.")] = None,
    run: Annotated[str | None, typer.Option(help="Name of a run; default the newest.")] = None,
    average: Average = "embeddings",
    device: Device = "auto",
    workspace: Root = Path(),
    as_json: Json = False,
) -> None:
    """Find music for a photo, or photos for music."""
    from emoclim.pipeline import Workspace, search_file

    result = search_file(
        query,
        top=top,
        library=library,
        run=run,
        average=average,
        workspace=Workspace(workspace),
        device=device,
        track=track,
    )
    print_result(result.to_dict(), as_json, lambda: print_table(result.table_rows(), title=str(query)))


@app.command("encoders")
def list_encoders(
    name: Annotated[str | None, typer.Argument(help="Tell more of this one.")] = None,
    as_json: Json = False,
) -> None:
    """Show the encoders: what each takes and gives, and which checkpoints are on this machine."""
    from emoclim.pipeline import describe_encoder, describe_encoders

    if name is None:
        descriptions = describe_encoders()
        print_result(descriptions.to_dict(), as_json, lambda: print_table(descriptions.table_rows()))
        return
    description = describe_encoder(name)

    def show() -> None:
        print_lines(description.summary())
        print_table(description.settings_rows())

    print_result(description.to_dict(), as_json, show)


@app.command(cls=Computing)
def demo(
    folder: Annotated[Path, typer.Argument(help="Where to put everything.")] = Path("demo"),
    pictures: Annotated[int, typer.Option(help="Generated pictures per emotion.")] = 40,
    pieces: Annotated[int, typer.Option(help="Generated pieces of music per emotion.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of the generated corpus and of training.")] = 42,
    workers: Annotated[int | None, typer.Option(min=0, help="Decoding processes; default one per core.")] = None,
    as_json: Json = False,
) -> None:
    """Run everything on a generated corpus."""
    from emoclim.pipeline import run_demo

    if not as_json:
        print_lines([f"Generating pictures and music in {folder}; nothing here is a real photo or recording."])
    result = run_demo(folder, pictures=pictures, pieces=pieces, seed=seed, workers=workers, track=track)

    def show() -> None:
        show_evaluation(result.evaluation)
        for one in result.searches:
            print_table(one.table_rows(), title=str(one.query))
        print_lines(result.closing())

    print_result(result.to_dict(), as_json, show)
