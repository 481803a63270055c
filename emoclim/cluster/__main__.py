"""A worker of the local engine: ``python -m emoclim.cluster FOLDER NUMBER CORES PARENT``."""

import sys
from pathlib import Path

from emoclim.cluster.working import end_with, run_worker

if __name__ == "__main__":
    folder, number, cores, parent = sys.argv[1:]
    end_with(int(parent))
    sys.exit(run_worker(Path(folder), int(number), int(cores)))
