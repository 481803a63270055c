"""Train encoders along with their heads: one optimisation step, validation, and the best epoch of all.

Conventions as in :mod:`emoclim.learning.learner`; the rows of an encoder's modality are segments, not features.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from emoclim.config import TrainConfig
from emoclim.encoders import autocast, frozen
from emoclim.errors import ConfigError
from emoclim.learning.end_to_end.crops import FEWEST
from emoclim.learning.end_to_end.distributed import ALONE, Replicas
from emoclim.learning.end_to_end.trainable import Parameters, chosen, decayed, set_mode, statistics, trainable
from emoclim.learning.end_to_end.windows import LiveEncoder, WindowEncoder
from emoclim.learning.learner import BestHeads, Learner, load_named, named_state
from emoclim.learning.sampling import Batch
from emoclim.learning.settings import EncoderTuning
from emoclim.modality import MODALITIES, Modality

LEARNING, BEST, SCALER = "encoder", "best.encoder", "scaler"  # names of states


def check_trainable(
    encoders: Iterable[LiveEncoder], tuning: EncoderTuning, config: TrainConfig, processes: int, device: torch.device
) -> None:
    """Raise :class:`ConfigError` early if encoders cannot be trained with these settings on this device."""
    if tuning.precision == "fp16" and device.type != "cuda":
        raise ConfigError(f"precision fp16 trains on a GPU only, not on {device.type}; take bf16 or fp32")
    if config.batch_size < FEWEST * processes:
        raise ConfigError(
            f"batch_size = {config.batch_size} is too small for {processes} processes; give each {FEWEST} items"
        )
    for encoder in encoders:
        _chosen(encoder, encoder.module, tuning)


def _chosen(encoder: LiveEncoder, module: nn.Module, tuning: EncoderTuning) -> Parameters:
    """Select what is trained of an encoder's network, or of a copy of that."""
    dtype = getattr(torch, MODALITIES[encoder.spec.modality].dtype)
    try:
        unfreeze = "all" if isinstance(encoder, WindowEncoder) else tuning.unfreeze
        return chosen(module, trainable(module, encoder.input_shape, dtype), unfreeze)
    except ConfigError as error:
        raise ConfigError(f"{encoder.spec.name}: {error}") from error


