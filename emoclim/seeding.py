"""Make random generators from a seed, one per purpose. Used by whatever draws; imports nothing of the package.

A purpose and a seed give the same numbers on every device, because generators live on the CPU.
"""

import hashlib

import torch


def generator_for(purpose: str, seed: int) -> torch.Generator:
    """Return a generator for one purpose, whose numbers do not depend on what other purposes draw."""
    digest = hashlib.sha256(f"{purpose}/{seed}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:4], "big"))  # the engine uses 32 bits
