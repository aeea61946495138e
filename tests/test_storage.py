"""Storage that fails now and then: what passes is borne with, what does not is one line, and no file is ever half."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import botocore.exceptions
import fsspec
import pyarrow as pa
import pytest
from clip_inputs import read_samples
from fault_proxy import FAULTS, Answer, Faults, Request, faulty_server, relay, serve_files
from hypothesis import given, settings
from hypothesis import strategies as st
from s3fs import S3FileSystem
from s3fs.errors import translate_boto_error

from vidray.corpus import list_corpus
from vidray.errors import ProbeError
from vidray.media import FrameRate, Frames
from vidray.sandbox import Sandbox
from vidray.storage import Folder, filesystem, is_answering, open_uri, patience, places, remote
from vidray.storage.patience import may_pass, persist
from vidray.storage.remote import BLOCK_BYTES, RangeFile
from vidray.store import VIDEOS, Store
from vidray.testing import SyntheticVideo, read_frame_number, write_video

MB = 1 << 20
DATA = random.Random(41).randbytes(3 * MB + 12345)
"""Noise, the same each time: one in many thousands begins as some format of media does."""


class Clock:
    """Time that passes only while somebody sleeps, or says so."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)
        self.now_s += seconds

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(patience, "time", clock)
    return clock


@pytest.fixture(autouse=True)
def no_endpoint_is_known(monkeypatch):
    monkeypatch.setattr(patience, "_given_up", type(patience._given_up)())


