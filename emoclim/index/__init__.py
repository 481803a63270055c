"""What a library is searched by, kept beside the caches: the embeddings of its items, and a table of these.

Used by the pipeline. Invariant: an index says nothing that its cache, its run and its manifest do not; whatever was
being written when a process died is absent.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
