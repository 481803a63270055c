"""Heads, the objectives that train them, and everything between a batch and a trained bank of heads.

Used by the stages, the pipeline, the commands and from Python. Invariant: every parameter leads with K, the number of
heads, and head k of a bank is computed exactly as it would be alone.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
