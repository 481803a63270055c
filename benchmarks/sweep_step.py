"""One training step of K pairs of heads at once, against the least it could take and against other ways to do the same.

Repeat with ``python benchmarks/sweep_step.py``; prints JSON: medians in milliseconds, and ratios. Features are
generated, 512 and 768 values, batches of 64. The floor of a step is the sum of its parts, each measured alone in the
same run: its matrix products by shape, 28 bytes per parameter at the speed of a copy (what AdamW reads and writes), and
one pass over each activation. Goals: 64 heads within 1.4 floors and within 0.4 of 64 steps of one plain ``nn.Module``;
one head within 2 of its own floors.

Peers: "one by one" is a plain ``nn.Module`` that is trained again and again, times K, so that it stays in the caches;
"loop" is K of them, each trained in its turn, each with parameters and moments of its own; "vmap" is ``torch.func``:
the same modules stacked, ``vmap`` over ``grad``, one fused AdamW. Running statistics cannot be updated in place under
``vmap``, so that peer keeps none and does that much less. Before anything is timed, the gradients of all are compared
without dropout.
"""

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from machine import facts
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, replace_all_batch_norm_modules_, stack_module_state, vmap
from torch.nn.functional import normalize

from emoclim.config import TrainConfig
from emoclim.data.manifest import Modality
from emoclim.heads import HeadBank
from emoclim.learning import Learner
from emoclim.losses import EMO_CLIM, objective
from emoclim.sampling import Batch, generator_for

DIMS: dict[Modality, int] = {"image": 512, "audio": 768}
CONFIG = TrainConfig()
BATCH, HIDDEN, EMBEDDING = CONFIG.batch_size, CONFIG.hidden_dim, CONFIG.embedding_dim
ADAMW_BYTES = 28  # per parameter: parameter, gradient and two moments read, all but the gradient written
BLOCK_SECONDS = 0.1  # steps shorter than that are repeated
COMPARED, TOLERANCE = 3, 1e-4  # heads in the comparison of gradients; of the largest entry
LAYERS = {"hidden": 0, "norm": 1, "out": 4}  # of a bank, and their places in a plain head


def main() -> None:
    """Measure all in turn, so that whatever else the machine does falls on all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the result there too")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    apart = compare_gradients()
    ways = {"one nn.Module": plain_steps([Pair()])}
    for heads in asked.heads:
        pairs = [Pair() for _ in range(heads)]
        ways |= {f"{heads} at once": step(heads), f"{heads}, floor": floor(heads)}
        ways |= {f"{heads}, loop": plain_steps(pairs), f"{heads}, vmap": vmapped_step(pairs)}
    medians = measure(ways, asked.runs)
    ratios = {}
    for heads in asked.heads:
        ours = medians[f"{heads} at once"]
        ratios |= {f"{heads}, floors": ours / medians[f"{heads}, floor"]}
        ratios |= {f"{heads}, one by one": ours / heads / medians["one nn.Module"]}
        ratios |= {f"{heads}, {peer}": ours / medians[f"{heads}, {peer}"] for peer in ("loop", "vmap")}
    about = {"runs": asked.runs, "threads": asked.threads, "gradients_apart": apart, "machine": facts("torch")}
    text = json.dumps({"milliseconds": medians, "ratios": ratios} | about, indent=2)
    print(text)
    if asked.json:
        asked.json.write_text(f"{text}\n")


def measure(ways: dict[str, Callable[[], object]], runs: int) -> dict[str, float]:
    """Median milliseconds of each way, each time as the mean over a block of steps."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            way()  # untimed: the caches shall hold what they do in a training, not what another way left there
            steps, begun, passed = 0, time.perf_counter(), 0.0
            while passed < BLOCK_SECONDS:
                way()
                steps, passed = steps + 1, time.perf_counter() - begun
            taken[name].append(passed / steps * 1000)
    return {name: statistics.median(times) for name, times in taken.items()}


class Pair(nn.Module):
    """A head for each modality as one would write it."""

    def __init__(self, dropout: float = CONFIG.dropout) -> None:
        super().__init__()
        self.nets = nn.ModuleDict(
            {
                modality: nn.Sequential(
                    nn.Linear(dim, HIDDEN),
                    nn.BatchNorm1d(HIDDEN),
                    nn.ReLU(),
                    nn.Dropout(dropout),
                    nn.Linear(HIDDEN, EMBEDDING),
                )
                for modality, dim in DIMS.items()
            }
        )

    def forward(self, rows: dict[Modality, Tensor]) -> dict[Modality, Tensor]:
        """Embed a batch by modality, ``(B, D)`` to ``(1, B, E)``."""
        return {
            modality: normalize(net(normalize(rows[modality])), dim=-1)[None] for modality, net in self.nets.items()
        }


def batch() -> Batch:
    """Random features of six classes."""
    generator = torch.Generator().manual_seed(0)
    rows = {modality: torch.randn(BATCH, dim, generator=generator) for modality, dim in DIMS.items()}
    return Batch(rows, {modality: torch.arange(BATCH) % 6 for modality in DIMS})


def step(heads: int) -> Callable[[], object]:
    """A step of the training stage."""
    generator = generator_for("init", 0)
    banks = {
        modality: HeadBank(heads, dim, HIDDEN, EMBEDDING, dropout=CONFIG.dropout, generator=generator)
        for modality, dim in DIMS.items()
    }
    learner, seen, dropout = Learner(banks, EMO_CLIM, even(heads), CONFIG), batch(), torch.Generator()
    return lambda: learner.step(seen, dropout)


