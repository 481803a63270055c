"""Feature caches: encoded items in memory, HDF5 or Zarr, keyed by content, with a ledger of what is committed.

Used by extraction, the stages and the pipeline. Invariant: what the ledger claims is there and true, whenever the
process is killed; checksums are verified on read.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