@pytest.fixture
def hasty(monkeypatch):
    """Short waits and time limits, so that many faults take little time."""
    monkeypatch.setattr(places, "READ_TIMEOUT_S", 0.5)
    monkeypatch.setattr(places, "S3_ATTEMPTS", 1)
    monkeypatch.setattr(patience, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(patience, "LONGEST_WAIT_S", 0.1)


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Start servers with faults; returns their URL."""
    with ExitStack() as stack:
        yield lambda source, faults=None: stack.enter_context(faulty_server(source, faults or Faults()))


@pytest.fixture
def s3_behind_faults(s3, s3_bucket, serve, monkeypatch) -> tuple[Folder, Faults]:
    """A folder on S3, and the faults on the way there: none yet."""
    faults = Faults(seed=7, stall_s=3.0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", serve(relay(s3.endpoint_url), faults))
    return Folder(f"{s3_bucket}/store"), faults


def failing(times: int, error: Exception) -> tuple[Callable[[], str], list[int]]:
    """Something that fails so many times, and then works; and its calls."""
    calls: list[int] = []

    def act() -> str:
        calls.append(1)
        if len(calls) <= times:
            raise error
        return "done"

    return act, calls


def test_what_passes_is_tried_again_after_growing_waits(clock):
    act, calls = failing(6, ConnectionResetError("reset"))
    assert persist("s3://bucket/file", act) == "done"
    assert len(calls) == 7
    assert all(0.05 * 2**i <= wait <= 0.1 * 2**i for i, wait in enumerate(clock.waits_s))


def test_what_never_passes_is_tried_once(clock):
    act, calls = failing(99, PermissionError("no"))
    with pytest.raises(PermissionError, match=r"^s3://bucket/file: no$"):
        persist("s3://bucket/file", act)
    assert (len(calls), clock.waits_s) == (1, [])


def test_patience_ends_after_a_number_of_tries(clock):
    act, calls = failing(99, TimeoutError())
    with pytest.raises(TimeoutError, match=r"^s3://bucket/file: no answer in time \(10 tries in \d\d s\)$"):
        persist("s3://bucket/file", act)
    assert len(calls) == patience.TRIES
    assert clock.now_s < patience.PATIENCE_S


def test_patience_ends_after_a_time(clock):
    def stalls() -> None:
        clock.now_s += 20.0
        raise TimeoutError

    with pytest.raises(TimeoutError, match="3 tries in 60 s"):
        persist("s3://bucket/file", stalls)


def test_a_bug_is_not_taken_for_a_fault():
    with pytest.raises(TypeError, match=r"^a bug$"):
        persist("s3://bucket/file", failing(1, TypeError("a bug"))[0])


def test_a_server_that_is_gone_is_waited_for_less_and_less(clock):
    gone = ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    for tries in (10, 2, 1, 1):
        with pytest.raises(OSError, match=rf"^http://gone/a: connection refused \({tries} tries in "):
            persist("http://gone/a", failing(99, gone)[0])
    assert persist("http://here/a", failing(3, gone)[0]) == "done"
    assert persist("http://gone/b", failing(0, gone)[0]) == "done"
    assert persist("http://gone/c", failing(3, gone)[0]) == "done"


def s3_error(status: int, code: str) -> BaseException:
    answer = {"Error": {"Code": code, "Message": "…"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return translate_boto_error(botocore.exceptions.ClientError(answer, "GetObject"))


def http_error(status: int) -> Exception:
    return aiohttp.ClientResponseError(None, (), status=status, message="…")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (http_error(500), True), (http_error(502), True), (http_error(503), True), (http_error(429), True),
        (http_error(408), True), (http_error(400), False), (http_error(403), False), (http_error(404), False),
        (http_error(501), False), (s3_error(500, "InternalError"), True), (s3_error(503, "SlowDown"), True),
        (s3_error(400, "RequestTimeout"), False), (s3_error(403, "AccessDenied"), False),
        (s3_error(404, "NoSuchBucket"), False), (s3_error(409, "ConditionalRequestConflict"), True),
        (s3_error(418, "SomethingNew"), False), (ConnectionResetError(), True), (TimeoutError(), True),
        (BrokenPipeError(), True), (EOFError(), True), (aiohttp.ServerDisconnectedError(), True),
        (aiohttp.ClientPayloadError(), True), (aiohttp.InvalidURL("x"), False), (FileNotFoundError("x"), False),
        (botocore.exceptions.EndpointConnectionError(endpoint_url="x", error=ConnectionRefusedError()), True),
        (botocore.exceptions.ReadTimeoutError(endpoint_url="x", error=None), True),
        (botocore.exceptions.EndpointConnectionError(
            endpoint_url="x", error=socket.gaierror(socket.EAI_NONAME, "unknown")), False),
        (botocore.exceptions.EndpointConnectionError(
            endpoint_url="x", error=socket.gaierror(socket.EAI_AGAIN, "later")), True),
        (botocore.exceptions.NoCredentialsError(), False), (OSError(errno.ENOSPC, "full"), False),
        (ssl.SSLCertVerificationError("self-signed"), False), (ValueError("x"), False),
    ],
    ids=repr,
)  # fmt: skip
def test_only_trouble_may_pass(error, passes):
    assert may_pass(error) == passes


# what a file of ranges holds


def ranges(data: bytes, asked: list[tuple[int, int]], most: int = 1 << 30) -> RangeFile:
    def fetch(start: int, stop: int) -> bytes:
        asked.append((start, stop))
        return data[start : min(stop, start + most)]

    return RangeFile("s3://bucket/file", len(data), fetch)


@given(
    st.lists(st.tuples(st.integers(0, len(DATA) + 99), st.integers(-1, MB)), max_size=30),
    st.sampled_from([100_000, 1 << 30]),
)
@settings(max_examples=40, deadline=None)
def test_ranges_read_as_the_file_does(reads, most):
    file, truth = ranges(DATA, [], most), io.BytesIO(DATA)
    for offset, count in reads:
        assert file.seek(offset) == truth.seek(offset)
        assert file.read(count) == truth.read(count)
        assert file.tell() == truth.tell()
    assert (file.seek(-5, os.SEEK_END), file.read()) == (truth.seek(-5, os.SEEK_END), truth.read())


def test_reading_on_asks_for_more_at_once_and_for_nothing_twice():
    data = bytes(64 * MB)
    asked: list[tuple[int, int]] = []
    with ranges(data, asked) as file:
        while file.read(64 << 10):
            continue
    assert asked[0] == (0, BLOCK_BYTES)
    assert len(asked) <= 0.4 * 64
    assert [stop for _, stop in asked[:-1]] == [start for start, _ in asked[1:]]


def test_a_seek_asks_for_one_block():
    asked: list[tuple[int, int]] = []
    file = ranges(bytes(64 * MB), asked)
    for offset in (50 * MB, 10 * MB, 30 * MB + 17):
        file.seek(offset)
        file.read(1000)
    assert sum(stop - start for start, stop in asked) == 3 * BLOCK_BYTES


def test_what_is_kept_is_bounded():
    file = ranges(bytes(200 * MB), [])
    for offset in range(0, 200 * MB, MB):
        file.seek(offset)
        file.read(MB)
    assert len(file._blocks) <= remote.KEPT_BLOCKS


def test_a_server_that_answers_a_byte_at_a_time_is_given_up():
    asked: list[tuple[int, int]] = []
    with pytest.raises(OSError, match="a few bytes at a time"):
        ranges(DATA, asked, most=1).read(MB)
    assert len(asked) == remote.PIECES


def test_a_file_that_was_given_up_is_not_waited_for_again(clock):
    calls: list[int] = []

    def fetch(start: int, stop: int) -> bytes:
        calls.append(start)
        raise ConnectionResetError("reset")

    file = RangeFile("s3://bucket/file", 10 * MB, fetch)
    for offset in (0, 5 * MB, 0):
        file.seek(offset)
        with pytest.raises(OSError, match=r"s3://bucket/file: reset \(10 tries"):
            file.read(100)
    assert len(calls) == patience.TRIES


# web servers


@pytest.fixture
def file_served(tmp_path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "data.bin").write_bytes(DATA)
    return folder


@pytest.mark.parametrize("kind", FAULTS)
def test_a_web_servers_faults_are_borne_with(hasty, serve, file_served, kind):
    faults = Faults({kind: 0.2 if kind == "stall" else 0.35}, seed=1, stall_s=2.0)
    url = serve(serve_files(file_served), faults)
    for _ in range(8):
        with open_uri(f"{url}/data.bin") as file:
            file.seek(MB)
            assert file.read(10) == DATA[MB : MB + 10]
            file.seek(0)
            assert file.read() == DATA
    assert faults.injected[kind] >= 5


@pytest.mark.parametrize("has_length", [True, False])
def test_a_server_without_ranges_is_copied_from(serve, file_served, has_length):
    faults = Faults()
    url = serve(serve_files(file_served, has_ranges=False, has_length=has_length), faults)
    with open_uri(f"{url}/data.bin") as file:
        assert file.seek(0, os.SEEK_END) == len(DATA)
        file.seek(MB)
        assert file.read() == DATA[MB:]
        assert file.fileno() >= 0
    assert faults.requests == 2


@pytest.mark.parametrize("has_length", [True, False])
def test_a_copy_has_a_size_limit(serve, file_served, monkeypatch, has_length):
    monkeypatch.setattr(remote, "DOWNLOAD_LIMIT_BYTES", MB)
    url = serve(serve_files(file_served, has_ranges=False, has_length=has_length))
    with pytest.raises(OSError, match=r"data.bin: the server serves no byte ranges, and this is more than 1,048,576"):
        open_uri(f"{url}/data.bin")


def test_a_copy_is_made_again_where_it_breaks_off(hasty, serve, file_served):
    faults = Faults({"truncate": 0.5}, seed=2)
    url = serve(serve_files(file_served, has_ranges=False), faults)
    for _ in range(4):
        with open_uri(f"{url}/data.bin") as file:
            assert file.read() == DATA
    assert faults.injected["truncate"] >= 2


@pytest.mark.parametrize(
    ("status", "kind"), [(404, FileNotFoundError), (410, FileNotFoundError), (403, PermissionError)]
)
def test_a_refusal_is_final(serve, status, kind):
    faults = Faults()
    url = serve(lambda request: Answer(status, {}, b"no"), faults)
    with pytest.raises(kind, match=f"^{url}/a.mp4: the storage answers {status}"):
        open_uri(f"{url}/a.mp4")
    assert faults.requests == 1


def test_a_file_that_changes_while_it_is_read_is_not_mixed(serve, file_served):
    url = serve(serve_files(file_served))
    with open_uri(f"{url}/data.bin") as file:
        file.read(10)
        (file_served / "data.bin").write_bytes(DATA[::-1])
        file.seek(2 * MB)
        with pytest.raises(OSError, match="the file changed while it was read"):
            file.read(10)


def test_a_storage_that_says_no_is_answering(hasty, serve, file_served, tmp_path, monkeypatch):
    faults = Faults()
    url = serve(serve_files(file_served), faults)
    assert is_answering(f"{url}/data.bin")
    assert is_answering(f"{url}/gone.bin")
    assert is_answering(str(tmp_path / "gone.bin"))
    faults.outage_at = 0
    assert not is_answering(f"{url}/data.bin")


def test_an_empty_file_is_empty(serve, file_served):
    (file_served / "empty.bin").touch()
    with open_uri(f"{serve(serve_files(file_served))}/empty.bin") as file:
        assert file.read() == b""


def test_a_server_that_is_not_there_ends_in_one_line(hasty):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.mp4"
        with pytest.raises(OSError, match=f"^{url}: Cannot connect to host .* \\(10 tries in ") as caught:
            open_uri(url)
    assert "\n" not in str(caught.value)


def test_a_manifest_of_urls_is_a_corpus(serve, file_served, tmp_path):
    write_video(file_served / "a video.mp4", SyntheticVideo(frames=50))
    url = serve(serve_files(file_served))
    manifest = file_served / "manifest.txt"
    manifest.write_text(f"{url}/a%20video.mp4\n{url}/gone.mp4\n{url}/data.bin\n")
    videos = {video.uri.rsplit("/", 1)[1]: video for video in list_corpus(f"{url}/manifest.txt").videos}
    assert videos["a%20video.mp4"].size_bytes == (file_served / "a video.mp4").stat().st_size
    assert videos["a%20video.mp4"].fingerprint.startswith("etag:")
    sandbox = Sandbox()
    try:
        assert sandbox.probe(videos["a%20video.mp4"].uri).duration_s == pytest.approx(2.0)
        kinds = {}
        for name in ("gone.mp4", "data.bin"):
            with pytest.raises(ProbeError) as refused:
                sandbox.probe(videos[name].uri)
            kinds[name] = refused.value.kind
        assert kinds == {"gone.mp4": "not_found", "data.bin": "not_media"}
    finally:
        sandbox.close()


# little is read of a large file


@pytest.fixture(scope="module")
def large_videos(tmp_path_factory) -> Path:
    """Uncompressed videos of some 70 MB: their index before the frames, behind them, and in Matroska's way."""
    folder = tmp_path_factory.mktemp("large")
    options = {"frames": 600, "width": 320, "height": 180, "codec": "rawvideo", "pix_fmt": "uyvy422", "b_frames": 0}
    write_video(folder / "behind.mov", SyntheticVideo(**options))
    write_video(folder / "before.mov", SyntheticVideo(**options, container_options={"movflags": "+faststart"}))
    write_video(folder / "cues.mkv", SyntheticVideo(**options))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["behind.mov", "before.mov", "cues.mkv"])
