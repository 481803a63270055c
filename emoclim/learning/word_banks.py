"""Make banks that read features by words, and the words and prompts that settings name.

Used by the objectives that compare by words. Invariant: nothing here knows labels.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor
from torch.nn.functional import normalize

from emoclim.data import WORD_LISTS, Features, FeatureSpec, foreign_to
from emoclim.encoders import (
    Encoder,
    background_texts,
    embed_texts,
    known_embeddings,
    readout_of,
    text_tower,
    vocabulary_of,
    wordy_encoders,
)
from emoclim.errors import ConfigError
from emoclim.learning.banks.direction_bank import DirectionBank
from emoclim.learning.branches import Banks, Branch, embed
from emoclim.modality import MODALITIES, Modality

log = logging.getLogger(__name__)

FEWEST, MOST = 2, 1000  # words: of one alone, every profile is the same; so many take a minute to embed
LONGEST_NAME = 255  # bytes of a file's name
ALIKE = 1e-3  # distance of unit embeddings
OTHER_WORDS, REPEATED = 3, 8  # words of a template that show its language, and how often it is read for that


def read_words(given: Any) -> Any:
    """Return the words of a list by its name, of a file with one a line, or of a string with commas."""
    if not isinstance(given, str):
        return given
    if given in WORD_LISTS:
        return WORD_LISTS[given]
    parts, file = given.split(","), Path(given)
    try:
        if is_file := len(file.name) <= LONGEST_NAME and file.is_file():
            parts = file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(f"it cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError("it is no text in UTF-8; write one word or phrase a line") from error
    unique: dict[str, str] = {}
    for word in filter(None, map(str.strip, parts)):
        unique.setdefault(word.casefold(), word)
    words = tuple(unique.values())
    if not FEWEST <= len(words) <= MOST:
        holds = f"the file holds {len(words)}" if is_file else f"it is no file or list, and names {len(words)}"
        raise ValueError(
            f"{holds} of {FEWEST} to {MOST} words; name {' or '.join(WORD_LISTS)}, a file with one a line, or several "
            "with commas"
        )
    return words


def read_templates(given: Any) -> Any:
    """Return templates from a string with bars, each with a place for the word."""
    templates = tuple(part.strip() for part in given.split("|")) if isinstance(given, str) else given
    for template in templates:
        try:
            filled = template.format(word="\0", medium="")
        except (KeyError, IndexError, ValueError):
            filled = ""
        if "\0" not in filled:
            raise ValueError(f"{template!r} should hold {{word}}, and no other places than it and {{medium}}")
    return templates


WordList = Annotated[tuple[str, ...], BeforeValidator(read_words), Field(strict=False)]
Templates = Annotated[tuple[str, ...], BeforeValidator(read_templates), Field(strict=False)]


def tower_of(spec: FeatureSpec, objective: str) -> Encoder:
    """Load the text tower of features that have no vocabulary."""
    if (tower := text_tower(spec)) is None:
        raise ConfigError(
            f"objective {objective} cannot read {spec.name} features: they have no text tower and no vocabulary; "
            f"extract with one of {', '.join(wordy_encoders())}"
        )
    return tower


def prompt_directions(encoder: Encoder, words: Sequence[str], templates: Sequence[str], modality: Modality) -> Tensor:
    """Embed each word, ``(W, T)``: the mean of the unit embeddings of its prompts, so that cosines are averaged."""
    medium = MODALITIES[modality].name
    prompts = [template.format(word=word, medium=medium) for word in words for template in templates]
    found = unit_embeddings(encoder, prompts).view(len(words), len(templates), -1).mean(dim=1)
    if not known_embeddings(encoder.spec).keys() >= {*prompts}:
        _tell_oddities(found, encoder, words, templates)
    return found


def _tell_oddities(directions: Tensor, encoder: Encoder, words: Sequence[str], templates: Sequence[str]) -> None:
    """Tell of words that the encoder cannot tell apart, and of those and templates that are not in its language."""
    name, language = encoder.spec.name, getattr(encoder, "language", None)
    alike = (torch.cdist(directions[None], directions[None])[0] < ALIKE).triu(1).nonzero().tolist()
    if alike:
        one, other = (words[place] for place in alike[0])
        log.warning(
            "words that are the same to %s count twice: %r and %r (%d pairs in all)", name, one, other, len(alike)
        )
    if language is None:
        return
    plain = [template.format(word="", medium="") for template in templates]
    texts = [*words, *(" ".join([one] * REPEATED) for one in plain if len(one.split()) >= OTHER_WORDS)]
    if shown := [found for text in texts if (found := foreign_to(language, text))]:
        told = "%d of the words and templates seem not to be in %s, which %s was trained on (%s); take words of it"
        log.warning(told, len(shown), language, name, shown[0])


def unit_embeddings(encoder: Encoder, texts: Sequence[str]) -> Tensor:
    """Embed texts at unit length, ``(N, T)``."""
    return normalize(embed_texts(encoder, texts), dim=1)


def bank_of_words(weight: Tensor, spec: FeatureSpec, encoder: Encoder) -> DirectionBank:
    """Make a bank (K = 1) of the products of `weight` ``(E, T)`` with the place of features in the space of words.

    That is the mean of the words of their vocabulary, weighted by probabilities, or where they lie by themselves.
    """
    weight = weight[None]
    bias = weight.new_zeros(weight.shape[:2])
    if not (vocabulary := vocabulary_of(spec)):
        return DirectionBank(weight, bias)
    table = unit_embeddings(encoder, vocabulary).T[None]
    if (read := readout_of(spec)) is None:
        return DirectionBank(weight, bias, table)
    return DirectionBank(weight, bias, table, read.weight[None], read.bias[None], read.function)


def outputs_of(bank: DirectionBank, encoder: Encoder, features: Features | None) -> Tensor:
    """Outputs ``(K, N, E)``, float64, of a library, the mean over segments of each item; or of what stands in for one.

    That is each word of a vocabulary alone, or else words as texts of `encoder`.
    """
    if features is not None:
        modality = features.spec.modality
        found = embed(Banks({modality: bank}, {modality: Branch(modality, unit=False)}), features)[modality]
    else:
        bare = DirectionBank(bank.weight, bank.bias, bank.table)
        rows = embed_texts(encoder, background_texts()) if bare.table is None else torch.eye(bare.dim)
        found = bare.project(bare.hide(rows, None, None), None)
    return found.double().cpu()


def repeated(bank: DirectionBank, n_heads: int, *, scaled: bool = False) -> DirectionBank:
    """Make K heads of one."""
    state = {name: part.expand(n_heads, *part.shape[1:]).clone() for name, part in bank.state_dict().items()}
    return DirectionBank(**state, **bank.about() | {"scaled": scaled})
