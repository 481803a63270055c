"""Paths to objects to a stage to files: one module per family of commands."""
