"""Say what an encoder is: one frozen network (or plain statistics), and how an item becomes its input.

Used by every encoder's file. Imports no torch, so that encoders can be listed and described at once: torch comes with
the first item that is read, or with the network.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

from typing_extensions import Protocol, runtime_checkable  # typing's would build the network to check for it

from emoclim import data
from emoclim.data import PILLOW, FeatureSpec, Item, Remark, repeat_pad, segment_step
from emoclim.errors import EncoderError

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor, nn

MAX_OVERLAP = 0.95  # beyond, features are ever more and ever the same
PRECISION, VIEW_SEED, DECODER = "precision", "view_seed", "decoder"  # names of settings
FULL_PRECISION = "fp32"
PRECISIONS: Mapping[str, str] = {FULL_PRECISION: "float32", "bf16": "bfloat16", "fp16": "float16"}  # in torch


@runtime_checkable
class Encoder(Protocol):
    """One frozen network (or plain statistics) and how an item becomes its input.

    Shapes: S segments of one item, B rows of a batch, D values of a feature. Whatever has these members is an encoder,
    also to ``isinstance``, which builds no network.

    Examples
    --------
    >>> from emoclim import load_encoder
    >>> encoder = load_encoder("timbre", overlap=0.0)
    >>> encoder.input_shape, encoder.hop_seconds, isinstance(encoder, Encoder)
    ((80000,), 5.0, True)
    """

    @property
    def spec(self) -> FeatureSpec:
        """What the features depend on."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one segment."""

    @property
    def hop_seconds(self) -> float:
        """Seconds between the starts of successive segments of one item; 0 for an image or a text."""

    @property
    def segment_seconds(self) -> float:
        """Length of one segment; 0 for an image or a text."""

    @property
    def module(self) -> nn.Module:
        """``(B, *input_shape) -> (B, D)`` float32, differentiable, in eval mode; built on first use.

        Rows never depend on each other: the last batch is filled up with rows of zeros.
        What :meth:`prepare` yields may also be uint8, if the module takes that as well.
        """

    def prepare(self, item: Item) -> Generator[Tensor | Remark, None, float]:
        """Yield blocks ``(S, *input_shape)`` that together are the item; return its decoded length in seconds.

        What a user should know of the item, such as words that the network does not know, is yielded between them. If
        the spec has views, the first row is the item and the others are they. Runs in worker processes. Raises
        :class:`DecodeError` for content that cannot be used.
        """

    def crop(self, item: Item, generator: torch.Generator) -> Tensor:
        """Return one random segment ``(*input_shape)``, for training from the files themselves."""


@dataclass(frozen=True)
class ImageEncoder:
    """An encoder of still images: one segment per item, and its views."""

    spec: FeatureSpec
    input_shape: tuple[int, ...]
    transform: Callable[[Image.Image], Tensor]  # decoded RGB image to `(*input_shape)`; deterministic
    augment: Callable[[Image.Image, torch.Generator], Tensor]  # the same with a random crop
    build: Callable[[], nn.Module]  # makes the network
    # What a transform gives, if that is 8-bit pixels, to what the network takes. The module does it by itself, on its
    # own device: pixels are a quarter of the bytes on their way there. None: the transform does it.
    normalise: Callable[[Tensor], Tensor] | None = None
    # Pixels that each side of a picture needs for neither function to scale any part of it up: a decoder that scales
    # down leaves as many. None: it scales nothing down.
    least_side: int | None = None
    hop_seconds: float = 0.0
    segment_seconds: float = 0.0

    def __post_init__(self) -> None:
        _ = data.read_image  # loaded here, that each worker process need not do so by itself

    @cached_property
    def module(self) -> nn.Module:
        network = build_network(self.build)
        if self.normalise is not None:
            network.register_forward_pre_hook(partial(_normalise_pixels, self.normalise))
        return network

    def prepare(self, item: Item) -> Generator[Tensor, None, float]:
        import torch

        picture = self._read(item)
        rows = [self.transform(picture)]
        if self.spec.views:
            # The pixels seed the crops: the same picture has the same, wherever it lies and whoever comes before it.
            seed = zlib.crc32(picture.tobytes(), int(self.spec.settings[VIEW_SEED]))
            generator = torch.Generator().manual_seed(seed)
            rows += [self.augment(picture, generator) for _ in range(self.spec.views)]
        yield torch.stack(rows)
        return 0.0

    def crop(self, item: Item, generator: torch.Generator) -> Tensor:
        view = self.augment(self._read(item), generator)
        return view if self.normalise is None else self.normalise(view)

    def _read(self, item: Item) -> Image.Image:
        decoder = str(self.spec.settings.get(DECODER, PILLOW))
        return data.read_image(item, decoder=decoder, least_side=self.least_side)


@dataclass(frozen=True)
class AudioEncoder:
    """An encoder of mono waveforms cut into overlapping segments."""

    spec: FeatureSpec
    sample_rate: int  # Hz that the network expects
    length: int  # samples of one segment
    overlap: float  # fraction of a segment shared with the next, from 0 to `MAX_OVERLAP`
    build: Callable[[], nn.Module]  # makes the network
    pad: Callable[[Tensor, int], Tensor] = repeat_pad  # brings a waveform shorter than `length` to it
    source_rate: int | None = None  # Hz that recordings are first brought to, as if stored so; None: the file's own

    def __post_init__(self) -> None:
        if not 0 <= self.overlap <= MAX_OVERLAP:
            raise EncoderError(f"{self.spec.name} takes an overlap from 0 up to {MAX_OVERLAP}, not {self.overlap}")

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (self.length,)

    @property
    def hop_seconds(self) -> float:
        return segment_step(self.length, self.overlap) / self.sample_rate

    @property
    def segment_seconds(self) -> float:
        return self.length / self.sample_rate

    @cached_property
    def module(self) -> nn.Module:
        return build_network(self.build)

    def prepare(self, item: Item) -> Generator[Tensor, None, float]:
        waveform = data.read_blocks(item, self.sample_rate, source_rate=self.source_rate)
        samples = yield from data.cut_segments(waveform, self.length, self.overlap, self.pad)
        return samples / self.sample_rate

    def crop(self, item: Item, generator: torch.Generator) -> Tensor:
        return data.read_crop(item, self.sample_rate, self.length, generator, self.pad, source_rate=self.source_rate)

    def cut(self, waveform: data.Waveform, generator: torch.Generator) -> Tensor:
        """Return one random segment ``(*input_shape)`` of a recording that is decoded already, at its sample rates."""
        return data.cut_crop(waveform, self.length, generator, self.pad)


def _normalise_pixels(normalise: Callable[[Tensor], Tensor], _: nn.Module, given: tuple[Tensor]) -> Tensor:
    """Normalise a module's input if it is pixels; leave anything else as it is."""
    import torch

    return normalise(given[0]) if given[0].dtype == torch.uint8 else given[0]


def build_network(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network that can be trained, in eval mode."""
    import torch

    with torch.inference_mode(False):  # parameters made in inference mode could never be trained
        return build().eval()


def width_of(name: str, widths: Mapping[str, int], output: str) -> int:
    """Return how many values an encoder gives as one of its outputs; refuse another."""
    if output not in widths:
        raise EncoderError(f"{name} has the outputs {' and '.join(widths)}, not {output!r:.80}")
    return widths[output]
