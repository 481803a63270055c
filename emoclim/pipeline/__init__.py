"""Names and paths to objects, through a stage, to files: one module per command, runs, and the workspace.

Used by the commands and from Python. Invariant: whatever is written appears whole or not at all, and says what it was
made from.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
