"""Folders of results: the same settings have the same folder, and no numbers are ever lost."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emoclim.pipeline.workspace import write_json

log = logging.getLogger(__name__)

REPORT_FILE = "report.json"
SCHEMA = 1  # of that file


def write_report(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``report.json``; a folder that holds anything else than its like is first moved to ``<folder>.<n>``."""
    file = folder / REPORT_FILE
    if folder.is_dir() and any(folder.iterdir()) and _numbers(file) != json.loads(json.dumps(_compared(content))):
        number = 1
        while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
            number += 1
        folder.rename(aside)
        log.warning("%s held other numbers, which are in %s now", folder, aside)
    write_json(file, content)


def _numbers(file: Path) -> Any:
    """What a report says, or None if there is none that can be read."""
    try:
        return _compared(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return None


def _compared(content: Mapping[str, Any]) -> dict[str, Any]:
    """Without the warnings, which may name a place."""
    return {name: value for name, value in content.items() if name != "warnings"}
