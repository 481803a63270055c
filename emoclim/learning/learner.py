"""Train banks of heads: one optimisation step, validation, and the best epoch of each head.

Convention: whatever must survive a kill is a mapping of tensors by name, ``state()``, and comes back by ``restore``;
what goes on from it gives the bytes of what was never stopped.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from emoclim.config import TrainConfig
from emoclim.data import Split, Taxonomy
from emoclim.learning.branches import LABELS, Banks, new_banks
from emoclim.learning.objectives.base import Objective
from emoclim.learning.sampling import Batch
from emoclim.seeding import generator_for

OPTIMISERS: Mapping[str, type[torch.optim.Adam]] = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}


class Learner:
    """Banks of K heads, their optimiser and what they minimise."""

    def __init__(self, banks: Banks, objective: Objective, weights: Tensor, config: TrainConfig) -> None:
        self.banks, self.objective, self.weights = banks, objective, weights
        self._products = torch.bfloat16 if config.precision == "bf16" else None
        self._parameters = dict(banks.named_parameters())
        # Element-wise, as everything here must be: whatever mixes heads, a global gradient norm say, couples them.
        self.optimiser = OPTIMISERS[config.optimiser](
            [{"params": list(self._parameters.values())}],
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            fused=True,
        )

    def add(self, parameters: Mapping[str, nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        """Let the optimiser update other parameters too, which are called so in its state."""
        self._parameters |= parameters
        self.optimiser.add_param_group(
            {"params": list(parameters.values()), "lr": learning_rate, "weight_decay": weight_decay}
        )

    @property
    def learns(self) -> bool:
        """Tell whether anything is trained: not where the objective gives its banks in closed form."""
        return bool(self._parameters)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield the parameters of the heads."""
        return self.banks.parameters()

    def losses(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Compute the losses ``(K,)`` of a training step, ready for backward."""
        outputs = self.banks.train()(batch.rows, generator, products=self._products)
        return weighted_sum(self.objective.losses(outputs, batch, generator), self.weights)

    def step(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Update every head once, if anything is trained; return the losses ``(K,)`` before the update."""
        losses = self.losses(batch, generator)
        if self.learns:
            self.optimiser.zero_grad()
            torch.autograd.backward(losses.sum())
            self.optimiser.step()
        return losses.detach()

    @torch.no_grad()
    def evaluate(self, batches: Sequence[Batch]) -> tuple[Tensor, ...]:
        """Average the loss ``(K,)`` of each term over batches, without dropout and on running statistics."""
        means = [self.weights.new_zeros(len(self.weights)) for _ in self.objective.terms]
        for batch in batches:
            losses = self.objective.losses(self.banks.eval()(batch.rows), batch, None)
            means = [mean + loss / len(batches) for mean, loss in zip(means, losses, strict=True)]
        return tuple(means)

    def state(self) -> dict[str, Tensor]:
        """Return the state of heads and optimiser, by name; not copied."""
        moments = {
            f"optimiser.{name}.{kind}": tensor
            for name, parameter in self._parameters.items()
            for kind, tensor in self.optimiser.state[parameter].items()
        }
        return named_state(self.banks, "learning") | moments

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state."""
        load_named(self.banks, state, "learning")
        for name, parameter in self._parameters.items():
            prefix = f"optimiser.{name}."
            kinds = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
            self.optimiser.state[parameter] = {
                kind: tensor.to(parameter.device if kind == "step" else parameter, copy=True)
                for kind, tensor in kinds.items()
            }


class BestHeads:
    """The state of each of K heads after its best epoch so far."""

    def __init__(self, banks: Banks, patience: int | None, device: torch.device) -> None:
        self.learning, self.patience = banks, patience
        self.kept = copy.deepcopy(banks).eval()
        self.loss = torch.full((banks.n_heads,), torch.inf, device=device)
        self.epoch = torch.zeros(banks.n_heads, dtype=torch.int64, device=device)

    @torch.no_grad()
    def update(self, epoch: int, loss: Tensor) -> bool:
        """Keep the present state of the heads whose loss ``(K,)`` is a new best; tell whether any may still get better.

        A head has run out of patience `patience` epochs after its best one; later epochs never count for it.
        """
        better = loss < self.loss
        if self.patience is not None:
            better &= epoch - self.epoch <= self.patience
        self.loss = torch.where(better, loss, self.loss)
        self.epoch = torch.where(better, epoch, self.epoch)
        present = self.learning.state_dict()
        for name, kept in self.kept.state_dict().items():
            mask = better.view(-1, *(1,) * (kept.dim() - 1))
            kept.copy_(torch.where(mask, present[name], kept))
        return self.may_improve(epoch)

    def may_improve(self, epoch: int) -> bool:
        """Tell whether any head has patience left after an epoch."""
        return self.patience is None or bool((epoch - self.epoch < self.patience).any())

    def state(self) -> dict[str, Tensor]:
        """Return everything kept, by name; not copied."""
        return named_state(self.kept, "best") | {"best.loss": self.loss, "best.epoch": self.epoch}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Restore a state."""
        load_named(self.kept, state, "best")
        self.loss, self.epoch = state["best.loss"].to(self.loss), state["best.epoch"].to(self.epoch)


def new_learner(
    objective: Objective, split: Split, weights: Tensor, config: TrainConfig, device: torch.device
) -> Learner:
    """Make the banks that an objective asks for, on `device`, and what trains them on a split that lies there."""
    objective.taxonomy = split.taxonomy
    if objective.taxonomy is None and "taxonomy" in objective.needs and split.classes:
        objective.taxonomy = Taxonomy.shared(split.classes, objective.modalities)
    objective.prepare(split, device)
    branches = objective.branches(split)
    dims: dict[str, int] = {modality: features.spec.dim for modality, features in split.features.items()}
    if split.label_vectors is not None:
        dims[LABELS] = split.label_vectors.shape[1]
    fitted = objective.fit(split)
    if fitted is None:
        banks = new_banks(branches, dims, len(weights), config, generator_for("init", config.seed))
    else:
        banks = Banks(fitted, branches)
    return Learner(banks.to(device), objective, weights.to(device), config)


def weighted_sum(losses: tuple[Tensor, ...], weights: Tensor) -> Tensor:
    """Sum T losses ``(K,)`` with `weights` ``(K, T)``: ``(K,)``, added in order."""
    total = weights.new_zeros(len(weights))
    for loss, weight in zip(losses, weights.unbind(dim=1), strict=True):
        total = total + weight * loss
    return total


def named_state(module: nn.Module, owner: str) -> dict[str, Tensor]:
    """Return the tensors of a module by name, prefixed with the name of its owner; not copied."""
    return {f"{owner}.{name}": tensor for name, tensor in module.state_dict().items()}


def load_named(module: nn.Module, state: Mapping[str, Tensor], owner: str) -> None:
    """Load what :func:`named_state` gave; the state may hold more."""
    module.load_state_dict({name: state[f"{owner}.{name}"] for name in module.state_dict()})
