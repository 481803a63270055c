"""What an encoder is, and how one is found.

Every module of this folder except `base`, `checkpoints` and `taggers` is one encoder, named like its file. It states

* ``MODALITY``, what it takes;
* ``load(*, <settings>) -> Encoder``, or ``load(*, checkpoint: Path, <settings>) -> Encoder`` if it has parameters;
* in the second case ``published(*, <settings>) -> Published``: the file to use where the user names none.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, get_type_hints

import torch
from torch import Tensor, nn

from emoclim.data import audio, images
from emoclim.data.manifest import Item
from emoclim.encoders import checkpoints
from emoclim.errors import EncoderError
from emoclim.features import FeatureSpec, Setting
from emoclim.progress import Track, silent

MAX_OVERLAP = 0.95  # beyond, features are ever more and ever the same
NOT_ENCODERS = frozenset({"base", "checkpoints", "taggers"})


class Encoder(Protocol):
    """One frozen network (or plain statistics) and how an item becomes its input."""

    @property
    def spec(self) -> FeatureSpec:
        """What the features depend on."""
        ...

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one segment."""
        ...

    @property
    def hop_seconds(self) -> float:
        """Seconds between the starts of successive segments of one item; 0 for an image."""
        ...

    @property
    def segment_seconds(self) -> float:
        """Length of one segment; 0 for an image."""
        ...

    @property
    def module(self) -> nn.Module:
        """``(B, *input_shape) -> (B, D)`` float32, differentiable, in eval mode; built on first use."""
        ...

    def prepare(self, item: Item) -> Generator[Tensor, None, float]:
        """Yield blocks ``(S, *input_shape)`` that together are the item; return its decoded length in seconds.

        Runs in worker processes. Raises :class:`DecodeError` for content that cannot be used.
        """
        ...

    def crop(self, item: Item, generator: torch.Generator) -> Tensor:
        """Return one random segment ``(*input_shape)``, for training from the files themselves."""
        ...


@dataclass(frozen=True)
class ImageEncoder:
    """An encoder of still images: one segment per item.

    Attributes
    ----------
    transform
        Decoded RGB image to ``(*input_shape)``; deterministic.
    augment
        The same with a random crop.
    build
        Makes the network.
    """

    spec: FeatureSpec
    input_shape: tuple[int, ...]
    transform: Callable[[images.Image], Tensor]
    augment: Callable[[images.Image, torch.Generator], Tensor]
    build: Callable[[], nn.Module]
    hop_seconds: float = 0.0
    segment_seconds: float = 0.0

    @cached_property
    def module(self) -> nn.Module:
        """See :class:`Encoder`."""
        return _build(self.build)

    def prepare(self, item: Item) -> Generator[Tensor, None, float]:
        """See :class:`Encoder`."""
        yield self.transform(images.read_image(item))[None]
        return 0.0

    def crop(self, item: Item, generator: torch.Generator) -> Tensor:
        """See :class:`Encoder`."""
        return self.augment(images.read_image(item), generator)


@dataclass(frozen=True)
class AudioEncoder:
    """An encoder of mono waveforms cut into overlapping segments.

    Attributes
    ----------
    sample_rate
        Hz that the network expects.
    length
        Samples of one segment.
    overlap
        Fraction of a segment shared with the next, from 0 to :data:`MAX_OVERLAP`.
    pad
        Brings a waveform shorter than `length` to it.
    build
        Makes the network.
    """

    spec: FeatureSpec
    sample_rate: int
    length: int
    overlap: float
    build: Callable[[], nn.Module]
    pad: Callable[[Tensor, int], Tensor] = audio.repeat_pad

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= MAX_OVERLAP:
            raise EncoderError(f"{self.spec.name} takes an overlap from 0 up to {MAX_OVERLAP}, not {self.overlap}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        """See :class:`Encoder`."""
        return (self.length,)

    @property
    def hop_seconds(self) -> float:
        """See :class:`Encoder`."""
        return audio.segment_step(self.length, self.overlap) / self.sample_rate

    @property
    def segment_seconds(self) -> float:
        """See :class:`Encoder`."""
        return self.length / self.sample_rate

    @cached_property
    def module(self) -> nn.Module:
        """See :class:`Encoder`."""
        return _build(self.build)

    def prepare(self, item: Item) -> Generator[Tensor, None, float]:
        """See :class:`Encoder`."""
        waveform = audio.read_blocks(item, self.sample_rate)
        samples = yield from audio.cut_segments(waveform, self.length, self.overlap, self.pad)
        return samples / self.sample_rate

    def crop(self, item: Item, generator: torch.Generator) -> Tensor:
        """See :class:`Encoder`."""
        return audio.read_crop(item, self.sample_rate, self.length, generator, self.pad)


def _build(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.inference_mode(False):  # parameters made in inference mode could never be trained
        return build().eval()


def encoder_names() -> list[str]:
    """Names of all encoders, sorted; imports none of them."""
    folder = [str(Path(__file__).parent)]
    return sorted(m.name for m in pkgutil.iter_modules(folder) if m.name not in NOT_ENCODERS)


def find_encoder(name: str) -> ModuleType:
    """Import the module of one encoder.

    Raises
    ------
    EncoderError
        There is none of that name.
    """
    if name not in encoder_names():
        raise EncoderError(f"no encoder is called {name!r}; there are: {', '.join(encoder_names())}")
    return importlib.import_module(f"emoclim.encoders.{name}")


def load_encoder(name: str, *, checkpoint: Path | None = None, track: Track = silent, **settings: Setting) -> Encoder:
    """Make an encoder ready for use; its network is built on first use only.

    Parameters
    ----------
    name
        One of :func:`encoder_names`.
    checkpoint
        File of parameters; None takes the encoder's published one, downloading it if need be.
    track
        Shows the progress of a download.
    settings
        What the encoder's ``load`` takes beyond that.

    Raises
    ------
    EncoderError
        Unknown encoder or setting, a setting out of range, or a checkpoint for an encoder without parameters.
    CheckpointError
        The checkpoint is missing or does not fit.
    """
    found = find_encoder(name)
    load: Callable[..., Encoder] = found.load
    parameters = inspect.signature(load).parameters.keys()
    allowed = sorted(parameters - {"checkpoint"})
    if unknown := sorted(settings.keys() - set(allowed)):
        known = f"it takes {', '.join(allowed)}" if allowed else "it takes none"
        raise EncoderError(f"encoder {name!r} has no setting {', '.join(unknown)}; {known}")
    settings = {key: _typed(name, key, value, get_type_hints(load)[key]) for key, value in settings.items()}
    if "checkpoint" not in parameters:
        if checkpoint is not None:
            raise EncoderError(f"encoder {name!r} has no parameters; leave out the checkpoint {checkpoint}")
        return load(**settings)
    if checkpoint is None:
        relevant = inspect.signature(found.published).parameters.keys() & settings.keys()
        published: checkpoints.Published = found.published(**{key: settings[key] for key in relevant})
        checkpoint = checkpoints.obtain(published, track=track)
    return load(checkpoint=checkpoint, **settings)


def _typed(encoder: str, name: str, value: Setting, kind: Any) -> Setting:
    """A setting in the type that its encoder states; a whole number may stand for a float."""
    if kind is float and isinstance(value, int):
        return float(value)
    fits = isinstance(value, kind)
    if not fits:
        raise EncoderError(
            f"setting {name} of encoder {encoder!r} takes a value of type {kind.__name__}, not {value!r}"
        )
    return value
