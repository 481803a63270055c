"""What heads are trained for, one file per objective; whoever trains or reads heads finds one by its name.

Invariant: an objective is the only thing that knows a paper's loss; heads never mix in it.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
