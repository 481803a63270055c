"""Wall time on a device, which may still be working when the call that gave it the work has returned."""

import time
from collections.abc import Callable

import torch


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(call: Callable[[], object], device: torch.device) -> float:
    """Wall time of a call, from an idle device to an idle device."""
    synchronise(device)
    begun = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - begun
