"""Look at data, encoders, caches and runs, to see what of a paper's table is there and what is missing.

Used by the runner and by ``emoclim reproduce --explain``. Invariant: the run of a row is named after a digest of all
that its heads depend on, so that one that is there need not be made again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from emoclim.cache import open_cache, portable_path
from emoclim.data import ContentKeys, Item, Manifest, contents_of, read_manifest, with_splits
from emoclim.encoders import Encoder, has_parameters, location, obtain, published_file
from emoclim.errors import CheckpointError, DecodeError
from emoclim.modality import Modality
from emoclim.pipeline.reproduction.request import (
    Departure,
    EncoderChoice,
    Request,
    of_crops,
    of_data,
    of_encoder,
    of_settings,
    of_splits,
)
from emoclim.pipeline.reproduction.result import Reproduction, RowPlan, State
from emoclim.pipeline.run import PLAN, UNFINISHED, digest_of
from emoclim.pipeline.training.config import EndToEndConfig, HeadsConfig, LabelledConfig
from emoclim.pipeline.training.crops import make_augmenter, without_place
from emoclim.pipeline.workspace import HEADS_FILE, Workspace
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
    recipe, rows = request.recipe, request.chosen_rows()
    keys = workspace.content_keys()
    manifests = {name: _read(name, request, keep, keys, workspace, track) for name in request.table.data}
    needed = dict.fromkeys(encoder for row in rows.values() for encoder in row.encoders.values())
    missing = {encoder: _missing_file(request.encoders[encoder], download, track) for encoder in needed}
    loaded = {encoder: request.encoders[encoder].load(track) for encoder in needed if not missing[encoder]}
    caches = {encoder: workspace.cache_path(one.spec, ".h5") for encoder, one in loaded.items()}
    used, data, plans = {}, {}, {}
    for name, manifest in manifests.items():
        filled = [path for encoder, path in caches.items() if recipe.encoders[encoder] == manifest.modality]
        used[name] = usable(manifest, filled, keys)
        data[name] = of_data(manifest, used[name], recipe.data[name])
    for name, row in rows.items():
        choices = {modality: request.encoders[encoder] for modality, encoder in row.encoders.items()}
        lacking = {what: how for encoder in row.encoders.values() for what, how in missing[encoder].items()}
        lacking |= _untrainable(row, choices)
        encoders = {modality: loaded[encoder] for modality, encoder in row.encoders.items() if encoder in loaded}
        stems = {modality: caches[encoder].stem for modality, encoder in row.encoders.items() if encoder in caches}
        source = str(manifests[row.trained].source) if row.trained else ""
        shortest = max((one.segment_seconds for one in encoders.values()), default=0.0)
        min_seconds = shortest if request.settings.drop_short else 0.0
        asked = None if lacking else _asked(row, request, source, stems, min_seconds)
        run = _run_name(row, asked, manifests, encoders, workspace, keys, track) if asked else ""
        plans[name] = RowPlan(
            row,
            choices,
            asked,
            run,
            state_of(workspace, run) if run else "not possible",
            lacking,
            departures_of(row, request, data, manifests, encoders),
            request.settings.source,
            min_seconds,
        )
    if keep:
        keys.save()
    held = {path.name: _held(path) for path in caches.values()}
    return Reproduction(request, manifests, used, plans, held, data, workspace.root / "reports" / request.folder)


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


def _read(name: str, request: Request, keep: bool, keys: ContentKeys, workspace: Workspace, track: Track) -> Manifest:
    """Read a manifest with its splits; data that are not called like their modality have the paper's own."""
    modality = request.recipe.data[name].modality
    default = workspace.root / "data" / f"{name}.csv"
    path = request.manifests.get(name) or (workspace.manifest(modality) if name == modality else default)
    manifest = read_manifest(path, modality)
    return with_splits(manifest, SPLIT_SEED, keys, track, keep=keep) if name == modality else manifest


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


def departures_of(
    row: Row,
    request: Request,
    data: Mapping[str, Sequence[Departure]],
    manifests: Mapping[str, Manifest],
    encoders: Mapping[Modality, Encoder],
) -> list[Departure]:
    """List the departures of all that the numbers of a row depend on: no heads, where these are of features."""
    recipe, preset, bare = request.recipe, request.settings, row.options.get("on") == "features"
    names = [TAGGING] if bare else list(data)
    found = []
    for modality in {recipe.data[name].modality: None for name in names}:
        found += of_encoder(row.encoders[modality], request.encoders[row.encoders[modality]], preset)
    for name in names:
        own = recipe.data[name]
        encoder = encoders.get(own.modality)
        # Crops are drawn anew where the encoder is trained; none are, where tag heads take means of recordings.
        anew = preset.tagging.get("aggregate") == "embeddings" if name == TAGGING else own.modality == row.trained
        found += [*data[name], *of_splits(manifests[name], own)]
        if encoder and encoder.spec.name == row.encoders[own.modality] and not anew:
            found += of_crops(encoder, own)
    if not bare:
        joint = (request.tuning, request.augmentations) if row.trained else None
        found += of_settings(request.config, request.own, joint, preset)
    return found + [Departure("settings", told) for told, rows in preset.gaps.items() if row in rows]


def _asked(
    row: Row, request: Request, source: str, caches: Mapping[Modality, str], min_seconds: float
) -> LabelledConfig:
    """Make the configuration of a row's training; an encoder is trained on the manifest `source`."""
    loss: dict[str, Any] = {"objective": request.recipe.objective, "own": request.own.model_dump()}
    if row.trained is None:
        return HeadsConfig(libraries=dict(caches), base=request.config, min_seconds=min_seconds, **loss)
    choice = request.encoders[row.encoders[row.trained]]
    return EndToEndConfig(
        encoder=choice.name,
        checkpoint=choice.checkpoint,
        encoder_settings=dict(choice.settings),
        libraries={**caches, row.trained: source},
        base=request.config,
        tuning=request.tuning,
        augmentations=request.augmentations,
        store=request.store,
        **loss,
    )


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
    for modality, encoder in encoders.items():
        cache, manifest = workspace.cache_path(encoder.spec, ".h5"), manifests[modality]
        kept = usable(manifest, [] if modality == row.trained else [cache], keys)  # an encoder is trained from files
        contents = contents_of((item for item in kept.items if item.split in ("train", "val")), keys)
        what.append((cache.name, portable_path(manifest.source, cache), manifest.digest(), contents))
    if isinstance(asked, EndToEndConfig):
        note, _ = make_augmenter(asked.augmentations, encoders[asked.live], workspace, track)
        what.append(without_place(note))
    names = "-".join(encoder.spec.name for encoder in encoders.values())
    return f"reproduce-{names}-{'unfrozen' if row.trained else 'frozen'}-{digest_of(what)[:8]}"


def _held(path: Path) -> int | None:
    """Count the features of a cache; None if there is none."""
    if not path.exists():
        return None
    with open_cache(path) as cache:
        return len(cache)
