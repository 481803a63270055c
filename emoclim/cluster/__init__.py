"""Give tasks to worker processes of one machine, of a SLURM cluster or of Ray, and see them done. Used by the pipeline.

Tasks are files in a folder that all machines see. A worker claims a task by the lock beside it, which its death
releases, and what came of a task is one file. So folder and locks are the authority, whatever an engine says or
forgets: a task is never done twice at once, and whoever comes later goes on with what is left.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
