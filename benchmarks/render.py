"""Renders docs/benchmarks.md from the results in benchmarks/results/, and from nothing else."""

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results", HERE.parent / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

`make benchmark` runs the scripts of `benchmarks/` that need a CPU only, in less than 15 minutes on two cores; `make
benchmark-gpu`, those that need a GPU; `python benchmarks/suite.py --only NAME`, any. Each measures against a named peer
or limit in the same run. Their results, of which this page is made by `python benchmarks/render.py`, are kept in
`benchmarks/results/`, with more details than stand here.

A ratio is ours by theirs. A goal is of the ratio; of ours, where it bears the unit or there is no ratio.
"""
COLUMNS = ("", "ours", "", "against", "ratio", "goal", "met")
SIGNS = {"<=": "≤ ", ">=": "≥ ", "<": "< ", ">": "> "}


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=PAGE)
    asked = parser.parse_args()
    asked.page.write_text(render(read(asked.results)), encoding="utf-8")


def read(folder: Path) -> dict[str, dict[str, Any]]:
    """All results of a folder by their names, in the order of these."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def render(results: Mapping[str, Mapping[str, Any]]) -> str:
    """The page: a section for each title, in it a table for each result."""
    letters: dict[str, str] = {}
    for result in results.values():
        letters.setdefault(_machine(result["machine"]), chr(ord("A") + len(letters)))
    lines = [HEAD]
    if letters:
        lines += ["Machines:\n", *(f"- {letter}: {machine}" for machine, letter in letters.items()), ""]
    titles = dict.fromkeys(sorted(result["title"] for result in results.values()))
    for title in titles:
        members = {name: result for name, result in results.items() if result["title"] == title}
        about = next(iter(members.values()))["about"]
        lines += [f"## {title}\n", about.replace("``", "`") + "\n"]
        for name, result in members.items():
            lines += _table(name, result, letters[_machine(result["machine"])])
    return "\n".join(lines).rstrip() + "\n"


def _table(name: str, result: Mapping[str, Any], letter: str) -> Iterator[str]:
    """One result: its command and machine, then its rows."""
    facts = result["machine"]
    told = [f"machine {letter}"]
    if str(result["options"].get("device")).startswith("cuda"):
        told.append(facts["gpu"])
    if facts["threads"]:
        told.append(f"{facts['threads']} thread{'s' * (facts['threads'] != 1)}")
    told += [" ".join(entry) for entry in facts["packages"].items()]
    yield f"`{result['command']}` ({', '.join(told)}; [details](../benchmarks/results/{name}.json)):\n"
    yield _line(COLUMNS)
    yield _line(["---", "---:", "---", "---", "---:", "---", "---"])
    for row in result["rows"]:
        yield _line(_cells(row))
    yield ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _cells(row: Mapping[str, Any]) -> list[str]:
    goal = row["goal"] or ""
    for sign, shown in SIGNS.items():
        if goal.startswith(f"{sign} "):
            goal = shown + goal.removeprefix(f"{sign} ")
    against = "" if row["against"] is None else f"{row['against']}: {number(row['theirs'])}"
    ratio = "" if row["ratio"] is None else share(row["ratio"])
    met = {True: "yes", False: "no", None: ""}[row["met"]]
    return [row["name"], number(row["ours"]), row["unit"], against, ratio, goal, met]


def number(value: float) -> str:
    """Three digits that count, or all of a whole number."""
    if value == int(value):
        return f"{int(value):,}"
    if abs(value) < 1e-3:
        return f"{value:.1e}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{round(value, digits):,.{max(0, digits)}f}"


def share(ratio: float) -> str:
    """A ratio; a small one as one part of so many."""
    return f"1/{number(1 / ratio)}" if 0 < ratio < 0.1 else number(ratio)


def _machine(facts: Mapping[str, Any]) -> str:
    """In a line."""
    cores = f"{facts['cores']} core{'s' * (facts['cores'] != 1)} ({facts['processor']})"
    return f"{cores}, {facts['memory_gb']} GB, {facts['system']}, Python {facts['python']}"


if __name__ == "__main__":
    main()
