"""The commands of `emoclim cache`: which caches there are, whether they are sound; features that come in and go out."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from emoclim.commands.terminal import (
    Computing,
    Json,
    Root,
    print_lines,
    print_result,
    print_table,
    read_settings,
    track,
)

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look after the caches of features.")

Name = Annotated[str, typer.Argument(help="A cache: its file, or an encoder's, an import's or a manifest's name.")]


@app.command("list")
def list_(workspace: Root = Path(), as_json: Json = False) -> None:
    """Show all caches, the newest first."""
    from emoclim.pipeline import Workspace, list_caches

    result = list_caches(Workspace(workspace))

    def show() -> None:
        if result.caches:
            print_table(result.table_rows())
        print_lines(result.summary())

    print_result(result.to_dict(), as_json, show)


@app.command()
def info(name: Name, workspace: Root = Path(), as_json: Json = False) -> None:
    """Show what a cache holds, what of, and how it was made."""
    from emoclim.pipeline import Workspace, describe_cache

    result = describe_cache(name, Workspace(workspace))

    def show() -> None:
        print_lines(result.summary())
        print_table(result.spec_rows())

    print_result(result.to_dict(), as_json, show)


@app.command(cls=Computing)
def verify(
    name: Name,
    re_encode: Annotated[int, typer.Option(min=0, help="Encode so many items again, and compare.")] = 0,
    tolerance: Annotated[
        float, typer.Option(min=0, help="Largest difference, as a share of an item's largest number.")
    ] = 1e-4,
    seed: Annotated[int, typer.Option(min=0, help="Of the choice of items.")] = 0,
    repair: Annotated[
        bool, typer.Option("--repair", help="Leave damaged items out, so that they are encoded again.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    workspace: Root = Path(),
    as_json: Json = False,
) -> None:
    """Read all of a cache with its checksums, and name what is damaged."""
    from emoclim.pipeline import Workspace, verify_cache

    result = verify_cache(
        name,
        encode=re_encode,
        seed=seed,
        tolerance=tolerance,
        repair=repair,
        device=device,
        workspace=Workspace(workspace),
        track=track,
    )
    print_result(result.to_dict(), as_json, lambda: print_lines(result.summary()))
    if not result.sound:
        raise typer.Exit(3)


@app.command(cls=Computing)
def diff(
    one: Name,
    other: Annotated[str, typer.Argument(help="Another cache.")],
    workspace: Root = Path(),
    as_json: Json = False,
) -> None:
    """Show in what two caches differ."""
    from emoclim.pipeline import Workspace, diff_caches

    result = diff_caches(one, other, workspace=Workspace(workspace), track=track)
    print_result(result.to_dict(), as_json, lambda: print_lines(result.summary()))


@app.command("import", cls=Computing)
def import_(
    file: Annotated[Path, typer.Argument(help="An .npz, a .parquet, or a folder of .parquet.")],
    name: Annotated[str, typer.Option(help="What these features shall be called.")],
    modality: Annotated[Literal["image", "audio"], typer.Option(help="What they are of.")],
    manifest: Annotated[Path | None, typer.Option(help="CSV or folder that lists the items.")] = None,
    values: Annotated[str, typer.Option(help="Array or column with the values.")] = "values",
    setting: Annotated[list[str] | None, typer.Option(help="NAME=VALUE that tells these features from others.")] = None,
    allow_extra: Annotated[
        bool, typer.Option("--allow-extra", help="Leave out items that the manifest does not list.")
    ] = False,
    unlabelled: Annotated[bool, typer.Option("--unlabelled", help="Only to be searched; ignore labels.")] = False,
    backend: Annotated[Literal["h5", "zarr"], typer.Option(help="File format of the cache.")] = "h5",
    seed: Annotated[int, typer.Option(min=0, help="Of the splits, if the manifest has none.")] = 42,
    workspace: Root = Path(),
    as_json: Json = False,
) -> None:
    """Bring your own features."""
    from emoclim.pipeline import Workspace, import_features

    result = import_features(
        file,
        modality,
        name,
        source=manifest,
        values=values,
        settings=read_settings(setting or []),
        allow_extra=allow_extra,
        unlabelled=unlabelled,
        backend=backend,
        seed=seed,
        workspace=Workspace(workspace),
        track=track,
    )
    print_result(result.to_dict(), as_json, lambda: print_lines(result.summary()))


@app.command(cls=Computing)
def export(
    name: Name,
    out: Annotated[Path, typer.Argument(help="File or folder to be made.")],
    kind: Annotated[
        Literal["npz", "parquet", "hf"] | None,
        typer.Option("--format", help="Default by suffix; hf is a folder for Hugging Face's datasets."),
    ] = None,
    manifest: Annotated[str | None, typer.Option(help="Whose items; default the newest.")] = None,
    workspace: Root = Path(),
    as_json: Json = False,
) -> None:
    """Write features for other programs."""
    from emoclim.pipeline import Workspace, export_features

    result = export_features(name, out, kind=kind, manifest=manifest, workspace=Workspace(workspace), track=track)
    print_result(result.to_dict(), as_json, lambda: print_lines(result.summary()))


@app.command(cls=Computing)
def merge(name: Name, workspace: Root = Path(), as_json: Json = False) -> None:
    """Join the shards of a cache."""
    from emoclim.pipeline import Workspace, merge_shards

    result = merge_shards(name, workspace=Workspace(workspace), track=track)
    print_result(result.to_dict(), as_json, lambda: print_lines(result.summary()))


@app.command()
def gc(
    yes: Annotated[bool, typer.Option("--yes", help="Delete it.")] = False,
    workspace: Root = Path(),
    as_json: Json = False,
) -> None:
    """Find what is left over beside the caches; caches themselves are never deleted."""
    from emoclim.pipeline import Workspace, sweep_caches

    result = sweep_caches(delete=yes, workspace=Workspace(workspace))
    print_result(result.to_dict(), as_json, lambda: print_lines(result.summary()))
