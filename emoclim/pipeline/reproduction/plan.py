"""Look at data, encoders, caches and runs, to see what of a paper's table is there and what is missing.

Used by the runner and by ``emoclim reproduce --explain``. Invariant: the run of a row is named after a digest of all
that its heads depend on, so that one that is there need not be made again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from emoclim.cache import open_cache, portable_path
from emoclim.data import ContentKeys, Item, Manifest, contents_of, read_label_map, read_manifest, with_splits
from emoclim.encoders import Encoder, has_parameters, location, obtain, published_file
from emoclim.errors import CheckpointError, DecodeError, ManifestError
from emoclim.modality import MODALITIES, Modality
from emoclim.pipeline.reproduction.departures import (
    Departure,
    crop_departures,
    data_departures,
    encoder_departures,
    matching_departures,
    settings_departures,
    split_departures,
)
from emoclim.pipeline.reproduction.request import EncoderChoice, Request
from emoclim.pipeline.reproduction.result import Reproduction
from emoclim.pipeline.reproduction.rows import RowPlan, State, Training
from emoclim.pipeline.run import PLAN, UNFINISHED, digest_of
from emoclim.pipeline.training.config import EndToEndConfig, HeadsConfig, LabelledConfig
from emoclim.pipeline.training.crops import make_augmenter, without_place
from emoclim.pipeline.workspace import HEADS_FILE, REPRODUCED, Workspace
from emoclim.progress import Track, silent
from emoclim.recipes import Row

SPLIT_SEED = 42  # of splits that a manifest lacks
TAGGING = "tagging"  # name of the data that the measure of that name is of


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
    manifests, absent = _read_manifests(request, keep, workspace, keys, track)
    choices = {name: request.choices(row) for name, row in rows.items()}
    needed = {one.key: one for of_row in choices.values() for one in of_row.values()}
    missing = {key: _missing_file(one, download, track) for key, one in needed.items()}
    loaded = {key: one.load(track) for key, one in needed.items() if not missing[key]}
    caches = {key: workspace.cache_path(one.spec, ".h5") for key, one in loaded.items()}
    used, data, plans = {}, {}, {}
    for name, manifest in manifests.items():
        filled = [path for key, path in caches.items() if loaded[key].spec.modality == manifest.modality]
        used[name] = usable(manifest, filled, keys)
        data[name] = data_departures(manifest, used[name], recipe.data[name]) if manifest.items else []
    for name, row in rows.items():
        lacking = absent | {what: how for one in choices[name].values() for what, how in missing[one.key].items()}
        lacking |= _untrainable(row, choices[name])
        if request.changes_nothing(row):
            lacking[f"a difference: {row.title} is what the others have"] = "ask for other settings or another --preset"
        encoders = {modality: loaded[one.key] for modality, one in choices[name].items() if one.key in loaded}
        shortest = max((one.segment_seconds for one in encoders.values()), default=0.0)
        min_seconds = shortest if request.settings.drop_short else 0.0
        trainings = []
        for asked in [] if lacking else _asked(row, request, manifests, encoders, workspace, min_seconds):
            run = _run_name(row, asked, manifests, encoders, workspace, keys, track)
            trainings.append(Training(asked, run, state_of(workspace, run)))
        departures = row_departures(row, request, data, manifests, encoders)
        found = request.seeds_of(row), trainings, lacking, departures, request.settings.source, min_seconds
        plans[name] = RowPlan(row, choices[name], *found)
    if keep:
        keys.save()
    held = {path.name: _held(path) for path in caches.values()}
    folder = workspace.root / "reports" / request.folder
    return Reproduction(request, manifests, used, plans, held, data, absent, folder)


def state_of(workspace: Workspace, run: str) -> State:
    """Tell how far the training of a row is."""
    folder = workspace.runs / run
    if (folder / UNFINISHED / PLAN).is_file():
        return "unfinished"
    return "done" if (folder / HEADS_FILE).is_file() else "to do"


def usable(manifest: Manifest, caches: Iterable[Path], keys: ContentKeys) -> Manifest:
    """Leave out items whose file is missing, or that failed to encode into one of some caches."""
    failed: set[str] = set()
    for path in caches:
        if path.exists():
            with open_cache(path) as cache:
                failed |= cache.failures().keys()

    def fits(item: Item) -> bool:
        try:
            return (item.path is None or item.path.is_file()) and not (failed and keys(item) in failed)
        except DecodeError:
            return False

    return replace(manifest, items=tuple(filter(fits, manifest.items)))


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
    request: Request, keep: bool, workspace: Workspace, keys: ContentKeys, track: Track
) -> tuple[dict[str, Manifest], dict[str, str]]:
    """Read manifests with their splits; name those that are not there and how to get them, if only to look around."""
    found, absent = {}, {}
    for name in request.table.data:
        own, path = request.recipe.data[name], _path_of(name, request, keep, workspace)
        if not keep and not path.exists():
            option = MODALITIES[own.modality].folder if name == own.modality else name
            advice = f"make it with: emoclim prepare {own.dataset} FOLDER, or name yours with --{option}"
            absent[f"manifest {path}"] = advice
            found[name] = Manifest(name, own.modality, path, ())
            continue
        manifest = read_manifest(path, own.modality)
        split = name == own.modality  # others have the paper's own
        found[name] = with_splits(manifest, SPLIT_SEED, keys, track, keep=keep) if split else manifest
    return found, absent


def _missing_file(choice: EncoderChoice, download: bool, track: Track) -> dict[str, str]:
    """Name the file of an encoder that is not on this machine, and how to get it."""
    if choice.checkpoint is not None or not has_parameters(choice.name):
        return {}
    published = published_file(choice.name, choice.settings)
    path = location(published)
    advice = f"get it from {published.url} and put it at {path}, or let --download do so"
    if download and not path.is_file():
        try:
            obtain(published, track=track)
        except CheckpointError as error:
            advice = str(error)
    return {} if path.is_file() else {f"{published.file} of {choice.name}": advice}


def _untrainable(row: Row, choices: Mapping[Modality, EncoderChoice]) -> dict[str, str]:
    """Name the encoder that is to be trained and has no parameters, and what to do about it."""
    if row.trained is None or has_parameters(name := choices[row.trained].name):
        return {}
    return {f"parameters of {name} to train": f"let another stand in: --encoder {row.encoders[row.trained]}=NAME"}


def row_departures(
    row: Row,
    request: Request,
    data: Mapping[str, Sequence[Departure]],
    manifests: Mapping[str, Manifest],
    encoders: Mapping[Modality, Encoder],
) -> list[Departure]:
    """List the departures of all that the numbers of a row depend on: no heads, where these are of features."""
    recipe, preset, choices = request.recipe, request.settings, request.choices(row)
    names = [TAGGING] if row.bare else list(data)
    found = []
    for modality in {recipe.data[name].modality: None for name in names}:
        found += encoder_departures(row.encoders[modality], choices[modality], preset)
    for name in names:
        own = recipe.data[name]
        encoder = encoders.get(own.modality)
        # Crops are drawn anew where the encoder is trained; none are, where tag heads take means of recordings.
        anew = preset.tagging.get("aggregate") == "embeddings" if name == TAGGING else own.modality == row.trained
        found += [*data[name], *split_departures(manifests[name], own)]
        if encoder and encoder.spec.name == row.encoders[own.modality] and not anew:
            found += crop_departures(encoder, own)
    if not row.bare:
        joint = (request.tuning.updated(**row.tuning), request.augmentations) if row.trained else None
        found += settings_departures(request.config.updated(**row.training), request.own, joint, preset)
        found += matching_departures(request)
    return found + [Departure("settings", told) for told, rows in preset.gaps.items() if row in rows]


def _asked(
    row: Row,
    request: Request,
    manifests: Mapping[str, Manifest],
    encoders: Mapping[Modality, Encoder],
    workspace: Workspace,
    min_seconds: float,
) -> list[LabelledConfig]:
    """Make the configurations of a row's trainings: heads of all seeds are one run, encoders one each."""
    loss: dict[str, Any] = {"objective": request.recipe.objective, "own": request.own.model_dump()}
    shared = loss | {"label_map": request.trained_map}
    libraries = {modality: workspace.cache_path(one.spec, ".h5").stem for modality, one in encoders.items()}
    base, seeds = request.config.updated(**row.training), request.seeds_of(row)
    if row.trained is None:
        settings: dict[str, tuple[Any, ...]] = {"seed": tuple(seeds)} if len(seeds) > 1 else {}
        return [HeadsConfig(libraries=libraries, base=base, settings=settings, min_seconds=min_seconds, **shared)]
    choice = request.choices(row)[row.trained]
    one = EndToEndConfig(
        encoder=choice.name,
        checkpoint=choice.checkpoint,
        encoder_settings=dict(choice.settings),
        libraries={**libraries, row.trained: str(manifests[row.trained].source)},
        base=base,
        tuning=request.tuning.updated(**row.tuning),
        augmentations=request.augmentations,
        store=request.store,
        **shared,
    )
    return [one.updated(base=base.updated(seed=seed)) for seed in seeds]


