"""Say what an encoder of videos is: any encoder of pictures, over the frames of each second. Imports no torch.

Convention: segments are whole seconds of the video, as :func:`emoclim.data.read_frames` counts them, and a feature is
the mean over the frames of its second; what is left at the end is dropped, and a video of less than a second has its
frames repeated, both as with sound.

References
----------
Avramidis, Stewart and Narayanan, "On the role of visual context in enriching music representations", ICASSP 2023,
section 3.2: five frames a second, whose features by CLIP are averaged for each second.
"""

from __future__ import annotations

import inspect
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import TYPE_CHECKING, Any

from emoclim import data
from emoclim.data import FeatureSpec, Item, Remark, Setting
from emoclim.encoders.base import ImageEncoder
from emoclim.errors import EncoderError
from emoclim.modality import MODALITIES, Modality

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FRAMES = 5  # of each second
VIDEO: Modality = "video"
OF_FRAMES = f"_{MODALITIES[VIDEO].folder}"  # how the name of such an encoder ends


@dataclass(frozen=True)
class VideoEncoder:
    """An encoder of videos: of each second, the mean of what an encoder of pictures gives for its frames."""

    spec: FeatureSpec
    pictures: ImageEncoder
    hop_seconds: float = 1.0
    segment_seconds: float = 1.0

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (FRAMES, *self.pictures.input_shape)

    @cached_property
    def module(self) -> nn.Module:
        network = replace(self.pictures).module  # one of its own, for it takes other shapes
        network.register_forward_pre_hook(_join_seconds)
        network.register_forward_hook(_average_seconds)
        return network

    def prepare(self, item: Item) -> Generator[Tensor | Remark, None, float]:
        import torch

        frames: list[Tensor] = []
        count, last = 0, None
        for picture in data.read_frames(item, FRAMES):
            if isinstance(picture, Remark):
                yield picture
                continue
            frames.append(frames[-1] if frames and picture is last else self.pictures.transform(picture))
            count, last = count + 1, picture
            if len(frames) == FRAMES:
                yield torch.stack(frames)[None]
                frames = []
        if count < FRAMES:
            yield _fill_second(frames)[None]
        return count / FRAMES

    def crop(self, item: Item, generator: torch.Generator) -> Tensor:
        import torch

        place, seed = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        start = (item.start or 0.0) + place * max(0.0, data.video_seconds(item) - self.segment_seconds)
        frames = []
        for picture in data.read_frames(replace(item, start=start, duration=self.segment_seconds), FRAMES):
            if not isinstance(picture, Remark):  # of all frames, the same part
                generator_of_part = torch.Generator().manual_seed(int(seed * 2**32))
                frames.append(self.pictures.augment(picture, generator_of_part))
        rows = _fill_second(frames)
        return rows if self.pictures.normalise is None else self.pictures.normalise(rows)


class OverFrames:
    """What the file of an encoder of pictures states, as that of one of videos."""

    MODALITY: Modality = VIDEO

    def __init__(self, pictures: Any) -> None:
        self._pictures = pictures
        first, *_ = (inspect.getdoc(pictures) or "").split("\n\n")
        self.__doc__ = f"Of each second of a video the mean over {FRAMES} frames, each encoded so: {first}"

        @wraps(pictures.load)
        def load(**settings: Any) -> VideoEncoder:
            return over_frames(pictures.load(**settings))

        self.load = load

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pictures, name)


def over_frames(pictures: ImageEncoder) -> VideoEncoder:
    """Make an encoder of videos from one of pictures."""
    spec = pictures.spec
    if not isinstance(pictures, ImageEncoder):
        raise EncoderError(f"encoder {spec.name} takes files of pictures only, and no frames of videos; take another")
    settings: dict[str, Setting] = {**spec.settings, "frames": f"{FRAMES} a second, mean", "colours": "FFmpeg bicubic"}
    return VideoEncoder(replace(spec, name=spec.name + OF_FRAMES, modality=VIDEO, settings=settings), pictures)


def _fill_second(frames: list[Tensor]) -> Tensor:
    """Stack the frames of a second, repeated as often as that takes."""
    import torch

    return torch.stack([frames[number % len(frames)] for number in range(FRAMES)])


def _join_seconds(_: nn.Module, given: tuple[Tensor]) -> Tensor:
    """Take frames ``(B, F, ...)`` as pictures ``(B * F, ...)``."""
    return given[0].flatten(0, 1)


def _average_seconds(_: nn.Module, __: tuple[Tensor], features: Tensor) -> Tensor:
    """Average the features ``(B * F, D)`` of pictures to those of seconds ``(B, D)``."""
    return features.view(-1, FRAMES, features.shape[-1]).mean(1)
