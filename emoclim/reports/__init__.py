"""Results as tables, pictures and one HTML page.

Used by learning, the stages, the pipeline and the commands. Invariant: a report sees scores and results alone, neither
features nor heads, and trains nothing.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
