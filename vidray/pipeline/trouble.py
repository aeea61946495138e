"""Errors that concern all of a run, carried from a worker to the driver as values, and what Ray's own errors say.

Raised in a worker, Ray would take them for the worker's own failure, and try again. Knows no Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from vidray.errors import ClusterError, StoreError, VidrayError, one_line

T = TypeVar("T")

REASON_CHARS = 300
TRACED = '  File "'
"""Of a line of a stack trace."""


@dataclass(frozen=True)
class Trouble:
    """An error to be raised in the driver."""

    error: VidrayError


def trouble_of(act: Callable[[], None]) -> Trouble | None:
    """The error that `act` raises, as a `Trouble`; None where it raises none."""

    def acted() -> tuple[()]:
        act()
        return ()

    return next(spare(acted), None)


def spare(act: Callable[[], Iterable[T]]) -> Iterator[T | Trouble]:
    """What `act` gives, and instead of an error that it raises a `Trouble`, as the last one."""
    try:
        yield from act()
    except VidrayError as e:
        yield Trouble(e)
    except OSError as e:
        yield Trouble(StoreError(one_line(e)))
    except Exception as e:
        reason = one_line(e)[:500]
        yield Trouble(ClusterError(f"a worker cannot do its work: {type(e).__name__}: {reason}"))


def raise_as_said(error: Exception) -> None:
    """Raise what a task itself said went wrong as an error of this process; returns where a worker was lost, or where
    it is a fault of the code.

    An OSError of a task is the store's: what media cannot be read is a row.
    """
    cause = getattr(error, "cause", None)
    if isinstance(cause, OSError | StoreError | ClusterError):
        # Ray Data adds lines of advice on its own settings
        said = str(cause).partition("\n")[0]
        raise (ClusterError if isinstance(cause, ClusterError) else StoreError)(said) from error
    if isinstance(cause, VidrayError):
        raise cause from error


def reason_of(error: Exception) -> str:
    """What an error of Ray's says went wrong, as one line without its stack traces, which `--debug` shows."""
    cause = getattr(error, "cause", None)
    if cause is not None:
        return f"{type(cause).__name__}: {one_line(cause)[:REASON_CHARS]}"
    said = str(error)
    if TRACED in said:
        # what was raised comes last
        said = said.strip().splitlines()[-1]
    return one_line(said)[-REASON_CHARS:]