def test_a_short_clip_reads_a_small_part_of_a_large_file(serve, large_videos, name):
    size_bytes = (large_videos / name).stat().st_size
    assert size_bytes > 60e6
    faults = Faults()
    uri = f"{serve(serve_files(large_videos), faults)}/{name}"
    sampling = FrameRate(fps=5.0)
    sandbox = Sandbox()
    try:
        info = sandbox.probe(uri)
        assert faults.sent_bytes < 0.03 * size_bytes
        decoded = read_samples(sandbox, uri, [sampling], 15.0, 16.0, (180, 320))
        assert faults.sent_bytes < 0.1 * size_bytes
        assert faults.requests <= 25
        faults.reset_counts()
        whole = read_samples(sandbox, uri, [FrameRate(fps=1.0)], 0.0, info.duration_s, (180, 320))
    finally:
        sandbox.close()
    samples = decoded.samples[sampling]
    assert isinstance(samples, Frames)
    assert [read_frame_number(frame) for frame in samples.frames] == [375, 380, 385, 390, 395]
    frames = whole.samples[FrameRate(fps=1.0)]
    assert isinstance(frames, Frames)
    assert len(frames.frames) == 24
    assert faults.sent_bytes < 1.15 * size_bytes
    assert faults.requests < 0.6 * size_bytes / MB


