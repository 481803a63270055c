"""Find what words features can be compared with: by the text tower beside an encoder, or by words it was taught.

And what the values of features are called. Used by objectives that compare by words, and by whoever tells the reasons
of a score. Invariants: an encoder's own file states which of the two it has, and what belongs to features is read from
the very file that they were computed with.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emoclim.data import FeatureSpec
from emoclim.encoders.base import Encoder
from emoclim.encoders.checkpoints.published import checkpoints_folder
from emoclim.encoders.known_words import ENCODER, known_embeddings, known_texts, lazy_encoder
from emoclim.encoders.loading import (
    encoder_names,
    find_encoder,
    has_parameters,
    load_encoder,
    own_settings,
    published_files,
    relevant_settings,
)
from emoclim.encoders.text_encoder import WORD_TOKENS, embed_anew
from emoclim.errors import CheckpointError, EncoderError
from emoclim.modality import WRITTEN

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

BACKGROUND_STEP = 16  # of words that a text tower embeds for each search
MANY = 200  # texts that take longer than one waits for without being told


def wordy_encoders() -> list[str]:
    """List the encoders whose features can be compared with words."""
    return [name for name in encoder_names() if _tower_name(name) or hasattr(find_encoder(name), "vocabulary")]


@dataclass(frozen=True, slots=True)
class Readout:
    """How the probabilities of W words come from features of D values: by a linear layer, then a function."""

    weight: Tensor  # (W, D)
    bias: Tensor  # (W,)
    function: str  # softmax or sigmoid


def background_texts() -> list[str]:
    """List words that stand in for a library of texts: every few of those that encoders of this package were taught."""
    return list(known_texts()[::BACKGROUND_STEP])


def vocabulary_of(spec: FeatureSpec) -> Sequence[str]:
    """Return the words whose probabilities some features are, or are read as by :func:`readout_of`; none without."""
    words: Sequence[str] = _stated(spec, "vocabulary") or ()
    if words and len(words) != spec.dim and not _stated(spec, "readout"):
        raise EncoderError(f"encoder {spec.name} states {len(words)} words for {spec.dim} values; mend it")
    return words


def feature_names(spec: FeatureSpec) -> Sequence[str]:
    """Return the name of each value of some features, by the file of their encoder; none where they have no names.

    Those that are probabilities of words are named by them. Imported features may be of an encoder that is not here.
    """
    if spec.name not in encoder_names():
        return ()
    names: Sequence[str] = _stated(spec, "names") or (() if _stated(spec, "readout") else vocabulary_of(spec))
    if names and len(names) != spec.dim:
        raise EncoderError(f"encoder {spec.name} states {len(names)} names for {spec.dim} values; mend it")
    return names


def readout_of(spec: FeatureSpec) -> Readout | None:
    """Read how features become the probabilities of words, from the file that they were computed with.

    None where they are probabilities already, or have no words.

    Raises
    ------
    CheckpointError
        That file is not where published files lie.
    """
    if (stated := _stated(spec, "readout")) is None:
        return None
    layer: Any = _of_its_file(spec.name, spec, "last layer").module.get_submodule(stated[0])
    return Readout(layer.weight.detach().clone(), layer.bias.detach().clone(), stated[1])


def text_tower(spec: FeatureSpec) -> Encoder | None:
    """Load the text encoder in whose space some features lie: of the file that they were computed with.

    Raises
    ------
    CheckpointError
        That file is not where published files lie.
    """
    if not (name := _tower_name(spec.name)):
        return None
    return _of_its_file(name, spec, "text tower")


def _of_its_file(name: str, spec: FeatureSpec, part: str) -> Encoder:
    """Load an encoder from the file that some features were computed with."""
    settings: dict[str, Any] = {key: spec.settings[key] for key in own_settings(name).keys() & spec.settings.keys()}
    if not has_parameters(name):
        return load_encoder(name, **settings)
    file = spec.checkpoint.partition("@")[0]
    models = [model for model, one in published_files(name).items() if Path(one.file).name == file]
    if models:
        encoder = load_encoder(name, **settings | ({"model": models[0]} if models[0] else {}))
    else:  # of any training
        known: dict[str, Any] = getattr(find_encoder(name), "OF_ANY_FILE", {})
        encoder = load_encoder(name, checkpoint=checkpoints_folder() / file, **settings | known)
    if encoder.spec.checkpoint != spec.checkpoint:
        raise CheckpointError(
            f"the {part} that belongs to these {spec.name} features is in {spec.checkpoint}, not in "
            f"{encoder.spec.checkpoint}; put that file into {checkpoints_folder()}"
        )
    return encoder


def word_encoder(name: str) -> Encoder:
    """Make a text encoder for words and prompts, which are short; it is loaded only for what the package lacks."""
    if find_encoder(name).MODALITY != WRITTEN:
        raise EncoderError(f"{name} is no encoder of text; see: emoclim encoders")
    short: dict[str, Any] = {"length": WORD_TOKENS} if "length" in own_settings(name) else {}
    load = partial(load_encoder, name, **short)
    return lazy_encoder(load) if name == ENCODER else load()


def embed_texts(encoder: Encoder, texts: Sequence[str]) -> Tensor:
    """Embed texts that a network takes whole: ``(N, D)``, of the length that it gives them; tell what is odd of them.

    Texts whose embeddings are in the package are not embedded anew.

    Raises
    ------
    EncoderError
        A text has no word that the encoder knows, or more than it takes at once.
    """
    import torch

    known = known_embeddings(encoder.spec)
    new = [text for text in dict.fromkeys(texts) if text not in known]
    if len(new) > MANY:
        log.warning("%s embeds %d words and prompts, which may take a minute or more", encoder.spec.name, len(new))
    rows = dict(known) | (dict(zip(new, embed_anew(encoder, new), strict=True)) if new else {})
    return torch.stack([rows[text] for text in texts])


def _tower_name(name: str) -> str | None:
    """Return the name of the text tower beside an encoder; a text encoder is its own."""
    found = find_encoder(name)
    own = name if found.MODALITY == WRITTEN else None
    tower: str | None = getattr(found, "TEXT", own)
    return tower


def _stated(spec: FeatureSpec, what: str) -> Any:
    """Return what the file of an encoder states of some features; None where it states nothing."""
    state = getattr(find_encoder(spec.name), what, None)
    return state(**relevant_settings(state, spec.settings)) if state else None
