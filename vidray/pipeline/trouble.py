"""Errors that concern all of a run, carried from a worker to the driver as values.

Raised in a worker, Ray would take them for the worker's own failure, and try again. Knows no Ray.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from vidray.errors import ClusterError, StoreError, VidrayError, one_line

T = TypeVar("T")


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
