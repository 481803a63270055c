"""Describe the encoders, and which of them were trained on the data they are asked about (`emoclim encoders`)."""

import inspect
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic_core import to_jsonable_python

from emoclim.data import FeatureSpec, Manifest, Setting
from emoclim.encoders import (
    PRECISION,
    SHARED,
    Encoder,
    ImageEncoder,
    Published,
    encoder_names,
    find_encoder,
    has_parameters,
    is_here,
    is_published,
    location,
    own_settings,
    published_file,
    published_files,
)
from emoclim.errors import EncoderError
from emoclim.modality import BOX, DEFAULT, MODALITIES, Modality

AUDIOSET = "AudioSet"
KINDS = {BOX: BOX, "huggingface.co": "hub"}  # of origins; all others are on the web
# A video, mostly with a start and perhaps an end: how AudioSet's clips are usually called. Letters of such names are
# drawn, so that a capital comes after the first nearly always; in a name that somebody thought of, rarely.
CLIP_NAME = re.compile(r"Y?(?=[\w-]+[A-Z])[\w-]{11}(_\d+(\.\d+)?){0,2}")


@dataclass(frozen=True, slots=True)
class Model(Published):
    """One published file of parameters of an encoder."""

    name: str  # value of the setting `model`; empty if the encoder has one file only
    dim: int  # number of values per feature, D
    path: Path  # where it lies on this machine, or would lie
    here: bool
    origin: str  # `box` if packages alone give it, or else the host that has it

    def summary(self) -> list[str]:
        """Return a few lines for a reader."""
        return [
            f"{f'model {self.name}' if self.name else 'checkpoint'}: {'here' if self.here else 'not here'}",
            f"  values      {self.dim}",
            f"  place       {self.path}",
            f"  origin      {'in the box: from a package, no hub' if self.origin == BOX else self.origin}",
            f"  from        {self.url}",
            f"  hash        {self.hash or 'unknown; that of the first download is recorded'}",
            *(f"  beside it   {part.file}, from {part.source}" for part in self.beside),
            f"  licence     {self.licence}",
            f"  trained on  {'; '.join(self.trained_on)}",
        ]


@dataclass(frozen=True, slots=True)
class EncoderDescription:
    """What there is to know of an encoder before it is used."""

    name: str
    modality: Modality  # what it takes
    about: str  # what it makes of what, in words
    dim: int  # number of values per feature, D, with the settings as they are
    segments: str  # how an item is cut, in words
    segment_seconds: float  # length of a segment; 0 for what has no length
    hop_seconds: float  # from the start of a segment to that of the next
    settings: Mapping[str, Setting]  # those it takes, with their defaults
    models: tuple[Model, ...]  # its published files, the default first; empty where nobody published any

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return dict(to_jsonable_python(self))

    def summary(self) -> list[str]:
        """Return a few lines for a reader."""
        lines = [f"{self.name}: {self.about}"]
        lines.append(f"Takes {self.modality}, gives {self.dim} values. Segments: {self.segments}.")
        return lines + [line for model in self.models for line in ("", *model.summary())]

    def settings_rows(self) -> list[tuple[str, ...]]:
        """Return a row of column names, then one row per setting."""
        return [("setting", "default"), *((name, str(value)) for name, value in self.settings.items())]


def describe_encoders() -> tuple[EncoderDescription, ...]:
    """Describe all encoders, by name."""
    return tuple(describe_encoder(name) for name in encoder_names())


def encoder_rows(encoders: Sequence[EncoderDescription]) -> list[tuple[str, ...]]:
    """Return a row of column names, then one row per encoder and published file."""
    rows: list[tuple[str, ...]] = [
        ("encoder", "takes", "segments", "model", "values", "from", "checkpoint", "licence", "trained on")
    ]
    for one in encoders:
        first: tuple[str, ...] = (one.name, one.modality, one.segments)
        for model in one.models:
            state, seen = "here" if model.here else "not here", "; ".join(model.trained_on)
            rows.append(
                (*first, model.name, str(model.dim), KINDS.get(model.origin, "web"), state, model.licence, seen)
            )
            first = ("", "", "")
        if not one.models:
            origin, state = ("", "to be trained") if has_parameters(one.name) else (BOX, "none needed")
            rows.append((*first, "", str(one.dim), origin, state, "", ""))
    return rows


def describe_encoder(name: str) -> EncoderDescription:
    """Describe an encoder; builds no network and reads no checkpoint."""
    found, encoder = find_encoder(name), _load_without_parameters(name)
    models = []
    for model, published in published_files(name).items():
        own = {"model": model} if model else {}
        path, dim = location(published), _load_without_parameters(name, **own).spec.dim
        origin = urlsplit(published.url).hostname or BOX
        models.append(Model(**asdict(published), name=model, dim=dim, path=path, here=path.is_file(), origin=origin))
    of_images, has_precision = isinstance(encoder, ImageEncoder), PRECISION in encoder.spec.settings
    shared = {key: value for key, value in SHARED.items() if (has_precision if key == PRECISION else of_images)}
    return EncoderDescription(
        name=name,
        modality=found.MODALITY,
        about=" ".join((inspect.getdoc(found) or "").split("\n\n")[0].split()),
        dim=encoder.spec.dim,
        segments=_segments(encoder),
        segment_seconds=encoder.segment_seconds,
        hop_seconds=encoder.hop_seconds,
        settings=own_settings(name) | shared,
        models=tuple(models),
    )


