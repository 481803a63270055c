"""Commands: each turns options into one call of the pipeline, and what that gives into a view.

Used by ``cli.py`` alone, which imports a command when it is typed. A command is a function that returns a `View`, added
to the app of its file. Invariant: loading a command loads nothing that computes, so that its help is instant; results
go to stdout, progress and warnings to stderr.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
