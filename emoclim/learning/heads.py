"""Projection heads: K of them as one module, bound to the features they were trained on, and the file they are kept in.

Conventions: every parameter and statistic leads with K; embeddings have unit rows. A bank works on columns, ``(K, H,
N)``, so that batch normalisation sees K * H channels of N values and no axis is moved. On the CPU head k of a bank is
computed bit for bit as if it were alone if each head's part of every matrix begins on a cache line: hidden and
embedding width multiples of 16, batch size of 4. Otherwise matrix products may differ in their last bits, which
training amplifies.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, normalize, pad

from emoclim.data import Features, FeatureSpec
from emoclim.encoders import zero_denormals
from emoclim.errors import CacheMismatch, ConfigError, RunError
from emoclim.modality import Modality

Average = Literal["embeddings", "features"]

FORMAT = 1  # of the file of heads
ROWS_PER_BLOCK = 256  # embedded at once


class HeadBank(nn.Module):
    """K projection heads: Linear, BatchNorm, ReLU, Dropout, Linear, L2, each on the L2-normalised feature.

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
    """

    running_mean: Tensor  # (K, H)
    running_var: Tensor  # (K, H), unbiased

    def __init__(
        self, n_heads: int, dim: int, hidden_dim: int, embedding_dim: int, *, dropout: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.n_heads, self.dim, self.hidden_dim, self.embedding_dim = n_heads, dim, hidden_dim, embedding_dim
        self.dropout = dropout
        self.hidden_weight = _initial((n_heads, hidden_dim, dim), dim, generator)
        self.hidden_bias = _initial((n_heads, hidden_dim), dim, generator)
        self.norm_weight = nn.Parameter(torch.ones(n_heads, hidden_dim))
        self.norm_bias = nn.Parameter(torch.zeros(n_heads, hidden_dim))
        self.out_weight = _initial((n_heads, embedding_dim, hidden_dim), hidden_dim, generator)
        self.out_bias = _initial((n_heads, embedding_dim), hidden_dim, generator)
        self.register_buffer("running_mean", torch.zeros(n_heads, hidden_dim))
        self.register_buffer("running_var", torch.ones(n_heads, hidden_dim))

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor], dropout: float) -> "HeadBank":
        """Build a bank round the tensors of a state dict, which it takes over; a wrong one raises ``RuntimeError``."""
        n_heads, hidden_dim, dim = state["hidden_weight"].shape
        sizes = n_heads, dim, hidden_dim, state["out_bias"].shape[1]
        bank = cls(*sizes, dropout=dropout, generator=torch.Generator())
        bank.load_state_dict(state, assign=True)
        return bank

    def forward(
        self, features: Tensor, generator: torch.Generator | None = None, *, products: torch.dtype | None = None
    ) -> Tensor:
        """Embed N rows with each head.

        Parameters
        ----------
        features
            ``(N, D)``, the same for all heads, or ``(K, N, D)``; at least two rows while training.
        generator
            Draws the dropout mask ``(N, H)`` while training.
        products
            ``torch.bfloat16`` computes the matrix products so, forwards and backwards; None in full. All else, the
            parameters and what they gather, stays as it is.

        Returns
        -------
        Tensor
            ``(K, N, E)``, unit rows.

        Raises
        ------
        ValueError
            The bank is training with dropout and there is no generator, or with a single row.
        """
        n_rows = features.shape[-2]
        columns = normalize(features, dim=-1).mT.expand(self.n_heads, self.dim, n_rows)
        hidden = _affine(self.hidden_weight, self.hidden_bias, columns, products)  # (K, H, N)
        hidden = self._batch_norm(hidden).relu()
        if self.training and self.dropout > 0:
            if generator is None:
                raise ValueError("a bank of heads that trains with dropout needs a generator to draw its mask from")
            drawn = torch.rand(n_rows, self.hidden_dim, generator=generator, device=generator.device)
            kept = (drawn >= self.dropout).to(hidden) / (1 - self.dropout)
            hidden = hidden * kept.mT
        embedded = _affine(self.out_weight, self.out_bias, hidden, products)  # (K, E, N)
        return normalize(embedded.mT, dim=-1)

    def _batch_norm(self, hidden: Tensor) -> Tensor:
        """Normalise each of the K * H channels by itself, ``(K, H, N)`` to ``(K, H, N)``."""
        return batch_norm(
            hidden.reshape(1, -1, hidden.shape[-1]),
            self.running_mean.view(-1),
            self.running_var.view(-1),
            self.norm_weight.view(-1),
            self.norm_bias.view(-1),
            training=self.training,
        ).view_as(hidden)


def _affine(weight: Tensor, bias: Tensor, columns: Tensor, products: torch.dtype | None) -> Tensor:
    """`weight` ``(K, O, I)`` times `columns` ``(K, I, N)`` plus `bias` ``(K, O)``: ``(K, O, N)`` of the bias's type."""
    if products is None:
        return torch.baddbmm(bias[:, :, None], weight, columns)
    return torch.bmm(weight.to(products), columns.to(products)).to(bias) + bias[:, :, None]


