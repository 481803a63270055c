"""Train an encoder along with its heads: one optimisation step, validation, and the best epoch of both.

Conventions as in :mod:`emoclim.learning.learner`; the rows of the encoder's modality are segments, not features.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from emoclim.config import TrainConfig
from emoclim.encoders import Encoder, autocast, frozen
from emoclim.errors import ConfigError
from emoclim.learning.end_to_end.crops import FEWEST
from emoclim.learning.end_to_end.distributed import ALONE, Replicas
from emoclim.learning.end_to_end.trainable import Parameters, chosen, decayed, set_mode, statistics, trainable
from emoclim.learning.learner import BestHeads, Learner, load_named, named_state
from emoclim.learning.sampling import Batch
from emoclim.learning.settings import EncoderTuning
from emoclim.modality import MODALITIES

LEARNING, BEST, SCALER = "encoder", "best.encoder", "scaler"  # names of states


def check_trainable(
    encoder: Encoder, tuning: EncoderTuning, config: TrainConfig, processes: int, device: torch.device
) -> None:
    """Raise :class:`ConfigError` early if an encoder cannot be trained with these settings on this device."""
    if tuning.precision == "fp16" and device.type != "cuda":
        raise ConfigError(f"precision fp16 trains on a GPU only, not on {device.type}; take bf16 or fp32")
    if config.batch_size < FEWEST * processes:
        raise ConfigError(
            f"batch_size = {config.batch_size} is too small for {processes} processes; give each {FEWEST} items"
        )
    _chosen(encoder.module, encoder, tuning)


def _chosen(module: nn.Module, encoder: Encoder, tuning: EncoderTuning) -> Parameters:
    """Select the parameters of an encoder's network, or of its copy, that are trained."""
    dtype = getattr(torch, MODALITIES[encoder.spec.modality].dtype)
    return chosen(module, trainable(module, encoder.input_shape, dtype), tuning.unfreeze)


class JointLearner:
    """An encoder and one pair of heads, what updates both, and what they minimise."""

    def __init__(
        self,
        encoder: Encoder,
        heads: Learner,
        tuning: EncoderTuning,
        device: torch.device,
        replicas: Replicas = ALONE,
    ) -> None:
        self._replicas = replicas
        self._spec, self._modality = encoder.spec, encoder.spec.modality
        self._heads, self._tuning, self._device = heads, tuning, device
        self.module = copy.deepcopy(encoder.module).to(device).eval()
        self.trained = _chosen(self.module, encoder, tuning)
        self.module.requires_grad_(False)
        for group, decay in zip(decayed(self.module, self.trained), (tuning.weight_decay, 0.0), strict=True):
            for parameter in group.values():
                parameter.requires_grad_()
            if group:
                parameters = {f"{LEARNING}.{name}": parameter for name, parameter in group.items()}
                heads.add(parameters, tuning.learning_rate, decay)
        self._rates = [float(group["lr"]) for group in heads.optimiser.param_groups]
        self._scaler = GradScaler(device.type, enabled=tuning.precision == "fp16")
        self._steps = 0

    def train(self, batches: Iterable[Batch], count: int, generator: torch.Generator) -> list[Tensor]:
        """Go through `count` batches; return the losses ``(1,)`` of each, before the update that it is part of."""
        set_mode(self.module, self._tuning.batchnorm)
        losses = []
        together = self._tuning.accumulate
        for number, batch in enumerate(self._each(batches)):
            in_group = number % together
            if in_group == 0:
                self._heads.optimiser.zero_grad()
            loss = self._heads.losses(self._encoded(batch), generator)
            size = min(together, count - number + in_group)
            torch.autograd.backward(self._scaler.scale(loss.sum() / size))
            if in_group == size - 1:
                self._update()
            losses.append(loss.detach())
        if self._tuning.batchnorm == "train":
            self._replicas.average(statistics(self.module))
        return losses

    def evaluate(self, batches: Iterable[Batch]) -> tuple[Tensor, ...]:
        """Average the loss ``(1,)`` of each term over batches, on features as extraction would make them."""
        self.module.eval()
        weights = self._heads.weights
        sums = [weights.new_zeros(len(weights)) for _ in self._heads.objective.terms]
        count = 0
        for batch in self._each(batches):
            with frozen(self._spec, self._device):
                feature = self.module(batch.rows[self._modality]).float()
            losses = self._heads.evaluate([self._whole(batch, feature)])
            sums = [total + loss for total, loss in zip(sums, losses, strict=True)]
            count += 1
        return tuple(total / count for total in sums)

    def state(self) -> dict[str, Tensor]:
        numbers = {"steps": float(self._steps)} | self._scaler.state_dict()
        scaler = {f"{SCALER}.{name}": torch.tensor(value, dtype=torch.float64) for name, value in numbers.items()}
        return self._heads.state() | named_state(self.module, LEARNING) | scaler

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._heads.restore(state)
        load_named(self.module, state, LEARNING)
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

    def _encoded(self, batch: Batch) -> Batch:
        """Encode the segments of a batch and gather the whole batch, with features ``(B, D)``."""
        with autocast(self._device, self._tuning.precision):
            feature = self.module(batch.rows[self._modality]).float()
        return self._whole(batch, feature)

    def _whole(self, batch: Batch, feature: Tensor) -> Batch:
        """Replace the segments of this process by the features of all processes, with their labels."""
        gather = self._replicas.gather
        return batch.with_rows(self._modality, gather(feature), gather)

    def _update(self) -> None:
        optimiser, warmup = self._heads.optimiser, self._tuning.warmup_steps
        self._steps += 1
        for group, rate in zip(optimiser.param_groups, self._rates, strict=True):
            group["lr"] = rate * min(1.0, self._steps / max(1, warmup))
        self._replicas.add_gradients(self.trained.values())
        self._replicas.average(one.grad for one in self._heads.parameters() if one.grad is not None)
        if self._tuning.clip_norm is not None:
            self._scaler.unscale_(optimiser)
            everything = [parameter for group in optimiser.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(everything, self._tuning.clip_norm)
        self._scaler.step(optimiser)
        self._scaler.update()


class JointBest:
    """The state of an encoder and its heads after their best epoch so far."""

    def __init__(self, module: nn.Module, heads: BestHeads) -> None:
        self._module, self.heads = module, heads
        self.kept = {name: tensor.clone() for name, tensor in module.state_dict().items()}

    @torch.no_grad()
    def update(self, epoch: int, loss: Tensor) -> bool:
        before = self.heads.loss
        goes_on = self.heads.update(epoch, loss)
        if bool((self.heads.loss < before).all()):
            for name, tensor in self._module.state_dict().items():
                self.kept[name].copy_(tensor)
        return goes_on

    def may_improve(self, epoch: int) -> bool:
        return self.heads.may_improve(epoch)

    def state(self) -> dict[str, Tensor]:
        return self.heads.state() | {f"{BEST}.{name}": tensor for name, tensor in self.kept.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.heads.restore(state)
        for name, tensor in self.kept.items():
            tensor.copy_(state[f"{BEST}.{name}"])
