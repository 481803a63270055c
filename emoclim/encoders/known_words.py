"""Hold embeddings of the words that come with the package: of classes, tags, emotions and contents, by `minilm`.

Used wherever words are embedded, so that pictures and music are compared by words without that encoder. Invariant: a
row is what the published file gives for its text, rounded to float16. ``python -m emoclim.encoders.known_words`` writes
them anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from emoclim.data import FEELING, WORD_LISTS, FeatureSpec

if TYPE_CHECKING:
    from torch import Tensor

    from emoclim.encoders.base import Encoder

ENCODER = "minilm"
TAUGHT = ("efficientnet_lite0", "musicnn_msd", "musicnn_mtt")  # with vocabularies
TABLE = Path(__file__).with_suffix(".npz")


class LazyEncoder:
    """An encoder of which the spec is known, and which is loaded where more of it is asked for."""

    def __init__(self, spec: FeatureSpec, load: Callable[[], Encoder]) -> None:
        self.spec, self._load = spec, cache(load)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._load(), name)


def vocabulary_texts() -> list[str]:
    """List the words that encoders of this package were taught."""
    from emoclim.encoders.loading import find_encoder

    return list(dict.fromkeys(word for name in TAUGHT for word in find_encoder(name).vocabulary()))


def prompt_texts() -> list[str]:
    """List the prompts of the words of emotions, and the words of contents that are not in :func:`vocabulary_texts`."""
    prompts = [FEELING.format(word=word) for name in ("paper", "affect") for word in WORD_LISTS[name]]
    known = {*vocabulary_texts()}
    return list(dict.fromkeys([*prompts, *(word for word in WORD_LISTS["content"] if word not in known)]))


def known_texts() -> Sequence[str]:
    """List the words, without prompts, that the table holds."""
    words: Sequence[str] = _about()["words"]
    return words


def known_embeddings(spec: FeatureSpec) -> Mapping[str, Tensor]:
    """Return the rows of texts by an encoder with that spec, float32; none if the table is of another."""
    own = _about()["spec"]
    return _rows() if (own["name"], own["checkpoint"]) == (spec.name, spec.checkpoint) else {}


def lazy_encoder(load: Callable[[], Encoder]) -> Encoder:
    """Return the encoder of the table, which `load` returns; its files are opened only for what the table lacks."""
    return cast("Encoder", LazyEncoder(FeatureSpec.from_dict(_about()["spec"]), load))


def write_table(path: Path, words: Sequence[str], prompts: Sequence[str]) -> None:
    """Embed words and prompts, and write them to a file."""
    import numpy as np

    from emoclim.encoders.loading import load_encoder
    from emoclim.encoders.text_encoder import WORD_TOKENS, embed_anew

    encoder = load_encoder(ENCODER, length=WORD_TOKENS)
    rows = embed_anew(encoder, [*words, *prompts]).numpy().astype(np.float16)
    about = {"spec": encoder.spec.to_dict(), "words": list(words), "prompts": list(prompts)}
    np.savez_compressed(path, rows=rows, about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8))


@cache
def _about() -> dict[str, Any]:
    import numpy as np

    with np.load(TABLE) as file:
        found: dict[str, Any] = json.loads(file["about"].tobytes())
        return found


@cache
def _rows() -> dict[str, Tensor]:
    import numpy as np
    import torch

    with np.load(TABLE) as file:
        rows = torch.from_numpy(file["rows"].astype(np.float32))
    return dict(zip([*_about()["words"], *_about()["prompts"]], rows, strict=True))


if __name__ == "__main__":
    write_table(TABLE, vocabulary_texts(), prompt_texts())
