"""How banks of heads learn: one optimisation step, validation, and which epoch of each head is kept.

Convention: whatever must survive a kill is a mapping of tensors by name, ``state()``, and comes back by ``restore``;
what goes on from it gives the bytes of what was never stopped.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from emoclim.config import TrainConfig
from emoclim.learning.heads import HeadBank
from emoclim.learning.losses import PAPERS, Terms, Variant, objective, term_losses
from emoclim.learning.sampling import Batch
from emoclim.modality import Modality


class Learner:
    """K pairs of heads, their optimiser and what they minimise."""

    def __init__(
        self,
        banks: Mapping[Modality, HeadBank],
        terms: Terms,
        weights: Tensor,
        config: TrainConfig,
        temperature: Tensor | None = None,
        variant: Variant = PAPERS,
    ) -> None:
        self.banks, self.terms, self.weights = banks, terms, weights
        self.temperature = torch.full_like(weights[:, 0], config.temperature) if temperature is None else temperature
        self._products = torch.bfloat16 if config.precision == "bf16" else None
        similarity = None if variant.similarity is None else variant.similarity.to(weights.device)
        self.variant = replace(variant, similarity=similarity)
        self._parameters = {
            f"{modality}.{name}": parameter
            for modality, bank in banks.items()
            for name, parameter in bank.named_parameters()
        }
        # Element-wise, as everything here must be: whatever mixes heads, a global gradient norm say, couples them.
        self.optimiser = torch.optim.AdamW(
            self._parameters.values(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )

    def add(self, parameters: Mapping[str, nn.Parameter], learning_rate: float, weight_decay: float) -> None:
        """Let the optimiser update other parameters too, which are called so in its state."""
        self._parameters |= parameters
        self.optimiser.add_param_group(
            {"params": list(parameters.values()), "lr": learning_rate, "weight_decay": weight_decay}
        )

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those of the heads."""
        for bank in self.banks.values():
            yield from bank.parameters()

    def losses(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Losses ``(K,)`` of a training step, with their gradients to come."""
        embeddings = {
            modality: bank.train()(batch.rows[modality], generator, products=self._products)
            for modality, bank in self.banks.items()
        }
        return objective(embeddings, batch.labels, self.terms, self.weights, self.temperature, self.variant)

    def step(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Update every head once; return the losses ``(K,)`` before the update."""
        losses = self.losses(batch, generator)
        self.optimiser.zero_grad()
        torch.autograd.backward(losses.sum())
        self.optimiser.step()
        return losses.detach()

    @torch.no_grad()
    def evaluate(self, batches: Sequence[Batch]) -> tuple[Tensor, ...]:
        """Mean loss ``(K,)`` of each term over some batches, without dropout and on running statistics."""
        means = [torch.zeros_like(self.weights[:, 0]) for _ in self.terms]
        for batch in batches:
            embeddings = {modality: bank.eval()(batch.rows[modality]) for modality, bank in self.banks.items()}
            losses = term_losses(embeddings, batch.labels, self.terms, self.temperature, self.variant)
            means = [mean + loss / len(batches) for mean, loss in zip(means, losses, strict=True)]
        return tuple(means)

    def state(self) -> dict[str, Tensor]:
        """Heads and what the optimiser gathered, by name; not copied."""
        moments = {
            f"optimiser.{name}.{kind}": tensor
            for name, parameter in self._parameters.items()
            for kind, tensor in self.optimiser.state[parameter].items()
        }
        return _bank_state(self.banks, "learning") | moments

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        _restore_banks(self.banks, state, "learning")
        for name, parameter in self._parameters.items():
            prefix = f"optimiser.{name}."
            kinds = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
            self.optimiser.state[parameter] = {
                kind: tensor.to(parameter.device if kind == "step" else parameter, copy=True)
                for kind, tensor in kinds.items()
            }


class Best:
    """The state of each of K heads after its best epoch so far."""

    def __init__(self, banks: Mapping[Modality, HeadBank], patience: int | None) -> None:
        self.learning, self.patience = banks, patience
        self.kept = {modality: copy.deepcopy(bank).eval() for modality, bank in banks.items()}
        one_per_head = next(iter(self.kept.values())).hidden_bias.detach()[:, 0]  # (K,)
        self.loss = torch.full_like(one_per_head, torch.inf)
        self.epoch = torch.zeros_like(one_per_head, dtype=torch.int64)

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
        for modality, bank in self.kept.items():
            present = self.learning[modality].state_dict()
            for name, kept in bank.state_dict().items():
                mask = better.view(-1, *(1,) * (kept.dim() - 1))
                kept.copy_(torch.where(mask, present[name], kept))
        return self.may_improve(epoch)

    def may_improve(self, epoch: int) -> bool:
        """Whether any head has patience left after an epoch."""
        return self.patience is None or bool((epoch - self.epoch < self.patience).any())

    def state(self) -> dict[str, Tensor]:
        """Everything kept, by name; not copied."""
        return _bank_state(self.kept, "best") | {"best.loss": self.loss, "best.epoch": self.epoch}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        _restore_banks(self.kept, state, "best")
        self.loss, self.epoch = state["best.loss"].to(self.loss), state["best.epoch"].to(self.epoch)


def _bank_state(banks: Mapping[Modality, HeadBank], owner: str) -> dict[str, Tensor]:
    return {
        f"{owner}.{modality}.{name}": tensor
        for modality, bank in banks.items()
        for name, tensor in bank.state_dict().items()
    }


def _restore_banks(banks: Mapping[Modality, HeadBank], state: Mapping[str, Tensor], owner: str) -> None:
    for modality, bank in banks.items():
        prefix = f"{owner}.{modality}."
        bank.load_state_dict(
            {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        )
