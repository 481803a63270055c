"""One file per step; none writes a file, prints, or knows the command line."""
