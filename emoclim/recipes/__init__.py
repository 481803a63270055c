"""Recipes of papers: how each row of their tables is made, and what they printed there.

One file is one paper, found by listing; the pipeline runs its rows. Invariant: a recipe is data. It names steps,
measures, encoders and data sets by their strings, and imports none of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
