"""Render a self-contained HTML page of an evaluation: examples to look at and listen to, tables, and pictures.

Nothing is loaded from elsewhere; pictures and sound stand in the page as data.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from emoclim.files import write_bytes
from emoclim.reports.tables import Row

TitledTable = tuple[str, Sequence[Row], str]  # title, rows of text with the names of the columns first, note


@dataclass(frozen=True, slots=True)
class Media:
    """An item to look at or to listen to."""

    title: str
    caption: str
    kind: str  # MIME type; empty where there never is any
    content: bytes | None  # None where there is no file to show, for a reason that the caption says
    relevant: bool | None = None  # whether it is what the query asked for; None for the query itself
    parts: Sequence[tuple[str, float]] = ()  # what its score is made of: name, and what that adds


@dataclass(frozen=True, slots=True)
class Page:
    """What a page shows, from above to below."""

    title: str
    lines: Sequence[str]  # what was evaluated, on what
    warnings: Sequence[str]  # why the numbers may mislead
    # Under a heading each: queries, each before what was found for it, the nearest first.
    examples: Sequence[tuple[str, Sequence[Sequence[Media]]]]
    tables: Sequence[TitledTable]
    pictures: Sequence[tuple[str, bytes, str]]  # title, PNG, what it shows for those who cannot see it
    published: Sequence[TitledTable]  # tables of papers
    provenance: str  # plain text: what the numbers depend on


def save_page(page: Page, path: Path) -> None:
    """Write the page as HTML, whole or not at all."""
    write_bytes(path, render_page(page).encode())


def render_page(page: Page) -> str:
    """Render the page as HTML; the same page gives the same text."""
    import jinja2

    template = resources.files("emoclim.reports").joinpath("page.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")
    return environment.from_string(template).render(page=page)
