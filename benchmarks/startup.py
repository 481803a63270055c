"""What starting costs: ``emoclim --help`` against ``python -c "import typer, rich"``, the best of some runs each."""

import subprocess
import sys
import time

from record import Row, command_line, publish

OURS = [sys.executable, "-m", "emoclim", "--help"]
LIMIT = [sys.executable, "-c", "import typer, rich"]


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begin


def main() -> None:
    """Measure both in turn, so that whatever else the machine does falls on both."""
    parser = command_line(__doc__)
    parser.add_argument("--runs", type=int, default=20)
    asked = parser.parse_args()
    runs = [(seconds(OURS), seconds(LIMIT)) for _ in range(asked.runs)]
    ours, limit = (1000 * min(column) for column in zip(*runs, strict=True))
    row = Row("`emoclim --help`", ours, "ms", "`import typer, rich`", limit, goal="<= 1.5")
    publish("Starting", __doc__, asked, [row], {"seconds": runs}, "typer", "rich")


if __name__ == "__main__":
    main()
