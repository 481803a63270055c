"""Look at data, encoders, caches and runs, to see what of a paper's table is there and what is missing.

Used by the runner and by ``emoclim reproduce --explain``.
"""

from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emoclim.cache import open_cache
from emoclim.data import ContentKeys, Manifest, read_manifest, with_splits
from emoclim.encoders import has_parameters, location, obtain, published_file
from emoclim.errors import CheckpointError, EncoderError, ManifestError
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.find_caches import cache_notes
from emoclim.pipeline.reproduction.departures import data_departures, row_departures
from emoclim.pipeline.reproduction.request import TAGGING, EncoderChoice, Request
from emoclim.pipeline.reproduction.result import Reproduction
from emoclim.pipeline.reproduction.rows import RowPlan
from emoclim.pipeline.reproduction.trainings import TrainingPlanner, usable
from emoclim.pipeline.reproduction.words import TAKEN
from emoclim.pipeline.workspace import Workspace
from emoclim.progress import Track, silent
from emoclim.recipes import Recipe, Row

UMAP = "umap"  # projection of a figure, and the package that makes it
EFFECTS, FILMS = "audiomentations", "av"  # packages that add effects to crops, and that read videos
SPLIT_SEED = 42  # of splits that a manifest lacks
VECTORS = {
    "vad": "give a table of words with valence and arousal, as the NRC VAD lexicon",
    "word_vectors": "give a table of words and their vectors, or the name of a text encoder to stand in for one",
}


def plan_reproduction(
    request: Request,
    *,
    keep: bool = False,
    download: bool = False,
    workspace: Workspace = Workspace(),
    track: Track = silent,
) -> Reproduction:
    """Look at data, encoders, caches and runs; only with `keep` are splits and hashes of files written."""
    recipe, rows, keys = request.recipe, request.chosen_rows(), workspace.content_keys()
    choices = {name: request.choices(row) for name, row in rows.items()}
    imported = {modality for of in choices.values() for modality, one in of.items() if one.imported}
    manifests, lacks = _read_manifests(request, keep, workspace, keys, track, imported)
    absent = {what: how for lacking in lacks.values() for what, how in lacking.items()}
    absent |= _not_given({kind: getattr(request, kind) for kind in TAKEN.get(request.table.measure, ())})
    needed = {one.key: one for of_row in choices.values() for one in of_row.values()}
    missing = {key: _missing_file(one, recipe, download, track) for key, one in needed.items()}
    loaded = {key: one.load(track) for key, one in needed.items() if not missing[key]}
    caches = {key: workspace.cache_path(one.spec, ".h5") for key, one in loaded.items() if not needed[key].begun}
    used, data, plans = {}, {}, {}
    for name, manifest in manifests.items():
        filled = [path for key, path in caches.items() if loaded[key].spec.modality == manifest.modality]
        used[name] = usable(manifest, filled, keys)
        data[name] = data_departures(manifest, used[name], recipe.data[name]) if manifest.items else []
    for name, row in rows.items():
        taken = {one: of for one, of in manifests.items() if row.takes(one, recipe.data[one])}
        lacking = {what: how for one in taken for what, how in lacks.get(one, {}).items()}
        lacking |= {what: how for one in choices[name].values() for what, how in missing[one.key].items()}
        lacking |= _hindrances(row, request, choices[name], taken)
        lacking |= _not_imported(row, choices[name], taken, workspace)
        encoders = {modality: loaded[one.key] for modality, one in choices[name].items() if one.key in loaded}
        own = {
            TAGGING if recipe.data[name].tagged else name if name in row.extra else of.modality: of
            for name, of in taken.items()
        }
        planner = TrainingPlanner(row, request, own, encoders, workspace, keys, track)
        plans[name] = RowPlan(
            row=row,
            encoders=choices[name],
            manifests=own,
            seeds=request.seeds_of(row),
            trainings=[] if lacking else planner.trainings(),
            missing=lacking,
            departures=row_departures(row, request, data, manifests, encoders),
            source=request.settings.source,
            min_seconds=planner.min_seconds,
        )
    if keep:
        keys.save()
    return Reproduction(
        request=request,
        manifests=manifests,
        usable=used,
        rows=plans,
        caches={path.name: _held(path) for path in caches.values()},
        data=data,
        absent=absent,
        folder=workspace.root / "reports" / request.folder,
    )


def _path_of(name: str, request: Request, keep: bool, workspace: Workspace) -> Path:
    """Return where a manifest is looked for; data that are not called like their modality have a file of their own."""
    modality = request.recipe.data[name].modality
    if name in request.manifests:
        return request.manifests[name]
    if name != modality:
        return workspace.root / "data" / f"{name}.csv"
    try:
        return workspace.manifest(modality)
    except ManifestError:
        if keep:
            raise
        return workspace.root / "data" / f"{MODALITIES[modality].folder}.csv"


