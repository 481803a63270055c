"""One training step of K pairs of heads at once, against the least it could take and against other ways to do the same.

Medians. Features are generated, 512 and 768 values, batches of 64. The floor of a step is the sum of its parts, each
measured alone in the same run: its matrix products by shape, 28 bytes per parameter at the speed of a copy (what AdamW
reads and writes), and one pass over each activation.

Peers: "one by one" is a plain ``nn.Module`` that is trained again and again, times K, so that it stays in the caches;
"loop" is K of them, each trained in its turn, each with parameters and moments of its own; "vmap" is ``torch.func``:
the same modules stacked, ``vmap`` over ``grad``, one fused AdamW. Running statistics cannot be updated in place under
``vmap``, so that peer keeps none and does that much less. Before anything is timed, the gradients of all are compared
without dropout.
"""

import copy
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from clock import synchronise
from record import Row, command_line, counted, publish
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, replace_all_batch_norm_modules_, stack_module_state, vmap
from torch.nn.functional import normalize

from emoclim.config import TrainConfig
from emoclim.data.features import Split
from emoclim.learning.banks.base import HeadBank
from emoclim.learning.branches import Banks
from emoclim.learning.learner import Learner, weighted_sum
from emoclim.learning.objectives.base import Objective
from emoclim.learning.objectives.loading import make_objective
from emoclim.learning.sampling import Batch
from emoclim.modality import Modality
from emoclim.seeding import generator_for

DIMS: dict[Modality, int] = {"image": 512, "audio": 768}
CONFIG = TrainConfig()
ONE = make_objective("emo_clim", ("image", "audio"), [{}])
BATCH, HIDDEN, EMBEDDING = CONFIG.batch_size, CONFIG.hidden_dim, CONFIG.embedding_dim
ADAMW_BYTES = 28  # per parameter: parameter, gradient and two moments read, all but the gradient written
BLOCK_SECONDS = 0.1  # steps shorter than that are repeated
COMPARED, TOLERANCE = 3, 1e-4  # heads in the comparison of gradients; of the largest entry
PEERS = {"floor": "its floor", "one by one": "one by one", "loop": "a loop", "vmap": "vmap"}
GOALS = {("cpu", 64, "floor"): "<= 1.4", ("cpu", 1, "floor"): "<= 2", ("cpu", 64, "loop"): "<= 0.4"}
GOALS |= {("cuda", 64, "1 at once"): "<= 1.5"}
LAYERS = {"hidden": 0, "norm": 1, "out": 4}  # of a bank, and their places in a plain head


