"""What starting costs: commands that compute nothing, against importing the packages that any of them needs.

Of each, the run of least user and system time of some, in turn. `cache list` looks into an empty folder; its memory is
the most that the process held.
"""

import os
import subprocess
import sys
import tempfile
from typing import NamedTuple

from record import Row, command_line, publish

OURS = {"emoclim --help": ["--help"], "emoclim cache list": ["cache", "list"]}
LIMITS = {"emoclim --help": "import typer, rich", "emoclim cache list": "import typer, rich, pyarrow"}


class Cost(NamedTuple):
    """CPU seconds of a process, and MB that it held at most."""

    seconds: float
    mb: float


def cost(words: list[str], folder: str) -> Cost:
    """Run Python in a folder and return what that cost."""
    child = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, cwd=folder)
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if status:
        raise RuntimeError(f"{words} failed")
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / (1 << 10 if sys.platform != "darwin" else 1 << 20))


def main() -> None:
    """Measure all in turn, so that whatever else the machine does falls on all of them."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=int, default=20)
    asked = parser.parse_args()
    commands = {name: ["-m", "emoclim", *words] for name, words in OURS.items()}
    commands |= {code: ["-c", code] for code in LIMITS.values()}
    with tempfile.TemporaryDirectory() as folder:
        runs = [{name: cost(words, folder) for name, words in commands.items()} for _ in range(asked.runs)]
    least = {name: min(run[name] for run in runs) for name in commands}
    rows = [
        Row(f"`{name}`", 1e3 * least[name].seconds, "ms", f"`{limit}`", 1e3 * least[limit].seconds, goal="<= 1.5")
        for name, limit in LIMITS.items()
    ]
    rows.append(Row("`emoclim cache list`: memory", least["emoclim cache list"].mb, "MB", goal="<= 150 MB"))
    publish("Starting", __doc__, asked, rows, {"seconds and MB": runs}, "typer", "rich", "pyarrow")


if __name__ == "__main__":
    main()
