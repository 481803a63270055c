"""Describe items before they are encoded: manifests, labels, splits, content keys, media, data sets.

Used by every room above. Invariant: an item is never dropped silently; what cannot be used is told with its reason.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
