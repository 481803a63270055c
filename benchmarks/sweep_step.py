"""One training step of K pairs of heads at once, against the least it could take and against training them one by one.

Repeat with ``python benchmarks/sweep_step.py``; prints JSON: medians in milliseconds, and ratios. Features are
generated, 512 and 768 values, batches of 64. The floor of a step is the sum of its parts, each measured alone in the
same run: its matrix products by shape, 28 bytes per parameter at the speed of a copy (what AdamW reads and writes), and
one pass over each activation. The peer is a plain ``nn.Module`` per head, trained in a loop. Goals: 64 heads within 1.4
floors and within 0.4 of 64 steps of the peer; one head within 2 of its own floors.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from machine import facts
from torch import Tensor, nn
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


def main() -> None:
    """Measure all in turn, so that whatever else the machine does falls on all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path, help="write the result there too")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    ways = {"one nn.Module": plain_step()}
    for heads in asked.heads:
        ways |= {f"{heads} at once": step(heads), f"floor of {heads}": floor(heads)}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(asked.runs + 2):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            if run >= 2:  # the first ones warm up
                taken[name].append((time.perf_counter() - begun) * 1000)
    medians = {name: statistics.median(times) for name, times in taken.items()}
    ratios = {f"{heads}, floors": medians[f"{heads} at once"] / medians[f"floor of {heads}"] for heads in asked.heads}
    ratios |= {
        f"{heads}, one by one": medians[f"{heads} at once"] / heads / medians["one nn.Module"] for heads in asked.heads
    }
    result = {"milliseconds": medians, "ratios": ratios, "threads": asked.threads, "machine": facts("torch")}
    text = json.dumps(result, indent=2)
    print(text)
    if asked.json:
        asked.json.write_text(f"{text}\n")


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
    learner, seen, dropout = Learner(banks, EMO_CLIM, torch.full((heads, 4), 0.25), CONFIG), batch(), torch.Generator()
    return lambda: learner.step(seen, dropout)


def plain_step() -> Callable[[], object]:
    """A step of one pair of heads as one would write it."""
    nets = {
        modality: nn.Sequential(
            nn.Linear(dim, HIDDEN),
            nn.BatchNorm1d(HIDDEN),
            nn.ReLU(),
            nn.Dropout(CONFIG.dropout),
            nn.Linear(HIDDEN, EMBEDDING),
        )
        for modality, dim in DIMS.items()
    }
    optimiser = torch.optim.AdamW([p for net in nets.values() for p in net.parameters()], lr=CONFIG.learning_rate)
    seen, weights = batch(), torch.full((1, 4), 0.25)

    def run() -> None:
        embedded = {
            modality: normalize(net(normalize(seen.rows[modality])), dim=-1)[None] for modality, net in nets.items()
        }
        loss = objective(embedded, seen.labels, EMO_CLIM, weights, CONFIG.temperature).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return run


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
