"""Encode known inputs, and tell what is wrong with their features: other numbers, collapse, denormal numbers, speed."""

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic_core import to_jsonable_python
from torch import Tensor, nn

from emoclim.data import Item, Remark, Setting
from emoclim.encoders import Encoder, choose_device, find_encoder, flushed_denormals, frozen, load_encoder
from emoclim.errors import EncoderError
from emoclim.files import read_json
from emoclim.pipeline.health.known_inputs import write_inputs
from emoclim.progress import Track, silent

RECORD = Path(__file__).with_name("known_features.json")
PRINT = 16  # numbers that are kept of a feature: random projections of it
TOLERANCE = 0.01  # of a feature's length; the same network on two machines differs by less than a thousandth
ALIKE = 0.9  # cosine that even the two inputs least alike have where a network has collapsed; of sound ones .22 or less
EQUAL = 0.9999  # cosine of two features that are one
BATCH = 8
SMALLEST = torch.finfo(torch.float32).tiny


@dataclass(frozen=True, slots=True)
class KnownInput:
    """One known input, and what became of it."""

    name: str
    segments: int
    nearest: str  # the input whose feature is most like its own
    cosine: float  # of the two
    prints: tuple[float, ...]  # numbers that follow from the feature
    difference: float | None  # from what is recorded, as a part of that; None where nothing is


@dataclass(frozen=True, slots=True)
class EncoderHealth:
    """What a check found."""

    encoder: str
    spec: str  # digest of what the features depend on
    device: str
    inputs: tuple[KnownInput, ...]
    least_cosine: float  # of the two inputs that are least alike
    denormals: int  # numbers below the normal ones, within the network and in its features
    seconds_per_segment: float
    faults: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return dict(to_jsonable_python(self))

    def rows(self) -> list[tuple[str, ...]]:
        """Return a row of column names, then one row per input."""
        return [
            ("input", "segments", "most like", "cosine", "from the record"),
            *(
                (
                    one.name,
                    str(one.segments),
                    one.nearest,
                    f"{one.cosine:.3f}",
                    "-" if one.difference is None else f"{one.difference:.1e}",
                )
                for one in self.inputs
            ),
        ]

    def summary(self) -> list[str]:
        """Return a few lines for a reader, what is wrong last."""
        recorded = sum(one.difference is not None for one in self.inputs)
        return [
            f"{recorded} of {len(self.inputs)} features are on record for these settings and this checkpoint.",
            f"The two inputs that are least alike have a cosine of {self.least_cosine:.3f}.",
            f"{self.denormals:,} denormal numbers, which extraction takes for zero.",
            f"{self.seconds_per_segment:.3g} s per segment on {self.device}, in batches of {BATCH}.",
            *(self.faults or ("Nothing is wrong.",)),
        ]


def check_encoder(
    name: str,
    *,
    checkpoint: Path | None = None,
    settings: Mapping[str, Setting] | None = None,
    device: str = "auto",
    track: Track = silent,
) -> EncoderHealth:
    """Encode known inputs with an encoder and tell what is wrong with it."""
    place = choose_device(device)
    with tempfile.TemporaryDirectory() as folder:
        items = write_inputs(find_encoder(name).MODALITY, Path(folder))
        encoder = load_encoder(name, checkpoint=checkpoint, track=track, **(settings or {}))
        segments = [_segments(encoder, item) for item in track(items, f"prepare for {name}", len(items))]
    module = encoder.module.to(place)
    with frozen(encoder.spec, place):
        features, denormals = _encode(module, segments, place)
        seconds = _seconds(module, torch.cat(segments), place)
    if not features.isfinite().all():
        wrong = ", ".join(item.id for item, row in zip(items, features, strict=True) if not row.isfinite().all())
        raise EncoderError(f"{name} gives features that are no finite numbers for the known inputs {wrong}")
    directions = nn.functional.normalize(features.double(), dim=1)
    cosines = directions @ directions.T
    inputs = _known_inputs(encoder, items, [len(rows) for rows in segments], features, cosines)
    least = float(cosines.min())
    faults = _faults(inputs, least)
    digest = encoder.spec.digest()
    return EncoderHealth(name, digest, str(place), inputs, least, denormals, seconds, faults)


def _segments(encoder: Encoder, item: Item) -> Tensor:
    """Prepare an item: ``(S, *input_shape)``; without views."""
    blocks = [block for block in encoder.prepare(item) if not isinstance(block, Remark)]
    return torch.cat(blocks)[:1] if encoder.spec.views else torch.cat(blocks)


def _encode(module: nn.Module, segments: Sequence[Tensor], device: torch.device) -> tuple[Tensor, int]:
    """Return the feature of each item ``(M, D)``, its mean over segments, and how many numbers were denormal."""
    found = [0]

    def count(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dtype == torch.float32:
            size = output.abs()
            found[0] += int(((size > 0) & (size < SMALLEST)).sum())

    leaves = [part for part in module.modules() if not list(part.children())]
    hooks = [part.register_forward_hook(count) for part in leaves]
    try:
        rows = [
            torch.cat([module(batch.to(device)).float() for batch in torch.split(one, BATCH)]).mean(dim=0)
            for one in segments
        ]
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(rows).cpu().float(), found[0]


def _seconds(module: nn.Module, segments: Tensor, device: torch.device) -> float:
    """Time a batch, after one that warms up."""
    batch = segments.repeat(-(-BATCH // len(segments)), *(1,) * (segments.ndim - 1))[:BATCH].to(device)
    with flushed_denormals():
        for _ in range(2):
            begun = time.perf_counter()
            module(batch).sum().item()  # waits for what runs on a GPU
    return (time.perf_counter() - begun) / BATCH


def _known_inputs(
    encoder: Encoder, items: Sequence[Item], counts: Sequence[int], features: Tensor, cosines: Tensor
) -> tuple[KnownInput, ...]:
    recorded = read_json(RECORD, EncoderError, "install emoclim anew", dict[str, dict[str, list[float]]])
    known = recorded.get(encoder.spec.digest(), {})
    draw = np.random.default_rng(0).standard_normal((features.shape[1], PRINT)) / features.shape[1] ** 0.5
    found = []
    for place, item in enumerate(items):
        prints = features[place].double().numpy() @ draw
        others = cosines[place].clone()
        others[place] = -2.0
        nearest = int(others.argmax())
        before = known.get(item.id)
        difference = None if before is None else float(np.linalg.norm(prints - before) / np.linalg.norm(before))
        rounded = tuple(float(f"{value:.5g}") for value in prints)
        found.append(KnownInput(item.id, counts[place], items[nearest].id, float(others[nearest]), rounded, difference))
    return tuple(found)


def _faults(inputs: Sequence[KnownInput], least: float) -> tuple[str, ...]:
    """Say what is wrong, a sentence each."""
    moved = [one.name for one in inputs if (one.difference or 0.0) > TOLERANCE]
    equal = [f"{one.name} and {one.nearest}" for one in inputs if one.cosine > EQUAL and one.name < one.nearest]
    told = {
        f"WRONG NUMBERS: the features of {', '.join(moved)} are not those on record; what is installed here computes "
        "others": moved,
        f"COLLAPSED: even the least alike of these inputs have a cosine of {least:.3f}; the features tell nothing "
        "apart, take another checkpoint": least > ALIKE,
        f"EQUAL FEATURES: {'; '.join(equal)}": equal and least <= ALIKE,
    }
    return tuple(sentence for sentence, found in told.items() if found)
