"""Look at data, encoders, caches and runs, to see what `emoclim reproduce` is to do."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emoclim.cache import manifest_digest, open_cache, portable_path
from emoclim.data import ContentKeys, FeatureSpec, Manifest
from emoclim.encoders import Encoder, has_parameters, location, obtain, published_file
from emoclim.errors import CheckpointError
from emoclim.pipeline.departures import Departure, of_data, of_encoder, of_lost, of_settings, of_tagging
from emoclim.pipeline.encoder_choice import EncoderChoice
from emoclim.pipeline.paper_rows import IMAGE_ROLE, PaperRow, choose_rows
from emoclim.pipeline.reproduction_data import read_manifests, usable
from emoclim.pipeline.reproduction_plan import PAPER, Missing, ReproductionPlan, Request, RowPlan, State
from emoclim.pipeline.run import PLAN, UNFINISHED
from emoclim.pipeline.training.augmentations import make_augmenter, without_place
from emoclim.pipeline.training.encoder_inputs import contents_digest
from emoclim.pipeline.training.inputs import EVEN
from emoclim.pipeline.workspace import HEADS_FILE, Workspace
from emoclim.progress import Track, silent


def plan_reproduction(
    request: Request,
    *,
    place: bool = False,
    download: bool = False,
    workspace: Workspace = Workspace(),  # noqa: B008 - immutable
    track: Track = silent,
) -> ReproductionPlan:
    """Look at data, encoders, caches and runs."""
    rows = choose_rows(request.target, request.rows)
    manifests = read_manifests(request, place, workspace, track)
    needed = dict.fromkeys([IMAGE_ROLE, *(row.encoder for row in rows)]) if rows else {}
    missing = {role: _missing(request.encoders[role], download, track) for role in needed}
    loaded = {role: request.encoders[role].load(track) for role in needed if not missing[role]}
    keys = ContentKeys(workspace.caches / "content.json")
    caches = [_cache(workspace, one.spec) for one in loaded.values()]
    used = {
        name: usable(one, [path for path in caches if path.name.startswith(f"{one.modality}-")], keys)
        for name, one in manifests.items()
    }
    data = {name: _of_manifest(name, one, used[name]) for name, one in manifests.items()}
    plans = []
    for row, title in rows.items():
        departures = _of_row(row, request, data)
        lacking = (*missing[IMAGE_ROLE], *missing[row.encoder], *_unfit(row, request))
        both = None if lacking else (loaded[IMAGE_ROLE], loaded[row.encoder])
        run = _run_name(row, request, manifests, both, workspace, keys, track) if both else ""
        state = state_of(workspace, run) if both else "not possible"
        shortest = both[1].segment_seconds if both and request.preset == "paper-code" else 0.0
        choice = request.encoders[row.encoder]
        plans.append(RowPlan(row, title, choice, run, state, lacking, tuple(departures), shortest))
    if place:
        keys.save()
    held = {path.name: _held(path) for path in caches}
    differing = [*request.rows, *([request.preset] if request.preset != PAPER else [])]
    folder = workspace.root / "reports" / "-".join([request.target, *differing])
    return ReproductionPlan(request, manifests, used, tuple(plans), held, data, folder)


def state_of(workspace: Workspace, run: str) -> State:
    """How far the training of a row is."""
    folder = workspace.runs / run
    if (folder / UNFINISHED / PLAN).is_file():
        return "unfinished"
    return "done" if (folder / HEADS_FILE).is_file() else "to do"


def _missing(choice: EncoderChoice, download: bool, track: Track) -> tuple[Missing, ...]:
    """The file of an encoder, if it is not on this machine."""
    if choice.checkpoint is not None or not has_parameters(choice.name):
        return ()
    published = published_file(choice.name, choice.settings)
    path = location(published)
    if path.is_file():
        return ()
    advice = f"get it from {published.url} and put it at {path}, or let --download do so"
    if download:
        try:
            obtain(published, track=track)
        except CheckpointError as error:
            advice = str(error)
        else:
            return ()
    return (Missing(f"{published.file} of {choice.name}", advice),)


def _unfit(row: PaperRow, request: Request) -> tuple[Missing, ...]:
    """An encoder that is to be trained, and has nothing to train."""
    name = request.encoders[row.encoder].name
    if row.frozen or has_parameters(name):
        return ()
    return (Missing(f"parameters of {name} to train", f"let another stand in: --encoder {row.encoder}=NAME"),)


def _of_manifest(name: str, manifest: Manifest, used: Manifest) -> tuple[Departure, ...]:
    """How the items that can be used differ from the paper's, and how many cannot."""
    return (*of_lost(manifest, used), *(of_tagging if name == "tagging" else of_data)(used))


def _of_row(row: PaperRow, request: Request, data: Mapping[str, Sequence[Departure]]) -> list[Departure]:
    """All departures of what the numbers of a row depend on: no heads and no images, where these are of features."""
    if row.on == "features":
        return [*of_encoder(row.encoder, request.encoders[row.encoder], request.preset), *data["tagging"]]
    roles = (IMAGE_ROLE, row.encoder)
    encoders = [one for role in roles for one in of_encoder(role, request.encoders[role], request.preset)]
    joint = None if row.frozen else (request.tuning, request.augmentations)
    settings = of_settings(request.config, joint, request.preset)
    return [*encoders, *(one for of in data.values() for one in of), *settings]


def _run_name(
    row: PaperRow,
    request: Request,
    manifests: Mapping[str, Manifest],
    encoders: tuple[Encoder, Encoder],
    workspace: Workspace,
    keys: ContentKeys,
    track: Track,
) -> str:
    """A name that only a training of the same settings on the same items, with the same content, has."""
    image, audio = (one.spec for one in encoders)
    libraries = []
    for spec in (image, audio):
        cache, manifest = _cache(workspace, spec), manifests[spec.modality]
        from_cache = row.frozen or spec is image  # an encoder is trained from files
        contents = contents_digest(usable(manifest, [cache] if from_cache else [], keys).items, keys)
        libraries.append((cache.name, portable_path(manifest.source, cache), manifest_digest(manifest), contents))
    what: dict[str, Any] = {"libraries": libraries, "weights": EVEN, "config": request.config.model_dump()}
    if not row.frozen:
        note, _ = make_augmenter(request.augmentations, encoders[1], workspace, track)
        what |= {"tuning": request.tuning.model_dump(), "augmentations": without_place(note)}
        what |= {"store": request.store}
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return f"reproduce-{image.name}-{audio.name}-{'frozen' if row.frozen else 'unfrozen'}-{digest}"


def _cache(workspace: Workspace, spec: FeatureSpec) -> Path:
    return workspace.cache_path(spec, ".h5")


def _held(path: Path) -> int | None:
    """How many features a cache holds."""
    if not path.exists():
        return None
    with open_cache(path) as cache:
        return len(cache.keys())
