"""Combine the vectors of words; the network of the encoder of that name."""

from torch import Tensor, nn

N_MARKS = 2  # ids that are no word's: what fills a row up, and words without a vector


class WordVectors(nn.Module):
    """Ids of words ``(B, length)``, the first that is one being 2, to the mean or sum of their vectors ``(B, D)``."""

    def __init__(self, vectors: Tensor, combine: str) -> None:
        super().__init__()
        # (N, D); never trained: its words are the rows of a file, which a checkpoint of training would not hold
        self.vectors = nn.Parameter(vectors, requires_grad=False)
        self.combine = combine

    def forward(self, ids: Tensor) -> Tensor:
        """See the class; a row without a word is zeros."""
        is_word = ids >= N_MARKS
        found = self.vectors[(ids - N_MARKS).clamp(min=0)] * is_word[..., None]
        total = found.sum(dim=1)
        return total if self.combine == "sum" else total / is_word.sum(dim=1, keepdim=True).clamp(min=1)
