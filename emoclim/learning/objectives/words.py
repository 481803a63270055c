"""Words of emotions as the bridge between modalities; nothing is trained."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from emoclim import config
from emoclim.data import Features, FeatureSpec, Split
from emoclim.encoders import (
    Encoder,
    background_texts,
    embed_texts,
    readout_of,
    text_tower,
    vocabulary_of,
    word_encoder,
    wordy_encoders,
)
from emoclim.errors import ConfigError
from emoclim.learning.banks import Bank
from emoclim.learning.branches import Banks, Branch, embed
from emoclim.learning.direction_bank import DirectionBank
from emoclim.learning.objectives.base import Metric, Objective
from emoclim.modality import MODALITIES, Modality

LISTS: Mapping[str, Sequence[str]] = {
    # Emo-CLIM, section 4.1: the six classes that pictures and music share
    "paper": ("amusement", "anger", "contentment", "excitement", "fear", "sadness"),
    # Zentner et al., "Emotions evoked by the sound of music", Emotion 2008 (GEMS); and Russell's circumplex, 1980
    "affect": (
        *("wonder", "transcendence", "tenderness", "nostalgia", "peacefulness", "power", "joy", "tension", "sadness"),
        *("excitement", "delight", "happiness", "contentment", "serenity", "calm", "relaxation", "tiredness"),
        *("boredom", "gloom", "frustration", "anger", "fear", "alarm", "amusement"),
    ),
}
FEWEST = 2  # words: of one alone, every profile is the same


def read_words(given: Any) -> Any:
    """Return the words of a list by its name, of a file with one a line, or of a string with commas."""
    if not isinstance(given, str):
        return given
    if given in LISTS:
        return LISTS[given]
    parts = given.split(",")
    if (file := Path(given)).is_file():
        try:
            parts = file.read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise ValueError(f"it cannot be read: {error.strerror}") from error
    words = tuple(dict.fromkeys(word.strip() for word in parts if word.strip()))
    if len(words) < FEWEST:
        raise ValueError(f"it should name {' or '.join(LISTS)}, a file of words, or {FEWEST} words or more with commas")
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


class Words(Objective):
    """Items are compared by how much each of some emotion words fits them; nothing is trained.

    References
    ----------
    Prompts and their mean over templates are those of A. Radford et al., "Learning transferable visual models from
    natural language supervision", ICML 2021; classes as a bridge are those of M. Norouzi et al., "Zero-shot learning by
    convex combination of semantic embeddings", ICLR 2014. Both for emotions, and across modalities, is our own.

    Inputs
    ------
    ==============  ==============  ==================================================================
    features        ``(N, D)``      of each modality, by an encoder with a text tower or a vocabulary
    outputs         ``(K, N, W)``   how well each of W words fits, standardised over a library
    ==============  ==============  ==================================================================

    Relations
    ---------
    ``w2v_regression`` learns where labels lie among words; this takes it from the networks as they are.

    Notes
    -----
    Items of a text tower are compared with the prompts of each word by cosines. Those of a vocabulary are the means of
    the embeddings of its words, weighted by their probabilities. A profile is the softmax of the outputs, and two
    profiles p and q compare by ``sum(sqrt(p q))``, the coefficient of Bhattacharyya.

    Examples
    --------
    >>> objective = Words(("image",), [Words.Settings(temperature=0.5, words="calm,glad")])
    >>> objective.profiles({"image": torch.tensor([[[0.0, 0.5]]])}["image"])
    tensor([[[0.2689, 0.7311]]])
    """

    class Settings(config.Settings):
        """Of the profiles."""

        temperature: float = Field(
            default=1.0, gt=0, description="Of the softmax over words: profiles are even if high"
        )
        words: WordList = Field(
            default="affect",
            validate_default=True,
            description=f"Words of emotions: {' or '.join(LISTS)}, a file with one a line, or several with commas",
        )
        templates: Templates = Field(
            default="a feeling of {word}",
            validate_default=True,
            description="Prompts for a word, with bars between: {word} is it, {medium} what is compared, as image",
        )
        standardise: Literal["library", "none"] = Field(
            default="library",
            description="Whether each word is standardised over the library it is fitted to: library, or none",
        )
        encoder: str = Field(default="minilm", description="Text encoder that embeds vocabularies")

    needs: ClassVar[frozenset[str]] = frozenset()

    @override
    def branches(self, split: Split) -> Mapping[str, Branch]:
        return {modality: Branch(modality, unit=False) for modality in self.modalities}

    @override
    def fit(self, split: Split) -> Mapping[str, Bank]:
        return {name: self.bank_of(split.features[name].spec, split.features[name]) for name in self.modalities}

    @override
    def bank_of(self, spec: FeatureSpec, features: Features | None = None) -> DirectionBank:
        raw, own = self._cosines(spec)
        if self.choice("standardise") == "library":
            cosines = self._background(raw, own) if features is None else _embed(raw, features)
            mean, spread = cosines.double().cpu().mean(dim=1), cosines.double().cpu().std(dim=1, correction=0)
            spread = torch.where(spread > 0, spread, 1)
            raw.weight, raw.bias = (raw.weight / spread[..., None]).float(), (-mean / spread).float()
        n_heads = len(self.settings)
        state = {name: part.expand(n_heads, *part.shape[1:]).clone() for name, part in raw.state_dict().items()}
        return DirectionBank(**state, **raw.about())

    def profiles(self, outputs: Tensor) -> Tensor:
        """Return how much of each word is in N items, ``(K, N, W)``, which sums to 1."""
        return (outputs / self.number("temperature").to(outputs)[:, None, None]).softmax(dim=-1)

    @override
    def vectors(self, modality: Modality, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Metric]:
        return self.profiles(outputs[modality]).sqrt(), "ip"

    def _cosines(self, spec: FeatureSpec) -> tuple[DirectionBank, Encoder]:
        """Make the bank of one head whose outputs are cosines, and load what embeds words for it."""
        vocabulary = vocabulary_of(spec)
        encoder = word_encoder(self.choice("encoder")) if vocabulary else text_tower(spec)
        if encoder is None:
            raise ConfigError(
                f"objective words cannot read {spec.name} features: they have no text tower and no vocabulary; extract "
                f"with one of {', '.join(wordy_encoders())}"
            )
        weight = self._directions(encoder, spec.modality)[None]
        bias = weight.new_zeros(weight.shape[:2])
        if not vocabulary:
            return DirectionBank(weight, bias), encoder
        table = normalize(embed_texts(encoder, vocabulary), dim=1).T[None]
        if (read := readout_of(spec)) is None:
            return DirectionBank(weight, bias, table), encoder
        return DirectionBank(weight, bias, table, read.weight[None], read.bias[None], read.function), encoder

    def _background(self, raw: DirectionBank, encoder: Encoder) -> Tensor:
        """Cosines ``(1, N, W)`` of what stands in for a library: each word of a vocabulary alone, or texts of words."""
        rows = torch.eye(raw.table.shape[2]) if raw.table is not None else embed_texts(encoder, background_texts())
        bare = DirectionBank(raw.weight, raw.bias, raw.table)
        return bare.project(bare.hide(rows, None, None), None)

    def _directions(self, encoder: Encoder, modality: Modality) -> Tensor:
        """Embed each word, ``(W, T)``: the mean of the unit embeddings of its prompts, so that cosines are averaged."""
        words, templates = self.choice("words"), self.choice("templates")
        medium = MODALITIES[modality].name
        prompts = [template.format(word=word, medium=medium) for word in words for template in templates]
        return normalize(embed_texts(encoder, prompts), dim=1).view(len(words), len(templates), -1).mean(dim=1)


def _embed(bank: DirectionBank, features: Features) -> Tensor:
    """Outputs ``(1, N, W)`` of items, the mean over their segments."""
    modality = features.spec.modality
    return embed(Banks({modality: bank}, {modality: Branch(modality, unit=False)}), features)[modality]
