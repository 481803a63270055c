"""Tell where the items of a library lie in a plane. Used by the service."""

from typing import Any

from fastapi import APIRouter

from emoclim import pipeline
from emoclim.app.libraries import Opened

router = APIRouter(prefix="/api/libraries/{id}")


@router.get("/map")
def library_map(id: str, opened: Opened) -> dict[str, Any]:  # noqa: A002
    """Lay out a library, or a sample of a large one; the first time, that takes up to a minute."""
    library = opened[id]
    with library.mapping:
        rows, points = pipeline.map_library(library.opened)
    kinds = library.opened.likeliest[rows.numpy()].tolist()
    return {
        "rows": rows.tolist(),
        "points": points.tolist(),
        "emotions": [kind if kind >= 0 else None for kind in kinds],
        "classes": library.opened.classes,
        "explained": None,
        "sampled": len(rows) < len(library.items),
    }