# object storage


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAULTS)
def test_object_storages_faults_are_borne_with(hasty, s3_behind_faults, kind):
    folder, faults = s3_behind_faults
    faults.rates = {kind: 0.1 if kind == "stall" else 0.25}
    for i in range(10):
        folder.write_bytes(f"part/{i}", DATA[i:])
        assert folder.read_bytes(f"part/{i}") == DATA[i:]
        assert folder.exists(f"part/{i}")
        assert not folder.exists(f"part/{i}.not")
    assert folder.sizes("part") == {f"part/{i}": len(DATA) - i for i in range(10)}
    folder.remove("part/3")
    assert len(folder.sizes("part")) == 9
    folder.remove_tree("part")
    assert folder.sizes("part") == {}
    assert faults.injected[kind] >= 5


@pytest.mark.slow
def test_an_upload_in_parts_is_whole_or_not_there(hasty, s3_behind_faults, monkeypatch, tmp_path):
    folder, faults = s3_behind_faults
    monkeypatch.setattr("s3fs.core.calculate_chunksize", lambda size, chunksize=None: 5 * MB)
    local = tmp_path / "large"
    local.write_bytes(DATA * 4)
    faults.rates = {"500": 1.0}
    with pytest.raises(OSError, match="the storage answers 500"):
        folder.fs.put_file(str(local), folder.path("large"))
    faults.rates = {}
    assert folder.sizes() == {}
    faults.rates = {"reset": 0.1, "lost": 0.1, "503": 0.1}
    folder.fs.put_file(str(local), folder.path("large"))
    assert folder.read_bytes("large") == local.read_bytes()
    assert any(path.startswith("POST") for path in faults.paths)


