"""Words of emotions as the bridge between modalities; nothing is trained."""

import logging
from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor
from typing_extensions import override

from emoclim import config
from emoclim.data import FEELING, Features, FeatureSpec
from emoclim.encoders import vocabulary_of, word_encoder
from emoclim.learning.banks.direction_bank import DirectionBank
from emoclim.learning.objectives.base import Metric
from emoclim.learning.objectives.wording import WordObjective
from emoclim.learning.word_banks import (
    Templates,
    WordList,
    bank_of_words,
    outputs_of,
    prompt_directions,
    repeated,
    tower_of,
)
from emoclim.modality import MODALITIES, Modality

log = logging.getLogger(__name__)

LEAST = 1e-6  # spread of cosines of items that are not all the same


class Words(WordObjective):
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
            default=0.5, gt=0, description="Of the softmax over words: profiles are even if high"
        )
        words: WordList = Field(
            default="affect",
            validate_default=True,
            description="Words of emotions: paper or affect, a file with one a line, or several with commas",
        )
        templates: Templates = Field(
            default=FEELING,
            validate_default=True,
            description="Prompts for a word, with bars between: {word} is it, {medium} what is compared, as image",
        )
        standardise: Literal["library", "none"] = Field(
            default="library",
            description="Whether each word is standardised over the library it is fitted to: library, or none",
        )
        encoder: str = Field(default="minilm", description="Text encoder that embeds vocabularies")

    @override
    def bank_of(self, spec: FeatureSpec, features: Features | None = None) -> DirectionBank:
        vocabulary = vocabulary_of(spec)
        encoder = word_encoder(self.choice("encoder")) if vocabulary else tower_of(spec, self.name)
        directions = prompt_directions(encoder, self.choice("words"), self.choice("templates"), spec.modality)
        raw = bank_of_words(directions, spec, encoder)
        if self.choice("standardise") == "none":
            return repeated(raw, len(self.settings))
        cosines = outputs_of(raw, encoder, features)  # (1, N, W)
        if features is not None and (cosines.std(dim=1, correction=0) < LEAST).all():
            told = "the %s library has no two items that differ in these words: they are standardised as without it"
            log.warning(told, MODALITIES[spec.modality].name)
            features, cosines = None, outputs_of(raw, encoder, None)
        mean, spread = cosines.mean(dim=1), cosines.std(dim=1, correction=0)
        spread = torch.where(spread < LEAST, 1, spread)
        raw.weight, raw.bias = (raw.weight / spread[..., None]).float(), (-mean / spread).float()
        # What stands in for a library may spread more or less than items do, and profiles with it
        return repeated(raw, len(self.settings), scaled=features is None)

    def profiles(self, outputs: Tensor) -> Tensor:
        """Return how much of each word is in N items, ``(K, N, W)``, which sums to 1."""
        count = torch.tensor([len(cast(Words.Settings, one).words) for one in self.settings], device=outputs.device)
        beyond = torch.arange(outputs.shape[-1], device=outputs.device) >= count[:, None]  # of heads with longer lists
        powers = outputs / self.number("temperature").to(outputs)[:, None, None]
        return powers.masked_fill(beyond[:, None], -torch.inf).softmax(dim=-1)

    @override
    def dimension_names(self, specs: Mapping[Modality, FeatureSpec]) -> Sequence[str]:
        return cast(Sequence[str], self.choice("words"))

    @override
    def vectors(self, modality: Modality, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Metric]:
        return self.profiles(outputs[modality]).sqrt(), "ip"
