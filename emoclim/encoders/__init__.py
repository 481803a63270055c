"""Encoders of images and music: one file per encoder, found by listing, and their networks in ``nets/``.

Used by extraction, training and the pipeline. Invariant: an encoder's spec names everything that changes a number;
frozen networks run in evaluation mode at full precision unless told otherwise.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
