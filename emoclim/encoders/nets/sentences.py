"""Networks from token ids to one vector per passage: a body of the library `transformers`, and how it is read.

The bodies are made from a configuration, never from the hub, and keep the names of their published parameters. They
attend eagerly: the same numbers for the same rows, on any machine, whatever kernels it has.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from emoclim.encoders.checkpoints.tensors import fit, read_tensors

ASIDE = ("pooler.", "embeddings.position_ids", "embeddings.token_type_ids")  # unused, or constants of older versions


def make_body(family: str, config: Mapping[str, Any], *, pooled: bool = False) -> nn.Module:
    """Make a body of a family of networks, as ``"Bert"``; with the layers that pool its last one, if `pooled`."""
    import transformers  # takes seconds

    settings = getattr(transformers, f"{family}Config")(**config, attn_implementation="eager")
    make = getattr(transformers, f"{family}Model")
    can_pool = "add_pooling_layer" in inspect.signature(make).parameters
    body: nn.Module = make(settings, **({"add_pooling_layer": pooled} if can_pool else {}))
    return body


def mean_of_tokens(tokens: Tensor, mask: Tensor) -> Tensor:
    """Last layer ``(B, length, D)`` to its mean over the tokens of a text, at unit length ``(B, D)``."""
    weights = mask[..., None].float()
    return functional.normalize((tokens * weights).sum(1) / weights.sum(1).clamp(min=1e-9), dim=-1)


def first_token(tokens: Tensor, _mask: Tensor) -> Tensor:
    """Last layer ``(B, length, D)`` to that of the mark of the beginning ``(B, D)``."""
    return tokens[:, 0]


class Sentences(nn.Module):
    """Token ids to one vector per row, with a body and a function that reads its last layer."""

    body: Any

    def __init__(self, body: nn.Module, read: Callable[[Tensor, Tensor], Tensor], fill: int) -> None:
        super().__init__()
        self.body, self.read, self.fill = body, read, fill

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids ``(B, length)``, filled up, to vectors ``(B, D)``."""
        return encode_rows(self.encode, ids, self.fill)

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Encode rows of any length, of which `mask` says where they have tokens."""
        tokens: Tensor = self.body(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return self.read(tokens.float(), mask)


def encode_rows(encode: Callable[[Tensor, Tensor], Tensor], ids: Tensor, fill: int) -> Tensor:
    """Encode rows of token ids ``(B, length)`` that are filled up at the end.

    Most texts are far shorter than a row: on a CPU each takes the time of its own length, and not that of a row.
    """
    mask = (ids != fill).flip(1).cumsum(1).flip(1) > 0  # not what fills up the end, but the same token within a text
    if ids.device.type != "cpu":
        return encode(ids, mask)
    lengths = mask.sum(1).clamp(min=1).tolist()
    return torch.cat([encode(ids[[row], :n], mask[[row], :n]) for row, n in enumerate(lengths)])


def read_body(network: Sentences, path: Path) -> Sentences:
    """Put the parameters of a file into the body of a network."""
    fit(network.body, read_tensors(path), path, aside=ASIDE)
    return network
