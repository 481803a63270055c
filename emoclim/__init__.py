"""Emotion-aligned retrieval between images and music (Emo-CLIM) on a feature cache.

Everything a user imports is here; a name is loaded when it is first used, so that ``import emoclim`` is instant.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__version__ = "0.1.0"
