"""The encoder that a row of a paper takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emoclim.data import Setting
from emoclim.encoders import Encoder, load_encoder
from emoclim.progress import Track


@dataclass(frozen=True, slots=True)
class EncoderChoice:
    """The name of an encoder, with its file and settings."""

    name: str
    checkpoint: Path | None  # file of its parameters; None takes the published one
    settings: Mapping[str, Setting]

    def load(self, track: Track) -> Encoder:
        """Load it."""
        return load_encoder(self.name, checkpoint=self.checkpoint, track=track, **self.settings)
