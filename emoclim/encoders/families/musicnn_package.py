"""Define what the taggers of the package `musicnn` share: its wheel as their source, 187 frames, two outputs.

J. Pons and X. Serra, "musicnn: pre-trained convolutional neural networks for music audio tagging" (ISMIR late-breaking
2019). The package itself is never imported: its checkpoints are read as files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from emoclim.encoders.base import AudioEncoder, width_of
from emoclim.encoders.checkpoints.published import Part, Published
from emoclim.encoders.checkpoints.tensorflow_files import DATA
from emoclim.encoders.families.won2020 import music_encoder

if TYPE_CHECKING:
    from torch import nn

WHEEL = "pypi:musicnn==0.1.0#sha256=f38a4890c648c1ddbb141c5d96d2b0a8cfcd36746002d896989f7b88beb65cfa!musicnn"
LENGTH = 186 * 256 + 512  # samples that 187 frames take
NETS = "emoclim.encoders.nets.musicnn_package"  # imported where a network is built
WIDTHS = {"features": 200, "tags": 50}  # values of each output


@dataclass(frozen=True, slots=True)
class PackageTagger:
    """One tagger, with the functions that an encoder's file states."""

    name: str  # of the encoder
    folder: str  # in the package
    index: str  # sha256 of the index of its checkpoint
    data: str  # sha256 of the numbers
    trained_on: str
    tags: str  # in order, with commas

    def published(self) -> Published:
        """Return the checkpoint, from the package that holds it."""
        place = f"{WHEEL}/{self.folder}"
        return Published(
            file=f"{self.name}/{DATA}",
            url=f"{place}/{DATA}",
            hash=f"sha256:{self.data}",
            licence="ISC (code and parameters)",
            trained_on=(self.trained_on,),
            beside=(Part(".index", f"{place}/.index", f"sha256:{self.index}"),),
        )

    def vocabulary(self) -> Sequence[str]:
        """List the tags, in order."""
        return self.tags.split(", ")

    def readout(self, *, output: str) -> tuple[str, str] | None:
        """Name the layer from features to the probabilities of the tags, and their function."""
        return ("dense2", "sigmoid") if output == "features" else None

    def untrained(self, *, output: str = "features") -> nn.Module:
        """Make the network, before its parameters are read."""
        net: nn.Module = import_module(NETS).PackageMusicnn(output)
        return net

    def load(self, *, checkpoint: Path, output: str = "features", overlap: float = 0.0) -> AudioEncoder:
        """Make the encoder; the network is built on first use."""
        build = partial(self._build, checkpoint, output)
        dim = width_of(self.name, WIDTHS, output)
        return music_encoder(self.name, dim, LENGTH, overlap, checkpoint, build, output=output)

    def _build(self, checkpoint: Path, output: str) -> nn.Module:
        from emoclim.encoders.checkpoints.tensors import fit, read_tensors

        net = self.untrained(output=output)
        fit(net, import_module(NETS).renamed(net, read_tensors(checkpoint)), checkpoint)
        return net
