"""From files to encoded rows: decoding workers, batches of one shape, and the thread that commits.

Used by the stages and by training on files. Invariant: a row does not depend on the number of workers, nor on what lies
beside it in a batch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
