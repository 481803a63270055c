"""`emoclim encoders`: what encoders there are, what each needs, and what of it is on this machine."""

import inspect
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emoclim.data import Setting
from emoclim.encoders import (
    PRECISION,
    SHARED,
    Encoder,
    Published,
    encoder_names,
    find_encoder,
    has_parameters,
    location,
    own_settings,
    published_files,
)
from emoclim.modality import Modality


@dataclass(frozen=True, slots=True)
class Model:
    """One published file of parameters of an encoder."""

    name: str  # value of the setting `model`; empty if the encoder has one file only
    published: Published
    path: Path  # where it lies on this machine, or would lie
    here: bool
    dim: int  # number of values per feature, D


@dataclass(frozen=True, slots=True)
class EncoderDescription:
    """What there is to know of an encoder before it is used."""

    name: str  # what it is called, and what it takes
    modality: Modality  # what it is called, and what it takes
    about: str  # what it makes of what, in words
    dim: int  # number of values per feature, D, with the settings as they are
    segment_seconds: float  # length of a segment and time from one to the next; 0 for an image
    hop_seconds: float  # length of a segment and time from one to the next; 0 for an image
    settings: Mapping[str, Setting]  # those it takes, with their defaults
    models: tuple[Model, ...]  # its published files, the default first; empty for an encoder without parameters

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        models = [
            {
                "name": model.name,
                "dim": model.dim,
                **asdict(model.published),
                "path": str(model.path),
                "here": model.here,
            }
            for model in self.models
        ]
        return asdict(self) | {"settings": dict(self.settings), "models": models}

    def segments(self) -> str:
        """How an item is cut, in words."""
        if not self.segment_seconds:
            return "one per image"
        overlap = 1 - self.hop_seconds / self.segment_seconds
        return f"{self.segment_seconds:.3g} s, {f'{overlap:.0%}' if overlap > 0 else 'no'} overlap"

    def summary(self) -> list[str]:
        """A few sentences for a reader."""
        lines = [
            f"{self.name}: {self.about}",
            f"Takes {self.modality}, gives {self.dim} values. Segments: {self.segments()}.",
        ]
        for model in self.models:
            known = model.published
            lines += [
                "",
                f"{f'model {model.name}' if model.name else 'checkpoint'}: {'here' if model.here else 'not here'}",
                f"  values      {model.dim}",
                f"  place       {model.path}",
                f"  from        {known.url}",
                f"  hash        {known.hash or 'unknown; that of the first download is recorded'}",
                f"  licence     {known.licence}",
                f"  trained on  {'; '.join(known.trained_on)}",
            ]
        return lines

    def settings_rows(self) -> list[tuple[str, ...]]:
        """A row of column names, then one row per setting."""
        return [("setting", "default"), *((name, str(value)) for name, value in self.settings.items())]


@dataclass(frozen=True, slots=True)
class EncoderList:
    """All encoders, by name."""

    encoders: tuple[EncoderDescription, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"encoders": [one.to_dict() for one in self.encoders]}

    def table_rows(self) -> list[tuple[str, ...]]:
        """A row of column names, then one row per encoder and published file."""
        rows: list[tuple[str, ...]] = [
            ("encoder", "takes", "segments", "model", "values", "checkpoint", "licence", "trained on")
        ]
        for one in self.encoders:
            first: tuple[str, ...] = (one.name, one.modality, one.segments())
            for model in one.models:
                known = model.published
                state = "here" if model.here else "not here"
                rows.append((*first, model.name, str(model.dim), state, known.licence, "; ".join(known.trained_on)))
                first = ("", "", "")
            if not one.models:
                rows.append((*first, "", str(one.dim), "none needed", "", ""))
        return rows


def describe_encoders() -> EncoderList:
    """Describe all encoders."""
    return EncoderList(tuple(describe_encoder(name) for name in encoder_names()))


def describe_encoder(name: str) -> EncoderDescription:
    """Describe an encoder; builds no network and reads no checkpoint."""
    found = find_encoder(name)
    encoder = _bare(name, {})
    models = tuple(
        Model(
            model,
            published,
            location(published),
            location(published).is_file(),
            _bare(name, {"model": model} if model else {}).spec.dim,
        )
        for model, published in published_files(name).items()
    )
    fitting = {PRECISION: PRECISION in encoder.spec.settings}
    shared = {key: value for key, value in SHARED.items() if fitting.get(key, encoder.spec.modality == "image")}
    return EncoderDescription(
        name,
        found.MODALITY,
        " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split()),
        encoder.spec.dim,
        encoder.segment_seconds,
        encoder.hop_seconds,
        own_settings(name) | shared,
        models,
    )


def _bare(name: str, settings: Mapping[str, Setting]) -> Encoder:
    """An encoder that is only asked for its shapes, which no file of parameters changes."""
    load: Callable[..., Encoder] = find_encoder(name).load
    if not has_parameters(name):
        return load(**settings)
    with tempfile.NamedTemporaryFile() as file:
        return load(checkpoint=Path(file.name), **settings)
