"""What starting costs: ``emoclim --help`` against ``python -c "import typer, rich"``, best of some runs each.

Repeat with ``python benchmarks/startup.py``; prints JSON. The goal is a ratio of at most 1.5.
"""

import json
import subprocess
import sys
import time

from machine import facts

RUNS = 20
COMMANDS = {
    "help": [sys.executable, "-m", "emoclim", "--help"],
    "limit": [sys.executable, "-c", "import typer, rich"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def main() -> None:
    """Measure both in turn, so that whatever else the machine does falls on both."""
    runs = [{name: seconds(command) for name, command in COMMANDS.items()} for _ in range(RUNS)]
    best = {name: min(run[name] for run in runs) for name in COMMANDS}
    result = {"seconds": best, "ratio": best["help"] / best["limit"], "runs": RUNS}
    print(json.dumps(result | {"machine": facts("typer", "rich")}, indent=2))


if __name__ == "__main__":
    main()
