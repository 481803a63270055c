"""What a decoding process needs, loaded once for all of them by the server that they are forks of."""

import torch as torch

from emoclim.data import read_blocks as read_blocks
from emoclim.data import read_image as read_image
