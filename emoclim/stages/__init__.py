"""One step each, on objects in memory: extract, train heads, train an encoder, tag, evaluate, search.

Used by the pipeline and from Python (``emoclim.extract`` and so on). Invariant: a stage opens no file but the items it
is given, prints nothing, and draws all randomness from seeds it is passed.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
