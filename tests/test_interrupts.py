"""Ctrl-C as a terminal sends it, to all of a run's processes: one line, no traceback, nothing left behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vidray.cli import interrupts
from vidray.cli.interrupts import descendants
from vidray.store import Store
from vidray.testing import SyntheticVideo, write_video

SLOW = """
import time
from dataclasses import dataclass
from extractors_for_tests import MeanColour

@dataclass(frozen=True, kw_only=True)
class Slow(MeanColour):
    def load(self, device):
        extract = super().load(device)
        return lambda items: (time.sleep(60), extract(items))[1]
"""
KEPT = "vidray: interrupted; what is done is kept, run the same command again to go on"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("interrupts") / "corpus"
    folder.mkdir()
    for number in range(3):
        write_video(folder / f"{number}.mp4", SyntheticVideo(fps=10, frames=10))
    return folder


def take_interrupts() -> None:
    """Be as in a terminal: a shell has what it runs in the background ignore Ctrl-C, these tests too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def running(corpus: Path, folder: Path):
    (folder / "slow_extractor.py").write_text(SLOW)
    command = [sys.executable, "-m", "vidray.cli", "extract", str(corpus), "store", "-x", "slow_extractor:Slow"]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.getcwd()])}
    errors = folder / "stderr"
    with errors.open("wb") as stderr:
        run = subprocess.Popen(
            command,
            cwd=folder,
            env=env,
            stdout=stderr,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=take_interrupts,
        )
        try:
            yield run, errors
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)
            run.wait()


def wait_for(is_so, limit_s: float = 120) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def ends_cleanly(run, errors, *, times: int = 1) -> list[str]:
    """Interrupt as a terminal does, and see that nothing is left; the lines that were written since."""
    started = descendants(run.pid)
    before = len(errors.read_bytes())
    for _ in range(times):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, signal.SIGINT)
        time.sleep(0.2)
    assert run.wait(timeout=60) == 130
    wait_for(lambda: not any(map(is_alive, started)), 20)
    return errors.read_bytes()[before:].decode().strip().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupted_extraction_says_one_line_and_leaves_no_process(corpus, tmp_path, times):
    with running(corpus, tmp_path) as (run, errors):
        wait_for(lambda: b"extracting" in errors.read_bytes())
        wait_for(lambda: len(descendants(run.pid)) > 3)
        assert ends_cleanly(run, errors, times=times) == [KEPT]
    if times == 1:
        # the lease is given back
        assert not (tmp_path / "store" / "_lease.json").exists()
    assert Store(str(tmp_path / "store")).parts("clips") == [0]


def runs(pid: int, program: str) -> bool:
    """Whether a process has started one whose command line has a word."""
    for child in descendants(pid):
        with contextlib.suppress(OSError):
            if program in Path(f"/proc/{child}/cmdline").read_text():
                return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("what", ["libraries", "a process", "gcs_server", "raylet"])
def test_so_does_one_that_has_hardly_begun(corpus, tmp_path, what):
    with running(corpus, tmp_path) as (run, errors):
        if what == "libraries":
            wait_for(lambda: "pyarrow" in Path(f"/proc/{run.pid}/maps").read_text())
        elif what == "a process":
            wait_for(lambda: len(descendants(run.pid)) > 0)
        else:
            wait_for(lambda: runs(run.pid, what))
        assert ends_cleanly(run, errors) == [KEPT]


WHILE_TURNED_AWAY = """
import os, signal, sys
from vidray.cli import interrupts
from vidray.pipeline.cluster import _swallow_stderr

sys.argv[1:2] = ["extract"]
interrupts.watch()
forked = os.fork()
if not forked:
    # what Ray starts is a copy of this process for a moment, and gets the signal too
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        os._exit(0)
os.waitpid(forked, 0)
try:
    with _swallow_stderr():
        os.write(2, b"noise of Ray's start\\n")
        os.kill(os.getpid(), signal.SIGINT)
finally:
    os.write(2, b"noise of Ray's end\\n")
    interrupts.end()
"""


def test_the_line_is_said_while_standard_error_is_turned_away_and_nothing_after_it():
    run = subprocess.run(
        [sys.executable, "-c", WHILE_TURNED_AWAY, "extract"], capture_output=True, text=True, check=False
    )
    assert (run.returncode, run.stderr.strip()) == (130, KEPT)


def test_a_module_with_an_error_is_one_line_with_its_file_and_line(tmp_path, monkeypatch, capsys):
    from vidray.cli import main

    monkeypatch.chdir(tmp_path)
    for name, source, said in (
        ("broken_syntax", "x = 1\ny = (\n", "SyntaxError"),
        ("broken_name", "\nprint(nothing_there)\n", "NameError: name 'nothing_there' is not defined"),
        ("broken_import", "\nimport no_such_package_of_mine\n", "No module named 'no_such_package_of_mine'"),
        ("broken_value", "\n\nint('x')\n", "invalid literal"),
    ):
        (tmp_path / f"{name}.py").write_text(source)
        assert main(["extract", ".", "store", "-x", f"{name}:Thing"]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert said in err
        assert f"{tmp_path}/{name}.py, line {3 if name == 'broken_value' else 2})" in err


BUSY = """
import hashlib, os, signal, sys, threading
from vidray.cli import interrupts

interrupts.ENDS_WITHIN_S, interrupts.ONE_S = map(float, sys.argv[2:4])
interrupts.watch()
for after_s in map(float, sys.argv[4:]):
    threading.Timer(after_s, os.kill, (os.getpid(), signal.SIGINT)).start()
# one call that looks at no signal
hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000_000)
"""


def busy(ends_within_s: float, one_s: float, *after_s: float) -> float:
    """How long a process took that is interrupted at these times, and ended as it should."""
    began = time.monotonic()
    command = [sys.executable, "-c", BUSY, "extract", *map(str, (ends_within_s, one_s, *after_s))]
    run = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=take_interrupts, timeout=200)
    assert (run.returncode, run.stderr.strip()) == (130, KEPT)
    return time.monotonic() - began


def test_a_library_that_looks_at_no_signal_holds_neither_the_line_nor_the_end_up():
    # who waits for it to end by itself, waits for longer than this takes; on a busy machine two may come as one
    busy(1000.0, interrupts.ONE_S, 0.5, 2.0, 4.0, 8.0, 16.0)


@pytest.mark.slow
def test_the_one_of_a_process_that_is_being_started_is_no_second_one():
    assert busy(interrupts.ENDS_WITHIN_S, 1.0, 0.5, 0.6) > interrupts.ENDS_WITHIN_S


def test_a_stream_that_is_closed_stands_for_no_other_file():
    """What is listed and closed by then, as the listing itself, is no place where something could come out."""
    code = (
        "import os; from vidray.cli import interrupts; os.close(1); interrupts._silence(); "
        "there = [fd for fd in range(3, 64) if interrupts._place(fd) == interrupts._place(1)]; "
        "raise SystemExit(len(there))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")
