"""The one form in which every benchmark tells its result: JSON, each row a number against a peer or a limit.

A row's `against` names what was measured in the same run to compare with, and its ratio is ours by theirs. A goal is of
the ratio (``<= 1.08``, ``<= 1/60``); of ours, where it bears the unit (``<= 8 ms``, ``93 to 97 %``) or nothing was
compared with.
"""

import argparse
import inspect
import json
import math
import operator
import os
import platform
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

SIDES: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
NUMBER = r"[0-9][0-9,]*(?:\.[0-9]+)?(?:e-?[0-9]+)?(?:/[0-9]+)?"
GOAL = re.compile(rf"(?:(?P<side>[<>]=?)|(?P<low>{NUMBER}) to) (?P<bound>{NUMBER})(?: (?P<unit>.+))?")


@dataclass(frozen=True)
class Row:
    """One number.

    Attributes
    ----------
    name
        What was measured.
    ours
        Its value, in
    unit
        which may be empty.
    against
        The peer, or the limit, of
    theirs
        that value in the same run and unit; None for both where there is none.
    goal
        As the module says; None where there is none.
    """

    name: str
    ours: float
    unit: str
    against: str | None = None
    theirs: float | None = None
    goal: str | None = None

    def __post_init__(self) -> None:
        if (self.against is None) != (self.theirs is None):
            raise ValueError(f"row {self.name!r} needs both, whom it is against and their value, or neither")
        if not all(math.isfinite(value) for value in (self.ours, self.theirs or 0)):
            raise ValueError(f"row {self.name!r} holds a value that is not finite: {self.ours}, {self.theirs}")
        if self.goal is not None:
            found = GOAL.fullmatch(self.goal)
            if found is None or found["unit"] not in (None, self.unit):
                raise ValueError(f"row {self.name!r} in {self.unit!r} has a goal that cannot be read: {self.goal!r}")

    @property
    def ratio(self) -> float | None:
        """Ours by theirs."""
        return self.ours / self.theirs if self.theirs else None

    @property
    def met(self) -> bool | None:
        """Whether the goal was met; None where there is none."""
        if self.goal is None or (found := GOAL.fullmatch(self.goal)) is None:
            return None
        value = self.ours if self.ratio is None or found["unit"] else self.ratio
        bound = _number(found["bound"])
        if found["low"]:
            return _number(found["low"]) <= value <= bound
        return SIDES[found["side"]](value, bound)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "ours": self.ours,
            "unit": self.unit,
            "against": self.against,
            "theirs": self.theirs,
            "ratio": self.ratio,
            "goal": self.goal,
            "met": self.met,
        }


def _number(text: str) -> float:
    upper, _, lower = text.replace(",", "").partition("/")
    return float(upper) / float(Fraction(lower or 1))


def counted(number: int, thing: str) -> str:
    """So many of a thing, in words."""
    return f"{number:,} {thing}{'s' * (number != 1)}"


def command_line(doc: str) -> argparse.ArgumentParser:
    """The parser of a script of that docstring, with what all of them take."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the result there too")
    return parser


def publish(
    title: str,
    doc: str,
    asked: argparse.Namespace,
    rows: Sequence[Row],
    details: Mapping[str, Any],
    *packages: str,
) -> None:
    """Print a result, and write it where it was asked for.

    Parameters
    ----------
    title
        Of the benchmark; several runs may share it.
    doc
        The script's docstring.
    asked
        Options, of a :func:`command_line`.
    rows
        What was found.
    details
        What else is to be kept: plain values.
    packages
        Whose versions matter.
    """
    result = {
        "title": title,
        "about": inspect.cleandoc(doc),
        "command": command(asked),
        "options": {name: _plain(value) for name, value in vars(asked).items() if name != "json"},
        "machine": facts(*packages),
        "rows": [row.to_dict() for row in rows],
        "details": dict(details),
    }
    text = json.dumps(result, indent=2)
    print(text)
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(f"{text}\n", encoding="utf-8")


def command(asked: argparse.Namespace) -> str:
    """How to repeat this run: as it was called, with files by their names alone, and no word of where it is written."""
    names = {str(value): value.name for value in vars(asked).values() if isinstance(value, Path)}
    words = [names.get(word, word) for word in sys.argv[1:] if not word.startswith("--json=")]
    if "--json" in words:
        place = words.index("--json")
        del words[place : place + 2]
    return shlex.join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def _plain(value: Any) -> Any:
    return value.name if isinstance(value, Path) else value


def facts(*packages: str) -> dict[str, Any]:
    """Of the machine, of Python, and of some packages."""
    torch = sys.modules.get("torch")
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        "gpu": torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "threads": torch.get_num_threads() if torch else None,
        "packages": {package: metadata.version(package) for package in ("emoclim", *packages)},
    }


def _processor() -> str | None:
    """Its model, where the system tells."""
    table = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", table.read_text()) if table.is_file() else None
    return found[1] if found else platform.processor() or None
