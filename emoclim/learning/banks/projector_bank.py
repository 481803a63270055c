"""K projectors: two linear layers, as contrastive learning puts them on an encoder for as long as that is trained."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor
from typing_extensions import override

from emoclim.learning.banks.base import TrainedBank, initial


class ProjectorBank(TrainedBank):
    """Map the feature as it is: Linear, ReLU, Linear, without biases. All K begin with the same values.

    Notes
    -----
    T. Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020, section 2.1.
    """

    def __init__(
        self, n_heads: int, dim: int, hidden_dim: int, embedding_dim: int, *, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.n_heads, self.dim, self.embedding_dim = n_heads, dim, embedding_dim
        self.hidden_weight = initial((n_heads, hidden_dim, dim), dim, generator, widths=1)
        self.hidden_dim = self.hidden_weight.shape[1]
        self.out_weight = initial((n_heads, embedding_dim, hidden_dim), hidden_dim, generator)

    @classmethod
    @override
    def from_state(cls, state: Mapping[str, Tensor], **about: Any) -> Self:
        n_heads, hidden_dim, dim = state["hidden_weight"].shape
        with torch.device("meta"):  # a file may say that it is of any size
            bank = cls(n_heads, dim, hidden_dim, about["embedding_dim"], generator=torch.Generator())
        return bank._filled(state)

    @override
    def hide(self, rows: Tensor, generator: torch.Generator | None, products: torch.dtype | None) -> Tensor:
        return _multiplied(self.hidden_weight, super().hide(rows, None, None), products).relu()

    @override
    def project(self, hidden: Tensor, products: torch.dtype | None) -> Tensor:
        return _multiplied(self.out_weight, hidden, products).mT[..., : self.embedding_dim]


def _multiplied(weight: Tensor, columns: Tensor, products: torch.dtype | None) -> Tensor:
    """`weight` ``(K, O, I)`` times `columns` ``(K, I, N)``: ``(K, O, N)`` of the weight's type."""
    kind = products or weight.dtype
    return torch.bmm(weight.to(kind), columns.to(kind)).to(weight)
