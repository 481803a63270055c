"""Rank a split by the heads of a run, write what was found, and compare what was found for several runs."""
