"""Find the parameters of an encoder that are trained, without knowing the encoder.

Conventions: a parameter can be trained if the network does not hold it fixed itself (as CLAP holds its spectrogram) and
its feature depends on it (a tagger's last layer comes after the feature). A layer is a direct part of the network that
has such parameters, in the order in which they are registered; where there is only one, its own parts are. Parameters
that are in no part are a layer too. A part that is but a list of parts, as transformers are, counts as these; one with
nothing but normalisations belongs to the layer before it.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from emoclim.errors import ConfigError
from emoclim.learning.end_to_end.windows import SeededDropout

Parameters = dict[str, nn.Parameter]
NORMS = (_BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def trainable(module: nn.Module, input_shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Parameters:
    """Find the parameters that can be trained, by name; `dtype` is that of the network's input."""
    free = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    if not free:
        return {}
    device = next(iter(free.values())).device
    with torch.enable_grad():
        feature = module(torch.zeros(2, *input_shape, dtype=dtype, device=device)).sum()
    if not feature.requires_grad:
        return {}
    reached = torch.autograd.grad(feature, list(free.values()), allow_unused=True)
    return {name: free[name] for name, gradient in zip(free, reached, strict=True) if gradient is not None}


def chosen(module: nn.Module, parameters: Parameters, unfreeze: str) -> Parameters:
    """Select the parameters that `unfreeze` names: see :class:`emoclim.learning.settings.EncoderTuning`."""
    if not parameters:
        raise ConfigError("the encoder has no parameters to train; extract its features, and train heads on them")
    if unfreeze == "none":
        return {}
    if unfreeze == "all":
        return parameters
    if unfreeze == "batchnorm":
        norms = {name for name, part in module.named_modules() if isinstance(part, _BatchNorm)}
        found = {name: one for name, one in parameters.items() if name.rpartition(".")[0] in norms}
        if not found:
            raise ConfigError("the encoder has no batch normalisation to train; unfreeze all, last:N or none")
        return found
    kind, _, count = unfreeze.partition(":")
    asked, found_layers = int(count), layers(module, parameters)
    if asked > len(found_layers) - (kind == "after"):
        there = f"{len(found_layers)} layer{'s' if len(found_layers) > 1 else ''}"
        raise ConfigError(f"unfreeze = {unfreeze} is too many: the encoder has {there}; unfreeze all, or fewer")
    last = {name for layer in found_layers[asked if kind == "after" else -asked :] for name in layer}
    return {name: one for name, one in parameters.items() if name in last}


def layers(module: nn.Module, parameters: Parameters) -> list[list[str]]:
    """List the names of the parameters of each layer, first to last; see the top of this file."""
    path = ""
    while True:
        parts: dict[str, list[str]] = {}
        for name in parameters:
            parts.setdefault(_part_of(name, module, path), []).append(name)
        only = next(iter(parts))
        if len(parts) > 1 or not only or not list(module.get_submodule(path + only).children()):
            break
        path += f"{only}."
    found: list[list[str]] = []
    for names in parts.values():
        if found and all(_is_of_norm(module, name) for name in names):
            found[-1] += names
        else:
            found.append(names)
    return found


def _part_of(name: str, module: nn.Module, path: str) -> str:
    """Name the part below a path that a parameter is in; with its list and number, if it is but a list of parts."""
    names = name.removeprefix(path).split(".")[:-1]
    if len(names) > 2:
        inside = list(module.get_submodule(path + names[0]).children())
        if len(inside) == 1 and isinstance(inside[0], nn.ModuleList):
            return ".".join(names[:3])
    return names[0] if names else ""


def decayed(module: nn.Module, parameters: Parameters) -> tuple[Parameters, Parameters]:
    """Separate the parameters that weight decay applies to from norms, biases and what is like one."""
    spared = {name for name, one in parameters.items() if one.ndim < 2 or _is_of_norm(module, name)}
    return (
        {name: one for name, one in parameters.items() if name not in spared},
        {name: one for name, one in parameters.items() if name in spared},
    )


def set_mode(module: nn.Module, batchnorm: str) -> list[SeededDropout]:
    """Put a network into eval mode, but for its batch normalisations, all (train) or those that are trained.

    Dropout inside an encoder stays off: its mask would come from the global generator. That of a seed is on; returned
    are those that want one.
    """
    module.eval()
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            trained = any(parameter.requires_grad for parameter in part.parameters())
            part.train(batchnorm == "train" or (batchnorm == "trained" and trained))
    dropouts = [part for part in module.modules() if isinstance(part, SeededDropout)]
    for part in dropouts:
        part.train()
    return dropouts


def statistics(module: nn.Module) -> Iterator[torch.Tensor]:
    """Yield the running means and variances of batch normalisations."""
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            yield from (one for one in (part.running_mean, part.running_var) if one is not None)


def _is_of_norm(module: nn.Module, name: str) -> bool:
    return isinstance(module.get_submodule(name.rpartition(".")[0]), NORMS)
