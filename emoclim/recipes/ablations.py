"""Rows that differ from one of a paper in one thing, to measure what this package does otherwise on data of one's own.

Used by recipes. Invariant: each row changes settings that there are; what is no setting is named, not measured.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from emoclim.recipes.base import Line, Metric, Row, Table

REMARK = (
    "Not measured, for they are no settings: unit length of features before the heads, weight decay on norms and "
    "biases of encoders, validation batches drawn anew. Noise is a setting of train-end-to-end, ways of tagging are "
    "some of evaluate."
)


def ablated(row: Row) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """Change one thing each of a row of images and of music on their caches; last those that read music anew."""

    def cached(name: str, title: str, **changes: Any) -> Row:
        return replace(row, name=name, title=title, **changes)

    def live(name: str, title: str, batchnorm: str, base: str = "") -> Row:
        tuning = {"unfreeze": "none", "batchnorm": batchnorm}
        return cached(name, title, step="train-end-to-end", trained="audio", tuning=tuning, base=base)

    return (
        cached("image-crops", "8 random crops of each image, not its centre", settings={"clip": {"views": 8}}),
        cached("two-views", "two rows of each item in a batch", training={"views_per_item": 2}),
        cached("no-dropout", "no dropout in the heads", training={"dropout": 0.0}),
    ), (
        live("music-crops", "crops of music from anywhere, not windows", "frozen"),
        live("batch-statistics", "the same, and batch normalisations follow the batches", "train", "music-crops"),
    )


def ablations(rows: Sequence[Row], metrics: Sequence[Metric]) -> Table:
    """Lay out rows as a table that the paper does not have."""
    return Table(
        "Ablations: own departures from the paper, one at a time (%)",
        "not in the paper",
        "retrieval",
        ("what is changed",),
        tuple(metrics),
        tuple(Line(row.title, (), row=row) for row in rows),
        ("image", "audio"),
        (REMARK,),
        own=True,
    )
