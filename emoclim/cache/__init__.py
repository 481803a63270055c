"""Caches of features, in HDF5 or Zarr."""

from emoclim.cache.opening import BACKENDS as BACKENDS
from emoclim.cache.opening import open_cache as open_cache