def _segments(encoder: Encoder) -> str:
    """Say how an item is cut, in words."""
    facts = MODALITIES[encoder.spec.modality]
    if encoder.segment_seconds:
        overlap = 1 - encoder.hop_seconds / encoder.segment_seconds
        return f"{encoder.segment_seconds:.3g} s, {f'{overlap:.0%}' if overlap > 0 else 'no'} overlap"
    return f"{facts.segments} of {encoder.input_shape[0]} tokens" if facts.segments else f"one per {facts.name}"


def _load_without_parameters(name: str, **settings: Setting) -> Encoder:
    """Load an encoder that is only asked for its shapes, which no file of parameters changes."""
    load: Callable[..., Encoder] = find_encoder(name).load
    if not has_parameters(name):
        return load(**settings)
    with tempfile.TemporaryDirectory() as folder:
        parts = [part.file for part in published_file(name, settings).parts] if is_published(name) else [name]
        files = [Path(folder, part) for part in parts]
        for file in files:
            file.touch()
        return load(checkpoint=files[-1], **settings)


@dataclass(frozen=True, slots=True)
class EncoderPreset:
    """A set of encoders, one a modality, and why it was taken."""

    name: str  # DEFAULT or BOX
    encoders: Mapping[Modality, str]
    reason: str  # in words, to stand in brackets or after a colon


def choose_preset(modalities: Iterable[Modality] = tuple(MODALITIES)) -> EncoderPreset:
    """Choose encoders for a command that is told none: the default ones if their files are here, or else the box's."""
    facts = {modality: MODALITIES[modality] for modality in modalities}
    other: dict[str, str] = {}  # by their files, of which several modalities may share one
    for one in facts.values():
        if one.encoder and one.encoder != one.box:
            other.setdefault(published_file(one.encoder, {}).file, one.encoder)
    missing = [name for name in other.values() if not is_ready(name)]
    if missing:
        box = {modality: one.box for modality, one in facts.items() if one.box}
        return EncoderPreset(BOX, box, f"no file of {' or '.join(missing)} is on this machine")
    usual = {modality: one.encoder for modality, one in facts.items() if one.encoder}
    return EncoderPreset(DEFAULT, usual, f"{' and '.join(other.values()) or 'all'} on this machine")


def is_ready(name: str) -> bool:
    """Whether an encoder can be loaded without any download, with its settings as they are."""
    return not has_parameters(name) or is_here(published_file(name, {}))


def choose_encoder(modality: Modality, name: str | None) -> str:
    """Return the encoder that is named, by itself or by its preset, or the default one; raise unless it takes that."""
    name = MODALITIES[modality].encoder_named(name)
    if name is None:
        raise EncoderError(f"no encoder of a preset takes {modality}; name one with --encoder (see: emoclim encoders)")
    if (takes := find_encoder(name).MODALITY) != modality:
        raise EncoderError(f"encoder {name!r} takes {takes}, not {modality}; name one for {modality}")
    return name


def contamination(spec: FeatureSpec, manifest: Manifest) -> str | None:
    """Say that an encoder was trained on the data set of a manifest; None if that is not known of it."""
    if not _is_audioset(manifest):
        return None
    published = _published(spec)
    trained_on = [[data for data in one.trained_on if AUDIOSET in data] for one in published]
    if not trained_on or not all(trained_on):
        return None
    known = published[0].file if len(published) == 1 else f"every published checkpoint of {spec.name}"
    return (
        f"{known} was trained on {'; '.join(trained_on[0])}, and {manifest.source} looks like AudioSet: "
        "what is measured on it need not hold for unseen recordings"
    )


def _published(spec: FeatureSpec) -> list[Published]:
    """Return the published file that a spec's checkpoint is, by sha256 or name; all of the encoder if it is none."""
    if spec.name not in encoder_names():  # features that were imported
        return []
    file, _, digits = spec.checkpoint.rpartition("@")
    published = list(published_files(spec.name).values())
    for one in published:
        kind, _, known = (one.hash or "").partition(":")
        if known.startswith(digits) if kind == "sha256" else Path(one.file).name == file:
            return [one]
    return published


def _is_audioset(manifest: Manifest) -> bool:
    """Whether a manifest is of AudioSet, by the names of its own file or of the files that it lists."""
    name = AUDIOSET.lower()
    if name in manifest.source.stem.lower():
        return True
    paths = [item.path for item in manifest.items if item.path]
    named = sum(name in path.parent.as_posix().lower() or bool(CLIP_NAME.fullmatch(path.stem)) for path in paths)
    return named > len(manifest.items) / 2