class JointLearner:
    """Encoders and one set of heads, what updates all of them, and what they minimise."""

    def __init__(
        self,
        encoders: Sequence[LiveEncoder],
        heads: Learner,
        tuning: EncoderTuning,
        device: torch.device,
        replicas: Replicas = ALONE,
    ) -> None:
        self._replicas = replicas
        self._heads, self._tuning, self._device = heads, tuning, device
        self._specs = {encoder.spec.modality: encoder.spec for encoder in encoders}
        self.modules: dict[Modality, nn.Module] = {}
        self.trained: dict[Modality, Parameters] = {}
        for encoder in encoders:
            self._add(encoder)
        self._rates = [float(group["lr"]) for group in heads.optimiser.param_groups]
        self._scaler = GradScaler(device.type, enabled=tuning.precision == "fp16")
        self._steps = 0

    def _add(self, encoder: LiveEncoder) -> None:
        """Copy the network of an encoder, and let the optimiser update what is trained of it."""
        own, tuning = encoder.spec.modality, self._tuning
        module = self.modules[own] = copy.deepcopy(encoder.module).to(self._device).eval()
        trained = self.trained[own] = _chosen(encoder, module, tuning)
        module.requires_grad_(False)
        for group, decay in zip(decayed(module, trained), (tuning.weight_decay, 0.0), strict=True):
            for parameter in group.values():
                parameter.requires_grad_()
            if group:
                parameters = {f"{LEARNING}.{own}.{name}": parameter for name, parameter in group.items()}
                self._heads.add(parameters, tuning.learning_rate, decay)

    def train(self, batches: Iterable[Batch], count: int, generator: torch.Generator) -> list[Tensor]:
        """Go through `count` batches; return the losses ``(1,)`` of each, before the update that it is part of."""
        modes = [set_mode(module, self._tuning.batchnorm) for module in self.modules.values()]
        dropouts = [dropout for found in modes for dropout in found]
        losses = []
        together = self._tuning.accumulate
        for number, batch in enumerate(self._each(batches)):
            in_group = number % together
            if in_group == 0:
                self._heads.optimiser.zero_grad()
            for dropout in dropouts:
                dropout.seed = int(torch.randint(2**31, (), generator=generator)) + self._replicas.rank
            loss = self._heads.losses(self._encoded(batch, self._autocast), generator)
            size = min(together, count - number + in_group)
            torch.autograd.backward(self._scaler.scale(loss.sum() / size))
            if in_group == size - 1:
                self._update()
            losses.append(loss.detach())
        if self._tuning.batchnorm != "frozen":
            self._replicas.average([one for module in self.modules.values() for one in statistics(module)])
        return losses

    def evaluate(self, batches: Iterable[Batch]) -> tuple[Tensor, ...]:
        """Average the loss ``(1,)`` of each term over batches, on features as extraction would make them."""
        for module in self.modules.values():
            module.eval()
        weights = self._heads.weights
        sums = [weights.new_zeros(len(weights)) for _ in self._heads.objective.terms]
        count = 0
        for batch in self._each(batches):
            losses = self._heads.evaluate([self._encoded(batch, lambda own: frozen(self._specs[own], self._device))])
            sums = [total + loss for total, loss in zip(sums, losses, strict=True)]
            count += 1
        return tuple(total / count for total in sums)

    def state(self) -> dict[str, Tensor]:
        numbers = {"steps": float(self._steps)} | self._scaler.state_dict()
        scaler = {f"{SCALER}.{name}": torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
        modules = {
            name: tensor
            for own, module in self.modules.items()
            for name, tensor in named_state(module, f"{LEARNING}.{own}").items()
        }
        return self._heads.state() | modules | scaler

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._heads.restore(state)
        for own, module in self.modules.items():
            load_named(module, state, f"{LEARNING}.{own}")
        self._steps = int(state[f"{SCALER}.steps"])
        self._scaler.load_state_dict(
            {name: type(value)(state[f"{SCALER}.{name}"].item()) for name, value in self._scaler.state_dict().items()}
        )

    def _each(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches; an error in this process ends the others too."""
        iterator = iter(batches)
        while True:
            with self._replicas.propagate_errors(self._device):
                batch = next(iterator, None)
            if batch is None:
                return
            yield batch

    def _autocast(self, _: Modality) -> AbstractContextManager[None]:
        return autocast(self._device, self._tuning.precision)

    def _encoded(self, batch: Batch, how: Callable[[Modality], AbstractContextManager[object]]) -> Batch:
        """Replace the segments of this process by the features ``(B, D)`` of all processes, with their labels."""
        gather = self._replicas.gather
        for own, module in self.modules.items():
            with how(own):
                feature = module(batch.rows[own]).float()
            batch = batch.with_rows(own, gather(feature), gather)
        return batch

    def _update(self) -> None:
        optimiser, warmup = self._heads.optimiser, self._tuning.warmup_steps
        self._steps += 1
        for group, rate in zip(optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * min(1.0, self._steps / max(1, warmup))
        self._replicas.add_gradients(one for trained in self.trained.values() for one in trained.values())
        self._replicas.average(one.grad for one in self._heads.parameters() if one.grad is not None)
        if self._tuning.clip_norm is not None:
            self._scaler.unscale_(optimiser)
            everything = [parameter for group in optimiser.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(everything, self._tuning.clip_norm)
        self._scaler.step(optimiser)
        self._scaler.update()


class JointBest:
    """The state of encoders and their heads after their best epoch so far."""

    def __init__(self, modules: Mapping[Modality, nn.Module], heads: BestHeads) -> None:
        self._modules, self.heads = modules, heads
        self.kept = {
            own: {name: tensor.clone() for name, tensor in module.state_dict().items()}
            for own, module in modules.items()
        }

    @torch.no_grad()
    def update(self, epoch: int, loss: Tensor) -> bool:
        before = self.heads.loss
        goes_on = self.heads.update(epoch, loss)
        if bool((self.heads.loss < before).all()):
            for own, module in self._modules.items():
                for name, tensor in module.state_dict().items():
                    self.kept[own][name].copy_(tensor)
        return goes_on

    def may_improve(self, epoch: int) -> bool:
        return self.heads.may_improve(epoch)

    def state(self) -> dict[str, Tensor]:
        kept = {f"{BEST}.{own}.{name}": tensor for own, one in self.kept.items() for name, tensor in one.items()}
        return self.heads.state() | kept

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.heads.restore(state)
        for own, kept in self.kept.items():
            for name, tensor in kept.items():
                tensor.copy_(state[f"{BEST}.{own}.{name}"])
