"""Manifests, taxonomies, splits, and decoding of images and audio."""
