"""Folders of results: the same settings have the same folder, and no numbers are ever lost."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emoclim.errors import RunError
from emoclim.pipeline.workspace import read_json, write_json

log = logging.getLogger(__name__)

REPORT_FILE = "report.json"
SCHEMA = 1  # of that file


def write_report(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``report.json``; a folder that holds other numbers is first moved to the next free ``<folder>.<n>``."""
    file = folder / REPORT_FILE
    if file.is_file() and read_json(file, RunError, "delete it") != content:
        number = 1
        while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
            number += 1
        folder.rename(aside)
        log.warning("%s held other numbers, which are in %s now", folder, aside)
    write_json(file, content)