def test_an_object_that_changes_while_it_is_read_is_not_mixed(s3_behind_faults):
    folder, _ = s3_behind_faults
    folder.write_bytes("file", DATA)
    with folder.open("file") as file:
        file.read(10)
        folder.write_bytes("file", DATA[::-1])
        file.seek(2 * MB)
        with pytest.raises(OSError, match=r"store/file: the file changed while it was read"):
            file.read(10)


def test_a_whole_file_that_is_replaced_while_it_is_read_is_read_again(s3_behind_faults, monkeypatch):
    """As an index' `CURRENT`, of which every build writes another."""
    folder, _ = s3_behind_faults
    folder.write_bytes("CURRENT", b"v0001")
    written, ask = [b"v0002", b"v0003"], remote._s3_range

    async def late(*arguments):
        if written:
            await folder.fs._fs._pipe_file(folder.path("CURRENT"), written.pop(0))
        return await ask(*arguments)

    monkeypatch.setattr(remote, "_s3_range", late)
    assert folder.read_bytes("CURRENT") == b"v0003"
    assert written == []


def test_what_does_not_pass_is_one_line_at_once(s3_bucket, monkeypatch, clock):
    with pytest.raises(FileNotFoundError, match=r"^s3://no-such-bucket/store/file: .*bucket does not exist$"):
        Folder("s3://no-such-bucket/store").write_bytes("file", b"x")
    with pytest.raises(FileNotFoundError, match=f"^{s3_bucket}/store/file: no such file or folder$"):
        Folder(f"{s3_bucket}/store").read_bytes("file")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    fsspec.filesystem("s3").clear_instance_cache()
    with pytest.raises(PermissionError, match=f"^{s3_bucket}/store/file: Unable to locate credentials$"):
        Folder(f"{s3_bucket}/store").read_bytes("file")
    assert clock.waits_s == []


def test_a_store_that_may_not_be_written_is_one_line_at_once(s3, s3_bucket, serve, monkeypatch):
    through = relay(s3.endpoint_url)
    denied = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"

    def read_only(request: Request) -> Answer:
        return Answer(403, {}, denied) if request.method in ("PUT", "POST") else through(request)

    faults = Faults()
    monkeypatch.setenv("AWS_ENDPOINT_URL", serve(read_only, faults))
    with pytest.raises(PermissionError, match=f"^{s3_bucket}/store/file: the storage answers 403 Access Denied$"):
        Folder(f"{s3_bucket}/store").write_bytes("file", b"x")
    assert faults.requests == 1


def test_a_storage_that_cannot_be_asked_is_not_taken_for_an_empty_one(hasty, s3_behind_faults):
    folder, faults = s3_behind_faults
    faults.rates = {"500": 1.0}
    for ask in (folder.sizes, lambda: folder.exists("file"), lambda: folder.read_bytes("file")):
        with pytest.raises(OSError, match="the storage answers 500") as caught:
            ask()
        assert not isinstance(caught.value, FileNotFoundError)


def test_settings_of_fsspec_stay(monkeypatch):
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 3, "s3": {"x": 1}}})
    fs, _ = filesystem("s3://bucket/file")
    assert fs.config_kwargs["read_timeout"] == 3
    assert fs.config_kwargs["connect_timeout"] == places.CONNECT_TIMEOUT_S
    assert fs.config_kwargs["s3"] == {"x": 1}
    assert fs.retries == 1


# disks


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    store = Store(str(tmp_path / "store"))
    rows = pa.table({name: pa.nulls(9000, kind) for name, kind in zip(VIDEOS.names, VIDEOS.types, strict=True)})
    store.write("videos", 0, rows, VIDEOS)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full(self: Folder, path: str, flags: int) -> int:
        os.close(os.open(path, flags))
        return os.open("/dev/full", os.O_RDWR)

    monkeypatch.setattr(Folder, "_create", full)
    for part in (0, 1):
        with pytest.raises(OSError, match=rf"store/videos/part-0000{part}.parquet cannot be written: no space left on"):
            store.write("videos", part, rows, VIDEOS)
    with pytest.raises(OSError, match=r"vidray.json cannot be written: no space left on device$"):
        store.write_config({})
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EDQUOT])
def test_a_store_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, code):
    folder = Folder(str(tmp_path / "store"))
    folder.write_bytes("file", b"old")

    def refuse(*arguments: object) -> None:
        raise OSError(code, os.strerror(code), str(arguments[1]))

    monkeypatch.setattr(Folder, "_create", refuse)
    with pytest.raises(OSError, match=rf"^{folder.url}/file cannot be written: {os.strerror(code).lower()}$"):
        folder.write_bytes("file", b"new")
    assert folder.read_bytes("file") == b"old"


