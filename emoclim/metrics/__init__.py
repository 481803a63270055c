"""Metrics: scores in, values out."""
