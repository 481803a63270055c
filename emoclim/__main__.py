"""Lets ``python -m emoclim`` do what the command ``emoclim`` does."""

from emoclim.cli import app

if __name__ == "__main__":
    app()
