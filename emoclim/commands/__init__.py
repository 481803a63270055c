"""What people type: one file per command, which turns options into one call of the pipeline and a view of its result.

Used by ``cli.py`` alone. Invariant: a command imports the pipeline inside its function, so that help is instant, and
results go to stdout, progress and warnings to stderr.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
