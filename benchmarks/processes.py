"""What a command costs with all the processes that it starts, and medians of such costs over rounds.

Seconds by the clock, seconds of processors, and memory.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LOOK_EVERY_S = 0.1
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cost:
    """Of one command.

    Attributes:
        wall_s: From start to end.
        cpu_s: Of its processes and theirs, as last seen: up to a tenth of a second of each may be missing.
        peak_bytes: The largest resident size of the command's own process.
        answer: The JSON object that its last line of standard output is.
        largest_bytes: The largest resident size of one process, of its own and of those that it started.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int
    answer: dict[str, Any]
    largest_bytes: int = 0


def run(command: Sequence[str], **environment: str) -> Cost:
    """Run a command that ends with one JSON line. Raises CalledProcessError with its standard error shown."""
    began = time.monotonic()
    used_s: dict[int, float] = {}
    peak_bytes = largest_bytes = 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:
        family, strangers = {process.pid}, set[int]()
        while process.poll() is None:
            # looking takes from the cores that the command has, so others' processes are looked at only once
            pids = _pids()
            strangers &= pids
            parents = {pid: _parent(pid) for pid in pids - family - strangers}
            while born := {pid for pid, parent in parents.items() if parent in family} - family:
                family |= born
            # one whose parent was not seen yet may turn out to belong
            strangers |= {pid for pid in parents.keys() - family if parents[pid] in pids}
            for pid in family:
                used_s[pid] = _processor_s(pid) or used_s.get(pid, 0.0)
            peak_bytes = _peak_bytes(process.pid) or peak_bytes
            largest_bytes = max(largest_bytes, *(_peak_bytes(pid) or 0 for pid in family))
            time.sleep(LOOK_EVERY_S)
        assert process.stdout is not None
        assert process.stderr is not None
        lines, told = process.stdout.read().strip().splitlines(), process.stderr.read()
    if process.returncode != 0 or not lines:
        sys.stderr.write(told)
        raise subprocess.CalledProcessError(process.returncode or 1, command)
    return Cost(time.monotonic() - began, sum(used_s.values()), peak_bytes, json.loads(lines[-1]), largest_bytes)


def _pids() -> set[int]:
    return {int(name) for name in os.listdir("/proc") if name.isdigit()}


def _parent(pid: int) -> int | None:
    fields = _fields(pid)
    return None if fields is None else int(fields[1])


def _fields(pid: int) -> list[str] | None:
    """/proc/PID/stat behind the name, which may hold anything: state, parent, ..."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return None


def _processor_s(pid: int) -> float | None:
    fields = _fields(pid)
    return None if fields is None else (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def _peak_bytes(pid: int) -> int | None:
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as file:
            peaks = [int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM")]
    except OSError:
        return None
    return peaks[0] if peaks else None


def medians(rounds: Sequence[Mapping[str, float]], digits: int) -> dict[str, float]:
    """Of each figure its median over the rounds."""
    return {name: round(statistics.median(found[name] for found in rounds), digits) for name in rounds[0]}