def _read_manifests(
    request: Request, keep: bool, workspace: Workspace, keys: ContentKeys, track: Track, imported: Collection[Modality]
) -> tuple[dict[str, Manifest], dict[str, dict[str, str]]]:
    """Read manifests with their splits; name those that are not there and how to get them, if only to look around."""
    found, absent = {}, {}
    data, rows = request.recipe.data, request.chosen_rows().values()
    wanted = [one for one in request.table.data if not rows or any(row.takes(one, data[one]) for row in rows)]
    keep_going = not keep or any(row.data for row in rows)  # what other rows take may be there
    for name in wanted:
        own, path = data[name], _path_of(name, request, not keep_going, workspace)
        if keep_going and not path.exists():
            option = MODALITIES[own.modality].folder if name == own.modality else name
            option = option if name in (own.modality, TAGGING) else f"manifest {name}=FILE"
            made = f"{own.dataset} FOLDER{own.option and f' --option {own.option}'}"
            made += f" --output data/{name}.csv" if own.tagged and name != TAGGING else ""
            advice = f"make it with: emoclim prepare {made}, or name yours with --{option}"
            absent[name] = {f"manifest {path}": advice}
            found[name] = Manifest(name, own.modality, path, ())
            continue
        manifest = read_manifest(path, own.modality, need_files=own.modality not in imported)
        split = not own.split  # others have the paper's own
        found[name] = with_splits(manifest, SPLIT_SEED, keys, track, keep=keep) if split else manifest
    return found, absent


def _missing_file(choice: EncoderChoice, recipe: Recipe, download: bool, track: Track) -> dict[str, str]:
    """Name the file of an encoder that is not on this machine, and how to get it."""
    if not choice.imported and (what := recipe.imported.get(choice.name)):
        advice = f"bring them in with: emoclim cache import FILE --name {choice.name}, or let another encoder stand in"
        return {f"features {choice.name}, {what}": f"{advice}: --encoder {choice.name}=NAME"}
    if choice.imported or choice.begun or choice.checkpoint is not None or not has_parameters(choice.name):
        return {}
    try:
        published = published_file(choice.name, choice.settings)
    except EncoderError as error:
        return {f"parameters of {choice.name}": str(error)}
    path = location(published)
    advice = f"get it from {published.url} and put it at {path}, or let --download do so"
    if download and not path.is_file():
        try:
            obtain(published, track=track)
        except CheckpointError as error:
            advice = str(error)
    return {} if path.is_file() else {f"{published.file} of {choice.name}": advice}


def _hindrances(
    row: Row, request: Request, choices: Mapping[Modality, EncoderChoice], manifests: Mapping[str, Manifest]
) -> dict[str, str]:
    """Say why a row cannot be made although all files are there, and what to do about it."""
    found = _not_given(request.vectors(row))
    if row.trained and request.joint(row)[1] and find_spec(EFFECTS) is None:
        found[EFFECTS] = "install it with: pip install 'emoclim[augment]'"
    if "video" in choices and find_spec(FILMS) is None:
        found["PyAV"] = "install it with: pip install 'emoclim[media]'"
    if row.options.get("projection") == UMAP and find_spec(UMAP) is None:
        found["umap-learn"] = "install it with: pip install 'emoclim[umap]'"
    if row.measured_by and request.label_map:
        found["a use of --label-map: its maps are the paper's"] = "leave it out"
    for name, manifest in manifests.items():
        held = name == TAGGING or row.crossed  # by a way of its own
        if not held and manifest.items and "val" not in {item.split for item in manifest.items}:
            found[f"a split val in {manifest.source.name}"] = "give some of its training items that split"
    if row.trained is not None and not has_parameters(name := choices[row.trained].name):
        advice = f"let another stand in: --encoder {row.encoders[row.trained]}=NAME"
        found[f"parameters of {name} to train"] = advice
    if request.changes_nothing(row):
        found[f"a difference: {row.title} is what the others have"] = "ask for other settings or another --preset"
    return found


def _not_imported(
    row: Row, choices: Mapping[Modality, EncoderChoice], manifests: Mapping[str, Manifest], workspace: Workspace
) -> dict[str, str]:
    """Name further data whose features are not in the cache of the features that stand in for an encoder."""
    found = {}
    for name in row.extra:
        manifest = manifests[name]
        if (spec := choices[manifest.modality].imported) and manifest.items:
            notes = [note for note in cache_notes(workspace, manifest.modality) if note.spec == spec]
            places = [source.found_from(note.path).resolve() for note in notes for source in note.sources]
            if manifest.source.resolve() not in places:
                how = f"--manifest {manifest.source} --allow-extra"
                advice = (
                    f"import one file with those of all data, once for each manifest: emoclim cache import FILE {how}"
                )
                found[f"features {spec.name} of {manifest.source.name}"] = advice
    return found


def _not_given(vectors: Mapping[str, Any]) -> dict[str, str]:
    return {f"--{kind.replace('_', '-')}": VECTORS[kind] for kind, given in vectors.items() if given is None}


def _held(path: Path) -> int | None:
    """Count the features of a cache; None if there is none."""
    if not path.exists():
        return None
    with open_cache(path) as cache:
        return len(cache)
