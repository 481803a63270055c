"""Control how networks compute: device, precision, determinism, and denormal numbers.

Denormal numbers, below 1.2e-38 in float32, have no weight in any result and are many times slower on some processors.
Processes that are ours (commands, decoding workers) take them for zero. A call of the library leaves the arithmetic of
its caller as it is.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emoclim.data import FeatureSpec
from emoclim.encoders.base import FULL_PRECISION, PRECISION, PRECISIONS
from emoclim.errors import ConfigError

KINDS = frozenset({torch.float32, torch.float64, torch.bfloat16})  # float16's are of a size that counts, and fast
SMALLEST = 5e-324  # of float64
_turn = RLock()


def choose_device(device: torch.device | str) -> torch.device:
    """Return the device of that name, ``auto`` being a GPU where there is one; refuse one that is not here."""
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    present = [kind for kind, count in counts.items() if count]
    try:
        chosen = torch.device(present[0] if device == "auto" else device)
    except RuntimeError:  # no device at all is called so
        chosen = None
    if chosen is None or (chosen.index or 0) >= counts.get(chosen.type, 0):
        raise ConfigError(f"there is no device {str(device)!r} here; use {', '.join(present)}")
    return chosen


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Compute at a precision, one of :data:`PRECISIONS`, where that is lower than float32."""
    lower = precision != FULL_PRECISION
    return torch.autocast(device.type, getattr(torch, PRECISIONS[precision]) if lower else None, enabled=lower)


@contextmanager
def frozen(spec: FeatureSpec, device: torch.device) -> Iterator[None]:
    """Run a module for its features: without gradients, and at the precision of its spec, whatever torch is set to.

    Full precision is without TF32, which would move features by about 1e-3, and with algorithms that repeat themselves.
    These are settings of the process, so threads take turns.
    """
    backends = torch.backends
    cuda, cpu = backends.cudnn, backends.mkldnn
    kinds: tuple[Any, ...] = (backends.cuda.matmul, cuda.conv, cuda.rnn, cpu.matmul, cpu.conv)  # type: ignore[attr-defined]
    with _turn:
        before = [kind.fp32_precision for kind in kinds]
        deterministic, backends.cudnn.deterministic = backends.cudnn.deterministic, True
        try:
            for kind in kinds:
                kind.fp32_precision = "ieee"
            with torch.inference_mode(), autocast(device, str(spec.settings.get(PRECISION, FULL_PRECISION))):
                yield
        finally:
            for kind, value in zip(kinds, before, strict=True):
                kind.fp32_precision = value
            backends.cudnn.deterministic = deterministic


def flush_denormals() -> None:
    """Take denormal numbers for zero in this thread and in those that it starts.

    torch starts its threads with its first parallel operation: in a process that had one before, only this one obeys.
    """
    for kind in (np.float32, np.float64):
        np.finfo(kind)  # numpy warns if it first looks for the smallest number when there is none
    torch.set_flush_denormal(True)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Take denormal numbers for zero during the block."""
    before = SMALLEST * 1.0 == 0.0
    flush_denormals()
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@torch.no_grad()
def zero_denormals(tensors: Iterable[Tensor]) -> None:
    """Put zero in place of each denormal number of some tensors."""
    for tensor in tensors:
        if tensor.dtype in KINDS:
            tensor.masked_fill_(tensor.abs() < torch.finfo(tensor.dtype).tiny, 0.0)
