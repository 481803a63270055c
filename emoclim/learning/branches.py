"""Define branches, from inputs to what an objective compares, build their banks of heads, and embed features by these.

Used by objectives, the learner and trained heads. Invariant: branches that share a layer use its weights and
statistics, and compute it once for each input.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, pad

from emoclim.config import Average, TrainConfig
from emoclim.data import Features
from emoclim.errors import ConfigError
from emoclim.learning.banks.base import (
    Bank,
    HeadBank,
    HiddenBank,
    IdentityBank,
    LinearBank,
    OutputBank,
    filled,
    whole_lines,
)
from emoclim.learning.banks.direction_bank import DirectionBank
from emoclim.learning.banks.projector_bank import ProjectorBank

ROWS_PER_BLOCK = 256  # embedded at once
LABELS = "labels"  # input of a branch that takes the table of label vectors


@dataclass(frozen=True, slots=True)
class Branch:
    """One way from an input to an output that an objective compares."""

    input: str  # a modality, or LABELS
    width: int | None = None  # E; None takes that of the settings of training
    shares: str | None = None  # name of the branch whose hidden layer, weights and statistics it uses
    unit: bool = True  # whether outputs are brought to unit length
    # Names of further hidden layers, one after the other: those of one name are one layer for branches of any input.
    through: tuple[str, ...] = ()
    output_of: str | None = None  # name of the branch whose output layer it uses, where it shares a hidden layer too
    projector: bool = False  # whether it has two linear layers and nothing else
    bare: bool = False  # whether it has no layer, so that its outputs are its inputs


KINDS: Mapping[str, type[Bank]] = {
    kind.__name__: kind
    for kind in (HeadBank, HiddenBank, OutputBank, ProjectorBank, LinearBank, DirectionBank, IdentityBank)
}


class Banks(nn.ModuleDict):
    """The banks of K heads by the name of their branch, or of a layer that branches go through."""

    def __init__(self, banks: Mapping[str, Bank], branches: Mapping[str, Branch] | None = None) -> None:
        super().__init__(dict(banks))
        self.branches = dict(branches or {name: Branch(name) for name in banks})

    @property
    def n_heads(self) -> int:
        """K."""
        return self.bank(next(iter(self))).n_heads

    def bank(self, name: str) -> Bank:
        """Return the bank of one branch."""
        return cast(Bank, self[name])

    def forward(
        self,
        rows: Mapping[str, Tensor],
        generator: torch.Generator | None = None,
        *,
        products: torch.dtype | None = None,
    ) -> dict[str, Tensor]:
        """Map rows by each head.

        Parameters
        ----------
        rows
            ``(N, D)`` by input, the same for all heads, or ``(K, N, D)``; at least two rows while training. A branch
            whose input is not there has no output.
        generator
            Draws the dropout mask ``(N, H)`` of each hidden layer while training.
        products
            ``torch.bfloat16`` computes the matrix products so, forwards and backwards; None in full. All else, the
            parameters and what they gather, stays as it is.

        Returns
        -------
        dict
            ``(K, N, E)`` by branch.

        Raises
        ------
        ValueError
            The banks are training with dropout and there is no generator, or with a single row.
        """
        hidden: dict[tuple[str, ...], Tensor] = {}
        outputs = {}
        for name, branch in self.branches.items():
            if branch.input not in rows:
                continue
            way: tuple[str, ...] = (branch.input, branch.shares or name)
            if way not in hidden:
                hidden[way] = self.bank(way[1]).hide(rows[branch.input], generator, products)
            for layer in branch.through:
                if (*way, layer) not in hidden:
                    hidden[*way, layer] = cast(HiddenBank, self[layer]).deepen(hidden[way], generator, products)
                way = *way, layer
            output = self.bank(branch.output_of or name).project(hidden[way], products)
            outputs[name] = normalize(output, dim=-1) if branch.unit else output
        return outputs

    def joints(self, name: str, dim: int) -> Iterator[tuple[str, int, int]]:
        """Yield each bank on the way of a branch with how many values it takes and is given, `dim` from the input."""
        branch = self.branches[name]
        owner, last = branch.shares or name, branch.output_of or name
        yield owner, self.bank(owner).dim, dim
        width = getattr(self.bank(owner), "hidden_dim", dim)
        for layer in branch.through:
            yield layer, whole_lines(self.bank(layer).dim), width
            width = getattr(self.bank(layer), "hidden_dim", 0)
        yield last, getattr(self.bank(last), "hidden_dim", width), width

    def select(self, numbers: Sequence[int]) -> "Banks":
        """Select heads of each bank, in that order."""
        return Banks({name: self.bank(name).select(numbers) for name in self}, self.branches)


def new_banks(
    branches: Mapping[str, Branch], dims: Mapping[str, int], n_heads: int, config: TrainConfig, draw: torch.Generator
) -> Banks:
    """Make the banks of K heads that are to be trained; `dims` is D by input."""
    banks: dict[str, Bank] = {}
    for name, branch in branches.items():
        width = branch.width or config.embedding_dim
        for layer in branch.through:
            if layer not in banks:
                sizes = n_heads, config.hidden_dim, config.hidden_dim
                banks[layer] = HiddenBank(*sizes, dropout=config.dropout, generator=draw)
        if branch.bare:
            banks[name] = IdentityBank(n_heads, dims[branch.input])
            continue
        if branch.projector:
            sizes = n_heads, dims[branch.input], config.hidden_dim
            banks[name] = ProjectorBank(*sizes, width, generator=draw)
            continue
        if branch.shares is None:
            banks[name] = HeadBank(
                n_heads, dims[branch.input], config.hidden_dim, width, dropout=config.dropout, generator=draw
            )
            continue
        owner = banks.get(branch.shares)
        if not isinstance(owner, HeadBank) or owner.dim != dims[branch.input]:
            raise ConfigError(
                f"branch {name} cannot share the hidden layer of {branch.shares}; name an earlier branch with an input "
                f"of {dims[branch.input]} values"
            )
        if branch.output_of is None:
            banks[name] = OutputBank(n_heads, config.hidden_dim, width, generator=draw)
        elif branch.output_of not in banks or banks[branch.output_of].embedding_dim != width:
            raise ConfigError(
                f"branch {name} cannot use the output layer of {branch.output_of}; name an earlier branch {width} wide"
            )
    return Banks(banks, branches)


def stack_banks(parts: Sequence[Banks]) -> Banks:
    """Join banks of several trainings, in order, for embedding; narrower ones are padded with units that are 0."""
    first = parts[0]
    return Banks({name: _stack([part.bank(name) for part in parts]) for name in first}, first.branches)


def _stack(banks: Sequence[Bank]) -> Bank:
    first = banks[0]
    if isinstance(first, IdentityBank):
        return IdentityBank(sum(bank.n_heads for bank in banks), first.dim)
    states = [bank.state_dict() for bank in banks]
    widest = {
        name: [max(sizes) for sizes in zip(*(one[name].shape for one in states), strict=True)] for name in states[0]
    }
    together = {
        name: torch.cat([filled(state[name], (len(state[name]), *shape[1:])) for state in states])
        for name, shape in widest.items()
    }
    about = first.about()
    if "embedding_dim" in about:
        about["embedding_dim"] = max(bank.embedding_dim for bank in banks)
    return type(first).from_state(together, **about)


def embed(banks: Banks, features: Features, *, average: Average = "embeddings") -> dict[str, Tensor]:
    """Return the outputs ``(K, N, E)`` of each branch that takes N items: the mean over segments, or of the values."""
    name, banks = features.spec.modality, copy.deepcopy(banks).to(features.device).eval()
    with torch.no_grad():
        if average == "features" or not features.has_windows:
            return _embed_blocks(banks, name, features.blocks(ROWS_PER_BLOCK), len(features))
        return mean_over_segments(
            features,
            ROWS_PER_BLOCK,
            lambda rows: _embed_block(banks, name, rows),
            lambda bare: embed_rows(banks, name, features.take(bare)),
        )


def _embed_block(banks: Banks, name: str, rows: Tensor) -> dict[str, Tensor]:
    """Embed at most one block of rows at full size: a row's bits must not depend on how many lie beside it."""
    full = pad(rows, (0, 0, 0, ROWS_PER_BLOCK - len(rows)))
    return {branch: output[:, : len(rows)] for branch, output in banks({name: full}).items()}


