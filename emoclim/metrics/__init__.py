"""Retrieval and tagging metrics, ties and intervals included, on tensors alone.

Used by the stages, the pipeline and the reports, and from Python. Invariant: ties count by expectation, so that the
order of items never matters.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
