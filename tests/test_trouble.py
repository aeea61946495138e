"""What Ray's own errors say, as one line of what went wrong."""

from __future__ import annotations

import pytest
from ray.exceptions import ActorDiedError, NodeDiedError, RayTaskError, WorkerCrashedError

from vidray.errors import ClusterError, StoreError, UsageError, VidrayError
from vidray.pipeline.trouble import raise_as_said, reason_of

TRACE = """ray::plan_part() (pid=7, ip=10.0.0.3)
Traceback (most recent call last):
  File "/somewhere/mine.py", line 9, in plan
    raise ValueError("no such thing")
ValueError: no such thing
"""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RayTaskError("plan_part", TRACE, ValueError("no\n  such thing")), "ValueError: no such thing"),
        (RayTaskError("plan_part", TRACE, KeyError("uri")).as_instanceof_cause(), "KeyError: 'uri'"),
        (ActorDiedError(RayTaskError("__init__", TRACE, ValueError("no such thing"))),
         "ValueError: no such thing"),
        (NodeDiedError("The actor is dead because\n\tits node has died."),
         "The actor is dead because its node has died."),
    ],
)  # fmt: skip
def test_a_reason_is_one_line_without_a_stack_trace(error, reason):
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    ("cause", "kind", "said"),
    [
        (UsageError("no such planner"), UsageError, "no such planner"),
        (StoreError("cannot be read\nadvice on settings"), StoreError, "cannot be read"),
        (ClusterError("no room"), ClusterError, "no room"),
        (PermissionError(13, "Permission denied", "/store"), StoreError, "[Errno 13] Permission denied: '/store'"),
    ],
)
def test_what_a_task_says_is_raised_as_it_is(cause, kind, said):
    with pytest.raises(VidrayError) as raised:
        raise_as_said(RayTaskError("plan_part", TRACE, cause))
    assert (type(raised.value), str(raised.value)) == (kind, said)


def test_a_lost_worker_and_a_fault_of_the_code_are_left_to_the_caller():
    raise_as_said(WorkerCrashedError())
    raise_as_said(RayTaskError("plan_part", TRACE, ValueError("a fault")))