def embed_rows(banks: Banks, name: str, rows: Tensor) -> dict[str, Tensor]:
    """Embed rows ``(N, D)``: ``(K, N, E)`` by branch."""
    return _embed_blocks(banks, name, torch.split(rows, ROWS_PER_BLOCK), len(rows))


def _embed_blocks(banks: Banks, name: str, blocks: Iterable[Tensor], count: int) -> dict[str, Tensor]:
    """Embed so many rows in blocks, without any output twice in memory."""
    found, first = dict[str, Tensor](), 0
    for rows in blocks:
        for branch, output in _embed_block(banks, name, rows).items():
            if branch not in found:
                found[branch] = output.new_empty(len(output), count, output.shape[-1])
            found[branch][:, first : first + len(rows)] = output
        first += len(rows)
    return found


def mean_over_segments(
    features: Features,
    rows_per_block: int,
    outputs_of: Callable[[Tensor], Mapping[str, Tensor]],
    outputs_of_items: Callable[[Tensor], Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """Average the outputs of each item's segments: ``(..., N, E)`` by name.

    `outputs_of` maps segments ``(R, D)``, at most `rows_per_block` of them, to outputs ``(..., R, E)`` by name;
    `outputs_of_items` returns what stands in for the items ``(M,)`` that have no segments, ``(..., M, E)`` by name.
    """
    assert features.offsets is not None
    counts = features.offsets.diff()  # (N,)
    owners = torch.arange(len(counts)).repeat_interleave(counts).to(features.device)  # (R,)
    bare = (counts == 0).nonzero()[:, 0].to(features.device)
    found = outputs_of_items(bare)
    means = {
        name: output.new_zeros(*output.shape[:-2], len(counts), output.shape[-1]) for name, output in found.items()
    }
    for rows, items in zip(features.segment_blocks(rows_per_block), torch.split(owners, rows_per_block), strict=True):
        for name, output in outputs_of(rows).items():
            means[name].index_add_(-2, items, output)
    for name, total in means.items():
        total /= counts.clamp(min=1).to(total)[:, None]
        total[..., bare, :] = found[name]
    return means
