"""Serve a search page and a REST interface on this machine: libraries that are open, queries, files, playlists.

Used by `emoclim app`. Invariants: only files of opened libraries are served; what is uploaded is bounded, and kept only
while it is answered; a request that is refused, or fails, leaves the service as it was.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
