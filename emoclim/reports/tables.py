"""What all tables of the reports share: rows of text, numbers with their intervals, percentages. A column names itself.

Values are shares from 0 to 1; tables show them in percent.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Row = tuple[str, ...]


def candidate_table(
    name: str,
    weights: Mapping[str, Sequence[float]],
    settings: Mapping[str, Sequence[Any]],
    results: Mapping[str, Sequence[str]],
    names: Sequence[str],
) -> list[Row]:
    """Tabulate candidates of a sweep, given by column: name, loss weights, settings, results."""
    columns = [
        names,
        *([f"{weight:.3g}" for weight in column] for column in weights.values()),
        *([f"{one:.4g}" if isinstance(one, float) else str(one) for one in column] for column in settings.values()),
        *results.values(),
    ]
    return [(name, *weights, *settings, *results), *zip(*columns, strict=True)]
