"""Encode images and music: one file per encoder, found by listing; networks in ``nets/``, files in ``checkpoints/``.

Used by extraction, training and the pipeline. Invariant: an encoder's spec names everything that changes a number;
frozen networks run in evaluation mode at full precision unless told otherwise. Describing encoders loads no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
