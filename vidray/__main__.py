"""`python -m vidray` is the command `vidray`."""

from vidray.cli import run

if __name__ == "__main__":
    run()