def main() -> None:
    """Measure all in turn, so that whatever else the machine does falls on all."""
    parser = command_line(__doc__)
    parser.add_argument("--heads", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    device = torch.device(asked.device)
    apart = compare_gradients(device)
    ways = {"one nn.Module": plain_steps([Pair().to(device)])}
    for heads in asked.heads:
        pairs = [Pair().to(device) for _ in range(heads)]
        ways |= {f"{heads} at once": step(heads, device), f"{heads}, floor": floor(heads, device)}
        ways |= {f"{heads}, loop": plain_steps(pairs), f"{heads}, vmap": vmapped_step(pairs)}
    medians = measure(ways, asked.runs, device)
    rows = [row for heads in asked.heads for row in of_sweep(heads, medians, device)]
    details = {"milliseconds": medians, "gradients_apart": apart}
    publish("A step of training", __doc__, asked, rows, details, "torch")


def of_sweep(heads: int, medians: Mapping[str, float], device: torch.device) -> Iterator[Row]:
    """The rows of so many heads."""
    theirs = {peer: medians.get(f"{heads}, {peer}", heads * medians["one nn.Module"]) for peer in PEERS}
    if heads != 1 and "1 at once" in medians:
        theirs["1 at once"] = medians["1 at once"]
    for peer, taken in theirs.items():
        name, goal = PEERS.get(peer, "a single pair"), GOALS.get((device.type, heads, peer))
        yield Row(f"a step of {counted(heads, 'pair')} of heads", medians[f"{heads} at once"], "ms", name, taken, goal)


def measure(ways: dict[str, Callable[[], object]], runs: int, device: torch.device) -> dict[str, float]:
    """Median milliseconds of each way, each time as the mean over a block of steps."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            way()  # untimed: the caches shall hold what they do in a training, not what another way left there
            synchronise(device)
            steps, begun = 0, time.perf_counter()
            while time.perf_counter() - begun < BLOCK_SECONDS:
                way()
                steps += 1
            synchronise(device)
            taken[name].append((time.perf_counter() - begun) / steps * 1000)
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


def batch(device: torch.device) -> Batch:
    """Random features of six classes."""
    generator = torch.Generator().manual_seed(0)
    rows = {modality: torch.randn(BATCH, dim, generator=generator).to(device) for modality, dim in DIMS.items()}
    return Batch(rows, {modality: torch.arange(BATCH, device=device) % 6 for modality in DIMS})


def step(heads: int, device: torch.device) -> Callable[[], object]:
    """A step of the training stage."""
    generator = generator_for("init", 0)
    banks = {
        modality: HeadBank(heads, dim, HIDDEN, EMBEDDING, dropout=CONFIG.dropout, generator=generator).to(device)
        for modality, dim in DIMS.items()
    }
    learner = Learner(Banks(banks), objective(heads, device), even(heads, device), CONFIG)
    seen, dropout = batch(device), torch.Generator()
    return lambda: learner.step(seen, dropout)


def objective(heads: int, device: torch.device) -> Objective:
    """Emo-CLIM's objective of so many heads."""
    made = ONE.of([*ONE.settings] * heads)
    made.prepare(Split({}, {}, ()), device)
    return made


def even(heads: int, device: torch.device) -> Tensor:
    """The same weight for each loss of each head: ``(K, 4)``."""
    return torch.full((heads, len(ONE.terms)), 1 / len(ONE.terms), device=device)


def place(pairs: Sequence[Pair]) -> torch.device:
    """The device that they are on."""
    return next(pairs[0].parameters()).device


def plain_steps(pairs: Sequence[Pair], weights: Tensor | None = None) -> Callable[[], None]:
    """A step of each pair of heads, one after the other; `weights` ``(K, 4)``."""
    table = even(len(pairs), place(pairs)) if weights is None else weights
    optimisers = [torch.optim.AdamW(pair.parameters(), lr=CONFIG.learning_rate) for pair in pairs]
    seen = batch(place(pairs))

    def run() -> None:
        for pair, optimiser, row in zip(pairs, optimisers, table, strict=True):
            loss = weighted_sum(ONE.losses(pair(seen.rows), seen, None), row[None]).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return run


def vmapped_step(pairs: Sequence[Pair], weights: Tensor | None = None) -> Callable[[], dict[str, Tensor]]:
    """A step of all pairs by ``torch.func``, which gives the gradients by name; `weights` ``(K, 4)``."""
    table = even(len(pairs), place(pairs)) if weights is None else weights
    one = replace_all_batch_norm_modules_(copy.deepcopy(pairs[0]))
    stacked = {name: tensor.detach() for name, tensor in stack_module_state(list(pairs))[0].items()}
    optimiser = torch.optim.AdamW(stacked.values(), lr=CONFIG.learning_rate, fused=True)
    seen = batch(place(pairs))

    def loss(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        embedded = functional_call(one, parameters, (seen.rows,))
        return weighted_sum(ONE.losses(embedded, seen, None), row[None]).sum()

    each = vmap(grad_and_value(loss), randomness="same")

    def run() -> dict[str, Tensor]:
        gradients, _ = each(stacked, table)
        for name, tensor in stacked.items():
            tensor.grad = gradients[name]
        optimiser.step()
        return gradients

    return run


def compare_gradients(device: torch.device) -> dict[str, float]:
    """Largest difference between each peer's gradients and ours, by the largest entry; raises if that is too large."""
    torch.manual_seed(0)
    pairs = [Pair(dropout=0.0).to(device) for _ in range(COMPARED)]
    weights = torch.rand(COMPARED, len(ONE.terms)).to(device)
    ours, banks = {}, {}
    for modality, dim in DIMS.items():
        bank = HeadBank(COMPARED, dim, HIDDEN, EMBEDDING, dropout=0.0, generator=torch.Generator()).to(device)
        for name, parameter in bank.named_parameters():
            layer, _, kind = name.partition("_")
            ours[f"nets.{modality}.{LAYERS[layer]}.{kind}"] = parameter
            plain = [pair.get_parameter(f"nets.{modality}.{LAYERS[layer]}.{kind}") for pair in pairs]
            parameter.data.copy_(torch.stack(plain))
        banks[modality] = bank
    Learner(Banks(banks), objective(COMPARED, device), weights, CONFIG).step(batch(device), torch.Generator())
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


def floor(heads: int, device: torch.device) -> Callable[[], object]:
    """Nothing but the products, the optimiser's traffic and one pass over each activation."""
    products: list[tuple[Tensor, Tensor]] = []
    parameters = 0
    activations: list[Tensor] = []
    for dim in DIMS.values():
        columns, hidden, out = (torch.randn(heads, n, BATCH, device=device) for n in (dim, HIDDEN, EMBEDDING))
        first = torch.randn(heads, HIDDEN, dim, device=device)
        second = torch.randn(heads, EMBEDDING, HIDDEN, device=device)
        products += [(first, columns), (hidden, columns.mT)]  # forward, gradient of the weight
        products += [(second, hidden), (out, hidden.mT), (second.mT, out)]
        parameters += first.numel() + second.numel()
        activations += [hidden, out]
    embedded = torch.randn(heads, BATCH, EMBEDDING, device=device)
    scores = torch.randn(heads, BATCH, BATCH, device=device)
    products += [(embedded, embedded.mT)] * len(ONE.terms) + [(scores, embedded)] * (2 * len(ONE.terms))
    activations += [scores] * len(ONE.terms)
    source = torch.empty(parameters * ADAMW_BYTES // 8, device=device)  # a copy reads and writes 4 bytes per number
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
