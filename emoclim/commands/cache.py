"""`emoclim cache`: which caches there are and whether they are sound; features that come in and go out."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from emoclim import pipeline
from emoclim.commands.interface.options import Device, Root, SettingOptions, parse_settings
from emoclim.commands.interface.terminal import Table, View, command, new_app, track
from emoclim.config import ImportConfig
from emoclim.modality import Modality

app = new_app("Look after the caches of features.")
IMPORT = SettingOptions(ImportConfig)

Name = Annotated[str, typer.Argument(help="A cache: its file, or the name of its encoder, import or manifest.")]


@command(app, "list", computing=False)
def list_(workspace: Root = Path()) -> View:
    """Show all caches, the newest first."""
    result = pipeline.list_caches(pipeline.Workspace(workspace))
    return View(result, [Table(result.table_rows())], result.summary())


@command(app, computing=False)
def info(name: Name, workspace: Root = Path()) -> View:
    """Show what a cache holds, what of, and how it was made."""
    result = pipeline.describe_cache(name, pipeline.Workspace(workspace))
    return View(result.to_dict(), [Table(result.spec_rows())], head=result.summary())


@command(app)
def verify(
    name: Name,
    re_encode: Annotated[int, typer.Option(min=0, help="Number of items to encode again and compare.")] = 0,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest difference allowed, as a share of an item's largest number.")
    ] = 1e-4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of items to encode again.")] = 0,
    repair: Annotated[
        bool, typer.Option("--repair", help="Leave damaged items out, so that the next extraction encodes them again.")
    ] = False,
    device: Device = "auto",
    workspace: Root = Path(),
) -> View:
    """Read all of a cache with its checksums, and name what is damaged."""
    result = pipeline.verify_cache(
        name,
        encode=re_encode,
        seed=seed,
        tolerance=tolerance,
        repair=repair,
        device=device,
        workspace=pipeline.Workspace(workspace),
        track=track,
    )
    return View(result.to_dict(), lines=result.summary(), incomplete=not result.sound)


@command(app)
def diff(
    one: Name, other: Annotated[str, typer.Argument(help="Another cache, named alike.")], workspace: Root = Path()
) -> View:
    """Show where two caches differ: in settings, in items and in numbers."""
    result = pipeline.diff_caches(one, other, workspace=pipeline.Workspace(workspace), track=track)
    return View(result, lines=result.summary())


@command(app, "import", then=IMPORT.options())
def import_(
    file: Annotated[Path, typer.Argument(help="An .npz or .parquet file, or a folder of .parquet files.")],
    name: Annotated[str, typer.Option(help="What to call these features.")],
    modality: Annotated[Modality, typer.Option(help="What they are features of.")],
    manifest: Annotated[
        Path | None, typer.Option(help="Table or folder that lists the items; default that of the modality in data/.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(help="NAME=VALUE to tell these features from others; repeatable; default none."),
    ] = None,
    *,
    workspace: Root = Path(),
    **options: Any,
) -> View:
    """Put features that you made yourself into a cache."""
    config = ImportConfig(settings=parse_settings(setting), **IMPORT.given(options))
    place = pipeline.Workspace(workspace)
    result = pipeline.import_features(file, modality, name, config, source=manifest, workspace=place, track=track)
    return View(result, lines=result.summary())


@command(app)
def export(
    name: Name,
    out: Annotated[Path, typer.Argument(help="File or folder to write.")],
    kind: Annotated[
        Literal["npz", "parquet", "hf"] | None,
        typer.Option("--format", help="Default by suffix; hf is a folder for the library datasets of Hugging Face."),
    ] = None,
    manifest: Annotated[
        str | None, typer.Option(help="Manifest whose items to write, by name; default the newest.")
    ] = None,
    workspace: Root = Path(),
) -> View:
    """Write features for other programs."""
    place = pipeline.Workspace(workspace)
    result = pipeline.export_features(name, out, kind=kind, manifest=manifest, workspace=place, track=track)
    return View(result, lines=result.summary())


@command(app)
def merge(name: Name, workspace: Root = Path()) -> View:
    """Join the shards of a cache."""
    result = pipeline.merge_shards(name, workspace=pipeline.Workspace(workspace), track=track)
    return View(result, lines=result.summary())


@command(app, computing=False)
def gc(
    yes: Annotated[bool, typer.Option("--yes", help="Delete what is found; otherwise it is only shown.")] = False,
    workspace: Root = Path(),
) -> View:
    """Find what is left over beside the caches.

    Caches themselves are never deleted.
    """
    result = pipeline.collect_leftovers(delete=yes, workspace=pipeline.Workspace(workspace))
    return View(result.to_dict(), lines=result.summary())
