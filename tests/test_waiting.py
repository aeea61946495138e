"""Nothing is waited for without a limit, and without saying for what."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest

from vidray.pipeline import waiting
from vidray.pipeline.waiting import watched


def test_what_is_watched_comes_in_order_and_with_its_error():
    def answers() -> Iterator[int]:
        yield from (1, 2, 3)
        raise KeyError("four")

    found = watched(answers(), doing="counting")
    assert list(itertools.islice(found, 3)) == [1, 2, 3]
    with pytest.raises(KeyError, match="four"):
        next(found)
    assert list(watched(iter("ab"), doing="spelling")) == ["a", "b"]


def test_an_iterator_that_hangs_is_given_up_after_it_was_said_what_is_waited_for(monkeypatch):
    monkeypatch.setattr(waiting, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(waiting, "SAY_EVERY_S", 0.05)
    monkeypatch.setattr(waiting, "_cluster", lambda: "2 nodes with 4 CPUs are there, 0 of them free")
    never, said = threading.Event(), []
    try:
        with pytest.raises(TimeoutError, match=r"extracting: nothing has come in for .* min, 2 nodes"):
            next(watched(iter(never.wait, True), doing="extracting", limit_s=0.3, say=said.append))
    finally:
        never.set()
    assert said
    assert said[0].startswith("extracting: nothing has come in for 0 s, 2 nodes with 4 CPUs")