def test_a_failure_while_writing_leaves_the_old_file(tmp_path):
    folder = Folder(str(tmp_path / "store"))
    folder.write_bytes("deep/file", b"old")

    def half() -> None:
        with folder.writing("deep/file") as file:
            file.write(b"half of the new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert folder.read_bytes("deep/file") == b"old"
    assert folder.sizes() == {"deep/file": 3}


def test_files_have_the_modes_that_the_user_wants(tmp_path):
    mask = os.umask(0o027)
    try:
        Folder(str(tmp_path)).write_bytes("file", b"x")
    finally:
        os.umask(mask)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_uploads_are_gathered_on_a_disk_that_may_be_full(s3_bucket, monkeypatch):
    monkeypatch.setattr(Folder, "_create", lambda self, path, flags: os.open("/dev/full", os.O_RDWR))
    with pytest.raises(OSError, match=rf"^{s3_bucket}/store/file cannot be written: no space left on device in /"):
        Folder(f"{s3_bucket}/store").write_bytes("file", DATA)


def test_a_remote_file_is_copied_whole(s3_bucket, tmp_path):
    folder = Folder(f"{s3_bucket}/store")
    folder.write_bytes("file", DATA)
    folder.fs.get_file(folder.path("file"), str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == DATA
    with folder.open("file") as source, (tmp_path / "other").open("wb") as target:
        shutil.copyfileobj(source, target)
    assert (tmp_path / "other").read_bytes() == DATA


@pytest.mark.slow
def test_jobs_on_faulty_storage_write_what_undisturbed_ones_do(repository):
    script = [sys.executable, "tests/campaigns/storage_faults.py", "--rounds", "1", "--longer", "0", "--seed", "3"]
    command = [*script, "--only", "s3", "--only", "http", "--only", "blocked"]
    result = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
    score = json.loads(result.stdout.splitlines()[-1])
    assert score["faults_injected"] >= 10
    assert score["identical"] == 3
    assert (score["rows_lost"], score["rows_doubled"], score["hangs"], score["clear_failures"]) == (0, 0, 0, 1)


@pytest.fixture(params=["local", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    return Folder(str(tmp_path) if request.param == "local" else request.getfixturevalue("s3_bucket"))


def test_of_many_who_swap_a_file_at_once_one_succeeds(folder):
    for round_ in range(5):
        name = f"file-{round_}"
        folder.write_bytes(name, b"before")
        all_are_here = threading.Barrier(8)

        def swap(number: int, name: str = name, all_are_here: threading.Barrier = all_are_here) -> bool:
            all_are_here.wait(10)
            return folder.swap_bytes(name, b"before", b"%d" % number)

        with ThreadPoolExecutor(8) as threads:
            swapped = list(threads.map(swap, range(8)))
        (winner,) = [number for number, succeeded in enumerate(swapped) if succeeded]
        assert folder.read_bytes(name) == b"%d" % winner


def test_what_is_not_there_or_is_something_else_is_not_swapped(folder):
    assert not folder.swap_bytes("file", b"before", b"after")
    folder.write_bytes("file", b"another's")
    assert not folder.swap_bytes("file", b"before", b"after")
    assert folder.read_bytes("file") == b"another's"


def test_a_swap_between_a_read_and_a_write_is_seen_by_the_storage(s3_bucket, monkeypatch):
    folder = Folder(s3_bucket)
    folder.write_bytes("file", b"before")
    call = S3FileSystem._call_s3

    async def another_comes_first(fs: S3FileSystem, method: str, *arguments: object, **wanted: object) -> object:
        if method == "put_object" and wanted["Body"] == b"mine":
            await call(fs, method, *arguments, **{**wanted, "Body": b"another's"})
        return await call(fs, method, *arguments, **wanted)

    monkeypatch.setattr(S3FileSystem, "_call_s3", another_comes_first)
    assert not folder.swap_bytes("file", b"before", b"mine")
    assert folder.read_bytes("file") == b"another's"
