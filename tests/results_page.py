"""Hold the tables of the page on results against what is in a file, both ways."""

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "results_format.md"
TEXT = PAGE.read_text(encoding="utf-8")

Path_ = tuple[str, ...]


def documented(file: str) -> dict[Path_, bool]:
    """Paths in the table of a file, and whether each is always there."""
    section = TEXT.split(f"\n## `{file}`\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (\*?)`([^`]+)`\*? \|", section, re.MULTILINE)
    return {tuple(path.replace("[]", ".[]").split(".")): not sometimes for sometimes, path in rows}


def flat(content: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Paths of all that has no parts with names."""
    if isinstance(content, dict) and content:
        for name, part in content.items():
            yield from flat(part, (*path, name))
    elif isinstance(content, list) and content and isinstance(content[0], dict | list):
        for part in content:
            yield from flat(part, (*path, "[]"))
    else:
        yield path


def tells(pattern: Path_, path: Path_) -> bool:
    """Whether a path is that of a pattern, or of a part of it."""
    return len(pattern) <= len(path) and all(
        one == other if one == "[]" else fnmatchcase(other, one) for one, other in zip(pattern, path, strict=False)
    )


def check(file: str, there: set[Path_]) -> None:
    table = documented(file)
    assert table, file
    missing = [path for path, always in table.items() if always and not any(tells(path, one) for one in there)]
    untold = [path for path in there if not any(tells(one, path) for one in table)]
    assert not missing, f"{file} lacks {missing}"
    assert not untold, f"the page does not tell of {untold} in {file}"
