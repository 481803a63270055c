"""The commands, with the examples of a folder among the encoders; to be started by torchrun."""

import sys

import emoclim.encoders
from emoclim.cli import app

emoclim.encoders.__path__.append(sys.argv.pop(1))
app()
