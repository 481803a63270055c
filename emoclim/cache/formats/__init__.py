"""File formats that hold a cache: what each must do, HDF5, Zarr, and mapping their rows from the file."""
