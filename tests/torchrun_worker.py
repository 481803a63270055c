"""The commands, with the examples of a folder among the encoders, in one of several processes: torchrun's, or forks."""

import os
import sys

import emoclim.encoders
from emoclim.cli import app


def take_part(rank: int, count: int, port: int, *words: str) -> None:
    """Do in a fork what a process that torchrun starts does; the first of the words is the folder."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in own.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "forks"}
    sys.argv = ["emoclim", *words]
    main()


def main() -> None:
    emoclim.encoders.__path__.append(sys.argv.pop(1))
    app()


if __name__ == "__main__":
    main()