def even(heads: int) -> Tensor:
    """The same weight for each loss of each head: ``(K, 4)``."""
    return torch.full((heads, len(EMO_CLIM)), 1 / len(EMO_CLIM))


def plain_steps(pairs: Sequence[Pair], weights: Tensor | None = None) -> Callable[[], None]:
    """A step of each pair of heads, one after the other; `weights` ``(K, 4)``."""
    table = even(len(pairs)) if weights is None else weights
    optimisers = [torch.optim.AdamW(pair.parameters(), lr=CONFIG.learning_rate) for pair in pairs]
    seen = batch()

    def run() -> None:
        for pair, optimiser, row in zip(pairs, optimisers, table, strict=True):
            loss = objective(pair(seen.rows), seen.labels, EMO_CLIM, row[None], CONFIG.temperature).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return run


def vmapped_step(pairs: Sequence[Pair], weights: Tensor | None = None) -> Callable[[], dict[str, Tensor]]:
    """A step of all pairs by ``torch.func``, which gives the gradients by name; `weights` ``(K, 4)``."""
    table = even(len(pairs)) if weights is None else weights
    one = replace_all_batch_norm_modules_(copy.deepcopy(pairs[0]))
    stacked = {name: tensor.detach() for name, tensor in stack_module_state(list(pairs))[0].items()}
    optimiser = torch.optim.AdamW(stacked.values(), lr=CONFIG.learning_rate, fused=True)
    seen = batch()

    def loss(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        embedded = functional_call(one, parameters, (seen.rows,))
        return objective(embedded, seen.labels, EMO_CLIM, row[None], CONFIG.temperature).sum()

    each = vmap(grad_and_value(loss), randomness="same")

    def run() -> dict[str, Tensor]:
        gradients, _ = each(stacked, table)
        for name, tensor in stacked.items():
            tensor.grad = gradients[name]
        optimiser.step()
        return gradients

    return run


def compare_gradients() -> dict[str, float]:
    """Largest difference between each peer's gradients and ours, by the largest entry; raises if that is too large."""
    torch.manual_seed(0)
    pairs = [Pair(dropout=0.0) for _ in range(COMPARED)]
    weights = torch.rand(COMPARED, len(EMO_CLIM))
    ours, banks = {}, {}
    for modality, dim in DIMS.items():
        bank = HeadBank(COMPARED, dim, HIDDEN, EMBEDDING, dropout=0.0, generator=torch.Generator())
        for name, parameter in bank.named_parameters():
            layer, _, kind = name.partition("_")
            ours[f"nets.{modality}.{LAYERS[layer]}.{kind}"] = parameter
            plain = [pair.get_parameter(f"nets.{modality}.{LAYERS[layer]}.{kind}") for pair in pairs]
            parameter.data.copy_(torch.stack(plain))
        banks[modality] = bank
    Learner(banks, EMO_CLIM, weights, CONFIG).step(batch(), torch.Generator())
    theirs = {"vmap": vmapped_step(pairs, weights)()}
    plain_steps(pairs, weights)()
    theirs["loop"] = {name: torch.stack([pair.get_parameter(name).grad for pair in pairs]) for name in ours}
    largest = max(float(parameter.grad.abs().max()) for parameter in ours.values())
    apart = {
        peer: max(float((gradients[name] - ours[name].grad).abs().max()) for name in ours) / largest
        for peer, gradients in theirs.items()
    }
    if max(apart.values()) > TOLERANCE:
        raise RuntimeError(f"the ways do not compute the same: gradients differ by {apart} of the largest entry")
    return apart


def floor(heads: int) -> Callable[[], object]:
    """Nothing but the products, the optimiser's traffic and one pass over each activation."""
    products: list[tuple[Tensor, Tensor]] = []
    parameters = 0
    activations: list[Tensor] = []
    for dim in DIMS.values():
        columns, hidden, out = (torch.randn(heads, n, BATCH) for n in (dim, HIDDEN, EMBEDDING))
        first, second = torch.randn(heads, HIDDEN, dim), torch.randn(heads, EMBEDDING, HIDDEN)
        products += [(first, columns), (hidden, columns.mT)]  # forward, gradient of the weight
        products += [(second, hidden), (out, hidden.mT), (second.mT, out)]
        parameters += first.numel() + second.numel()
        activations += [hidden, out]
    embedded = torch.randn(heads, BATCH, EMBEDDING)
    scores = torch.randn(heads, BATCH, BATCH)
    products += [(embedded, embedded.mT)] * len(EMO_CLIM) + [(scores, embedded)] * (2 * len(EMO_CLIM))
    activations += [scores] * len(EMO_CLIM)
    source = torch.empty(parameters * ADAMW_BYTES // 8)  # a copy reads and writes 4 bytes per number
    target = torch.empty_like(source)
    results = [torch.empty_like(activation) for activation in activations]

    def run() -> None:
        for one, other in products:
            torch.bmm(one, other)
        target.copy_(source)
        for activation, result in zip(activations, results, strict=True):
            torch.mul(activation, 2.0, out=result)

    return run


if __name__ == "__main__":
    main()