def _initial(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> nn.Parameter:
    """Uniform within ``1 / sqrt(fan_in)``, drawn once and repeated along axis 0."""
    one = torch.empty(shape[1:]).uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
    return nn.Parameter(one.expand(shape).clone())


@dataclass(frozen=True, slots=True)
class Heads:
    """Trained heads: one bank per modality, each bound to the features it was trained on.

    Attributes
    ----------
    banks
        Banks of K heads by modality; head k of one belongs to head k of the other.
    specs
        What each bank takes.

    Raises
    ------
    RunError
        Banks and specs do not fit each other.
    """

    banks: Mapping[Modality, HeadBank]
    specs: Mapping[Modality, FeatureSpec]

    def __post_init__(self) -> None:
        if self.banks.keys() != self.specs.keys() or len({bank.n_heads for bank in self.banks.values()}) != 1:
            raise RunError("banks of heads need one spec each and the same number of heads")
        for modality, bank in self.banks.items():
            if bank.dim != self.specs[modality].dim:
                raise RunError(f"the {modality} heads take {bank.dim} values, not {self.specs[modality].dim}")

    @property
    def n_heads(self) -> int:
        """K."""
        return next(iter(self.banks.values())).n_heads

    def embed(self, features: Features, *, average: Average = "embeddings") -> Tensor:
        """Embed N items with each head, on the device where their features lie.

        Parameters
        ----------
        features
            Of one modality.
        average
            ``"embeddings"``: mean of the unit embeddings of an item's segments, as in the papers; not normalised again.
            ``"features"``: embedding of the item's value; also for items without windows.

        Returns
        -------
        Tensor
            ``(K, N, E)``, without gradient; an item's row does not depend on the other items.

        Raises
        ------
        CacheMismatch
            The heads were trained on other features.
        ConfigError
            No such average.
        """
        modality = features.spec.modality
        if modality not in self.banks:
            raise CacheMismatch(f"there are no heads for {modality} features; these take {' and '.join(self.banks)}")
        self.specs[modality].require(features.spec, f"the training set of the {modality} heads")
        if average not in get_args(Average):
            raise ConfigError(f"average = {average!r} is not possible; it must be {' or '.join(get_args(Average))}")
        bank = copy.deepcopy(self.banks[modality]).to(features.values.device).eval()
        with torch.no_grad():
            windows = None if average == "features" else features.windows
            if windows is None:
                return _embed_rows(bank, features.values)
            segments, offsets, _ = windows
            return _embed_segments(bank, features.values, segments, offsets)

    def select(self, *numbers: int) -> "Heads":
        """Some heads of each bank, in that order; a number that is none raises :class:`RunError`."""
        if wrong := [k for k in numbers if not 0 <= k < self.n_heads]:
            raise RunError(f"there is no head {wrong[0]}; these are numbered from 0 to {self.n_heads - 1}")
        banks = {
            modality: HeadBank.from_state(
                {name: tensor[list(numbers)] for name, tensor in bank.state_dict().items()}, bank.dropout
            )
            for modality, bank in self.banks.items()
        }
        return Heads(banks, self.specs)


def stack_heads(parts: Sequence[Heads]) -> Heads:
    """All heads of several in one, in order; for embedding, no longer for training.

    Narrower heads are filled up with hidden units and embedding entries that are always 0, which changes no product of
    embeddings.

    Raises
    ------
    CacheMismatch
        They were trained on different features.
    """
    first = parts[0]
    for part in parts[1:]:
        for modality, spec in first.specs.items():
            spec.require(part.specs[modality], f"the training set of the {modality} heads")
    banks = {modality: _stack_banks([part.banks[modality] for part in parts]) for modality in first.banks}
    return Heads(banks, first.specs)


def _stack_banks(banks: Sequence[HeadBank]) -> HeadBank:
    hidden, embedding = max(bank.hidden_dim for bank in banks), max(bank.embedding_dim for bank in banks)
    states = []
    for bank in banks:
        more = (0, hidden - bank.hidden_dim)
        state = bank.state_dict()
        filled = {name: pad(state[name], more) for name in ("hidden_bias", "norm_weight", "norm_bias", "running_mean")}
        states.append(
            filled
            | {
                "hidden_weight": pad(state["hidden_weight"], (0, 0, *more)),
                "running_var": pad(state["running_var"], more, value=1.0),
                "out_weight": pad(state["out_weight"], (*more, 0, embedding - bank.embedding_dim)),
                "out_bias": pad(state["out_bias"], (0, embedding - bank.embedding_dim)),
            }
        )
    together = {name: torch.cat([state[name] for state in states]) for name in states[0]}
    return HeadBank.from_state(together, banks[0].dropout)


def _embed_block(bank: HeadBank, rows: Tensor) -> Tensor:
    """Embed at most one block of rows at full size: a row's bits must not depend on how many lie beside it."""
    return cast(Tensor, bank(pad(rows, (0, 0, 0, ROWS_PER_BLOCK - len(rows)))))[:, : len(rows)]


def _embed_rows(bank: HeadBank, rows: Tensor) -> Tensor:
    """``(N, D)`` to ``(K, N, E)``."""
    return torch.cat([_embed_block(bank, block) for block in torch.split(rows, ROWS_PER_BLOCK)], dim=1)


def _embed_segments(bank: HeadBank, values: Tensor, segments: Tensor, offsets: Tensor) -> Tensor:
    """Mean embedding of each item's segments, or the embedding of its value where it has none: ``(K, N, E)``."""
    counts = offsets.diff()  # (N,)
    owner = torch.arange(len(counts)).repeat_interleave(counts).to(segments.device)  # (R,)
    total = segments.new_zeros(bank.n_heads, len(counts), bank.embedding_dim)
    for rows, items in zip(*(torch.split(table, ROWS_PER_BLOCK) for table in (segments, owner)), strict=True):
        total.index_add_(1, items, _embed_block(bank, rows))
    mean = total / counts.clamp(min=1).to(total)[:, None]
    bare = (counts == 0).nonzero()[:, 0].to(values.device)
    mean[:, bare] = _embed_rows(bank, values[bare])
    return mean


def save_heads(heads: Heads, path: Path) -> None:
    """Write heads to one safetensors file; the same heads give the same bytes.

    Tensors are called ``<modality>.<parameter>``; specs and dropout stand as JSON in the file's metadata.
    """
    tensors = {
        f"{modality}.{name}": tensor.cpu().contiguous()
        for modality, bank in heads.banks.items()
        for name, tensor in bank.state_dict().items()
    }
    banks = {
        modality: {"spec": heads.specs[modality].to_dict(), "dropout": bank.dropout}
        for modality, bank in heads.banks.items()
    }
    about = json.dumps({"format": FORMAT, "banks": banks})
    aside = path.with_name(f"{path.name}.partial")
    aside.write_bytes(safetensors.torch.save(tensors, metadata={"emoclim": about}))
    aside.replace(path)


def load_heads(path: Path) -> Heads:
    """Read what :func:`save_heads` wrote; a file that is none raises :class:`RunError`."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["emoclim"])
        if about["format"] != FORMAT:
            raise RunError(f"{path} is of format {about['format']}, not {FORMAT}; train again")
        states: dict[Modality, dict[str, Tensor]] = {modality: {} for modality in about["banks"]}
        tensors = safetensors.torch.load_file(path)
        zero_denormals(tensors.values())
        for name, tensor in tensors.items():
            modality, _, parameter = name.partition(".")
            states[cast(Modality, modality)][parameter] = tensor
        banks = {
            modality: HeadBank.from_state(state, about["banks"][modality]["dropout"])
            for modality, state in states.items()
        }
        specs = {modality: FeatureSpec.from_dict(about["banks"][modality]["spec"]) for modality in states}
    except (OSError, safetensors.SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"{path} is no file of heads ({error}); name one that train-heads wrote") from error
    return Heads(banks, specs)
