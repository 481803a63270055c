"""What items are of, in the space of one text encoder; nothing is trained."""

from collections.abc import Mapping

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import normalize
from typing_extensions import override

from emoclim import config
from emoclim.data import Features, FeatureSpec
from emoclim.encoders import Encoder, vocabulary_of, word_encoder
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
    unit_embeddings,
)
from emoclim.modality import WRITTEN, Modality

LEAST = 1e-5  # length of a point that is elsewhere than the centre; below it are errors of rounding


class Content(WordObjective):
    """Items are compared by what they are of, in the space of one text encoder; nothing is trained.

    References
    ----------
    M. Norouzi et al., "Zero-shot learning by convex combination of semantic embeddings", ICLR 2014; across two
    modalities, and centred, it is our own.

    Inputs
    ------
    ==============  ==============  ==================================================================
    features        ``(N, D)``      of each modality, by an encoder with a text tower or a vocabulary
    outputs         ``(K, N, T)``   points in the space of the text encoder, centred
    ==============  ==============  ==================================================================

    Relations
    ---------
    ``words`` compares by emotions, this by all else that words say; ``emoclim search --mix`` weighs the two.

    Notes
    -----
    An item is the mean of the unit embeddings of words, weighted by their probabilities, at unit length: words of its
    encoder's vocabulary, or of a list, by the softmax of its cosines with prompts. A text is its own embedding. From
    all points of a modality their mean is taken, which else would be most of each; two points compare by cosine.

    Examples
    --------
    >>> objective = Content(("image",), [Content.Settings()])
    >>> objective.vectors("image", {"image": torch.tensor([[[3.0, 4.0]]])})[0]
    tensor([[[0.6000, 0.8000]]])
    """

    class Settings(config.Settings):
        """Of the points."""

        temperature: float = Field(
            default=0.01, gt=0, description="Of the softmax over cosines with prompts, where there is a text tower"
        )
        words: WordList = Field(
            default="content",
            validate_default=True,
            description="Words for features with a text tower: content, a file with one a line, or several with commas",
        )
        templates: Templates = Field(
            default="{medium} of {word}",
            validate_default=True,
            description="Prompts for a word, with bars between: {word} is it, {medium} what is compared, as image",
        )
        encoder: str = Field(default="minilm", description="Text encoder in whose space items are compared")

    @override
    def bank_of(self, spec: FeatureSpec, features: Features | None = None) -> DirectionBank:
        encoder = word_encoder(self.choice("encoder"))
        at_home = spec.modality == WRITTEN and (spec.name, spec.checkpoint) == (
            encoder.spec.name,
            encoder.spec.checkpoint,
        )
        if at_home or vocabulary_of(spec):
            bank = repeated(bank_of_words(torch.eye(encoder.spec.dim), spec, encoder), len(self.settings))
        else:
            bank = self._by_prompts(spec, encoder)
        bank.bias = -outputs_of(bank, encoder, features).mean(dim=1).float()
        return bank

    @override
    def vectors(self, modality: Modality, outputs: Mapping[str, Tensor]) -> tuple[Tensor, Metric]:
        points = outputs[modality]
        return normalize(points, dim=-1) * (points.norm(dim=-1, keepdim=True) > LEAST), "ip"

    def _by_prompts(self, spec: FeatureSpec, encoder: Encoder) -> DirectionBank:
        """Make the bank of features that a text tower lies beside."""
        words = self.choice("words")
        prompts = prompt_directions(tower_of(spec, self.name), words, self.choice("templates"), spec.modality)
        read = prompts / self.number("temperature").to(prompts)[:, None, None]  # (K, W, D)
        table = unit_embeddings(encoder, words).T.expand(len(read), -1, -1).clone()
        weight = torch.eye(encoder.spec.dim).expand(len(read), -1, -1).clone()
        bias = weight.new_zeros(weight.shape[:2])
        return DirectionBank(weight, bias, table, read, read.new_zeros(read.shape[:2]), "softmax", unit=True)