def _run_name(
    row: Row,
    asked: LabelledConfig,
    manifests: Mapping[str, Manifest],
    encoders: Mapping[Modality, Encoder],
    workspace: Workspace,
    keys: ContentKeys,
    track: Track,
) -> str:
    """Make a name that only a training of the same settings on the same items, with the same content, has."""
    what: list[Any] = [row.step, asked.model_dump(mode="json", exclude={"libraries", *asked.NOTED})]
    if asked.label_map is not None:
        labels = {modality: {item.label for item in manifests[modality].items if item.label} for modality in encoders}
        what.append(read_label_map(asked.label_map, labels).maps)
    for modality, encoder in encoders.items():
        cache, manifest = workspace.cache_path(encoder.spec, ".h5"), manifests[modality]
        kept = usable(manifest, [] if modality == row.trained else [cache], keys)  # an encoder is trained from files
        contents = contents_of((item for item in kept.items if item.split in ("train", "val")), keys)
        what.append((cache.name, portable_path(manifest.source, workspace.caches), manifest.digest(), contents))
    if isinstance(asked, EndToEndConfig):
        note, _ = make_augmenter(asked.augmentations, encoders[asked.live], workspace, track)
        what.append(without_place(note))
    names = "-".join(encoder.spec.name for encoder in encoders.values())
    return f"{REPRODUCED}{names}-{'unfrozen' if row.trained else 'frozen'}-{digest_of(what)[:8]}"


def _held(path: Path) -> int | None:
    """Count the features of a cache; None if there is none."""
    if not path.exists():
        return None
    with open_cache(path) as cache:
        return len(cache)
