"""`python -m vidray.cli`."""

from vidray.cli import run

run()
