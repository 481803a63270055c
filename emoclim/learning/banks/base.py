"""Map rows of an input by K heads at once: banks of projection heads, linear maps and identities.

Conventions: every parameter and statistic leads with K. A bank works on columns, ``(K, H, N)``, so that batch
normalisation sees K * H channels of N values and no axis is moved. Hidden and embedding widths are filled up to a
multiple of 16 by units that are always 0: each head's part of every matrix then begins on a cache line, and on the CPU
head k of a bank is computed bit for bit as if it were alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, normalize, pad
from typing_extensions import override

from emoclim.errors import name_some

CACHE_LINE = 16  # float32 values


class Bank(nn.Module):
    """Map rows of one input by each of K heads: to hidden columns ``(K, H, N)``, and those to ``(K, N, E)``.

    By itself it returns the rows; the tensors of one with tensors lead with K, and its constructor takes them by name.
    """

    n_heads: int
    dim: int  # D of the input; of a bank that shares a hidden layer, H
    embedding_dim: int

    def hide(self, rows: Tensor, generator: torch.Generator | None, products: torch.dtype | None) -> Tensor:
        """Compute hidden columns ``(K, H, N)`` of rows ``(N, D)`` or ``(K, N, D)``; here the rows themselves."""
        return rows.mT.expand(self.n_heads, self.dim, rows.shape[-2])

    def project(self, hidden: Tensor, products: torch.dtype | None) -> Tensor:
        """Compute outputs ``(K, N, E)`` of hidden columns; here the columns themselves."""
        return hidden.mT

    def about(self) -> dict[str, Any]:
        """Return what :meth:`from_state` needs beside the tensors, as plain values."""
        return {}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], **about: Any) -> Self:
        """Build a bank round the tensors of a state dict, which it takes over; wrong ones raise an error."""
        return cls(**state, **about)

    def select(self, numbers: Sequence[int]) -> Self:
        """Select heads, in that order."""
        state = {name: tensor[list(numbers)] for name, tensor in self.state_dict().items()}
        return type(self).from_state(state, **self.about())


class TrainedBank(Bank):
    """A bank of tensors that are trained, with a linear layer at its end if it adds one."""

    def _filled(self, state: Mapping[str, Tensor]) -> Self:
        own = self.state_dict()
        if other := own.keys() ^ state.keys():
            raise ValueError(f"a bank lacks, or has beyond what it should: {name_some(sorted(other))}")
        for name, tensor in state.items():
            if tensor.shape != own[name].shape:
                raise ValueError(f"{name} of a bank has the shape {tuple(tensor.shape)}, not {tuple(own[name].shape)}")
        self.load_state_dict(state, assign=True)
        return self

    def _add_output(self, hidden_dim: int, generator: torch.Generator) -> None:
        self.out_weight = initial((self.n_heads, self.embedding_dim, hidden_dim), hidden_dim, generator)
        self.out_bias = initial((self.n_heads, self.embedding_dim), hidden_dim, generator)

    @override
    def project(self, hidden: Tensor, products: torch.dtype | None) -> Tensor:
        return affine(self.out_weight, self.out_bias, hidden, products).mT[..., : self.embedding_dim]

    @override
    def about(self) -> dict[str, Any]:
        return {"embedding_dim": self.embedding_dim}


class OutputBank(TrainedBank):
    """The last, linear layer of K heads, on the hidden layer of another bank.

    All heads begin with the same values, uniform within ``1 / sqrt(fan in)`` as PyTorch's own linear layer.
    """

    def __init__(self, n_heads: int, dim: int, embedding_dim: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.n_heads, self.dim, self.embedding_dim = n_heads, dim, embedding_dim
        self.hidden_dim = whole_lines(dim)  # of the columns that it takes
        self._add_output(dim, generator)

    @classmethod
    @override
    def from_state(cls, state: Mapping[str, Tensor], **about: Any) -> Self:
        n_heads, _, dim = state["out_weight"].shape
        with torch.device("meta"):  # a file may say that it is of any size
            bank = cls(n_heads, dim, about["embedding_dim"], generator=torch.Generator())
        return bank._filled(state)


class HiddenBank(TrainedBank):
    """A hidden layer of K heads on hidden columns: Linear, BatchNorm, ReLU, Dropout; several inputs may go through it.

    All heads begin with the same values and drop the same hidden units.
    """

    running_mean: Tensor  # (K, H)
    running_var: Tensor  # (K, H), unbiased

    def __init__(
        self, n_heads: int, dim: int, hidden_dim: int, *, dropout: float, generator: torch.Generator, widths: int = 2
    ) -> None:
        super().__init__()
        self.n_heads, self.dim, self.dropout = n_heads, dim, dropout
        self.hidden_weight = initial((n_heads, hidden_dim, dim), dim, generator, widths=widths)
        self.hidden_bias = initial((n_heads, hidden_dim), dim, generator)
        self.hidden_dim = self.embedding_dim = self.hidden_bias.shape[1]
        self.norm_weight = nn.Parameter(torch.ones(n_heads, self.hidden_dim))
        self.norm_bias = nn.Parameter(torch.zeros(n_heads, self.hidden_dim))
        self.register_buffer("running_mean", torch.zeros(n_heads, self.hidden_dim))
        self.register_buffer("running_var", torch.ones(n_heads, self.hidden_dim))

    @classmethod
    @override
    def from_state(cls, state: Mapping[str, Tensor], **about: Any) -> Self:
        n_heads, hidden_dim, dim = state["hidden_weight"].shape
        with torch.device("meta"):  # a file may say that it is of any size
            return cls(n_heads, dim, hidden_dim, generator=torch.Generator(), **about)._filled(state)

    @override
    def about(self) -> dict[str, Any]:
        return {"dropout": self.dropout}

    def deepen(self, columns: Tensor, generator: torch.Generator | None, products: torch.dtype | None) -> Tensor:
        """Compute hidden columns ``(K, H, N)`` of columns ``(K, D, N)``, normalising each channel by itself."""
        hidden = affine(self.hidden_weight, self.hidden_bias, columns, products)
        tables = self.running_mean, self.running_var, self.norm_weight, self.norm_bias
        mean, var, weight, bias = (table.view(-1) for table in tables)
        channels = hidden.reshape(1, -1, hidden.shape[-1])
        hidden = batch_norm(channels, mean, var, weight, bias, training=self.training).view_as(hidden).relu()
        if not self.training or self.dropout == 0:
            return hidden
        if generator is None:
            raise ValueError("a bank of heads that trains with dropout needs a generator to draw its mask from")
        drawn = torch.rand(hidden.shape[-1], self.hidden_dim, generator=generator, device=generator.device)
        kept = (drawn >= self.dropout).to(hidden) / (1 - self.dropout)
        return hidden * kept.mT


class HeadBank(HiddenBank):
    """K projection heads: Linear, BatchNorm, ReLU, Dropout, Linear, each on the L2-normalised feature.

    All heads begin with the same values and drop the same hidden units.

    Parameters
    ----------
    n_heads, dim, hidden_dim, embedding_dim
        K, D, H and E.
    dropout
        Probability of dropping a hidden unit while training.
    generator
        Draws the initial values, uniform within ``1 / sqrt(fan in)`` as PyTorch's own linear layer.

    Notes
    -----
    S. Stewart et al., "Emotion-Aligned Contrastive Learning Between Images and Music", ICASSP 2024, section 3.2.

    Examples
    --------
    >>> bank = HeadBank(3, 24, 16, 8, dropout=0.5, generator=torch.Generator().manual_seed(0)).eval()
    >>> bank(torch.ones(5, 24)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(
        self, n_heads: int, dim: int, hidden_dim: int, embedding_dim: int, *, dropout: float, generator: torch.Generator
    ) -> None:
        super().__init__(n_heads, dim, hidden_dim, dropout=dropout, generator=generator, widths=1)
        self.embedding_dim = embedding_dim
        self._add_output(hidden_dim, generator)

    @override
    def about(self) -> dict[str, Any]:
        return {"embedding_dim": self.embedding_dim, "dropout": self.dropout}

    def forward(
        self, features: Tensor, generator: torch.Generator | None = None, *, products: torch.dtype | None = None
    ) -> Tensor:
        """Embed rows ``(N, D)`` or ``(K, N, D)`` with each head: unit rows ``(K, N, E)``; see :meth:`Banks.forward`."""
        return normalize(self.project(self.hide(features, generator, products), products), dim=-1)

    @override
    def hide(self, rows: Tensor, generator: torch.Generator | None, products: torch.dtype | None) -> Tensor:
        return self.deepen(super().hide(normalize(rows, dim=-1), None, None), generator, products)


class LinearBank(Bank):
    """K linear maps of features as they are, such as a closed form gives."""

    weight: Tensor  # (K, E, D)
    bias: Tensor  # (K, E)

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.n_heads, self.embedding_dim, self.dim = weight.shape
        if bias.shape != weight.shape[:2]:
            raise ValueError(f"a bias of {tuple(bias.shape)} does not belong to weights of {tuple(weight.shape)}")
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    @override
    def project(self, hidden: Tensor, products: torch.dtype | None) -> Tensor:
        full = whole_lines(self.embedding_dim)
        weight = filled(self.weight, (self.n_heads, full, hidden.shape[1]))
        bias = filled(self.bias, (self.n_heads, full))
        return affine(weight, bias, hidden, products).mT[..., : self.embedding_dim]


class IdentityBank(Bank):
    """K heads without parameters, whose outputs are the features themselves."""

    def __init__(self, n_heads: int, dim: int) -> None:
        super().__init__()
        self.n_heads, self.dim, self.embedding_dim = n_heads, dim, dim

    @override
    def about(self) -> dict[str, Any]:
        return {"n_heads": self.n_heads, "dim": self.dim}

    @override
    def select(self, numbers: Sequence[int]) -> Self:
        return type(self)(len(numbers), self.dim)


def whole_lines(size: int) -> int:
    """Round a number of float32 values up to whole cache lines."""
    return size + -size % CACHE_LINE


def filled(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Pad a tensor with zeros up to a shape."""
    missing = [new - size for size, new in zip(tensor.shape, shape, strict=True)]
    return pad(tensor, [extent for more in reversed(missing) for extent in (0, more)])


def affine(weight: Tensor, bias: Tensor, columns: Tensor, products: torch.dtype | None) -> Tensor:
    """`weight` ``(K, O, I)`` times `columns` ``(K, I, N)`` plus `bias` ``(K, O)``: ``(K, O, N)`` of the bias's type."""
    if products is None:
        return torch.baddbmm(bias[:, :, None], weight, columns)
    return torch.bmm(weight.to(products), columns.to(products)).to(bias) + bias[:, :, None]


def initial(shape: tuple[int, ...], fan_in: int, generator: torch.Generator, *, widths: int = 2) -> nn.Parameter:
    """Draw values uniform within ``1 / sqrt(fan_in)``, repeated along axis 0; so many axes are padded."""
    one = torch.empty(shape[1:]).uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
    full = [whole_lines(size) if axis < widths else size for axis, size in enumerate(one.shape)]
    return nn.Parameter(filled(one, full).expand(shape[0], *full).clone())
