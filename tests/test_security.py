"""Files of strangers open no other file and no connection, and names are data, whatever they hold."""

from __future__ import annotations

import contextlib
import os
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest
import ray
from extractors_for_tests import Loudness, MeanColour

import vidray
from vidray.corpus import MEDIA_SUFFIXES
from vidray.decode import VideoReader, probe
from vidray.errors import DecodeError, ProbeError, UsageError
from vidray.extractors import describe, restore
from vidray.media import FrameRate
from vidray.planning import FixedStride
from vidray.storage import local_path
from vidray.store import Store
from vidray.store.verification import verify
from vidray.testing import Sweep, SyntheticVideo, write_video

CANARY = "the-canary-sings-at-night"
SECONDS = 2.0


class Server(ThreadingHTTPServer):
    """A web server that gives a video for every path, and remembers who asked."""

    daemon_threads = True

    def __init__(self, video: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.video = video
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{CANARY}.mp4"

    def verify_request(self, request: object, client_address: object) -> bool:
        self.asked.append(f"a connection from {client_address}")
        return True


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.video)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("canary") / f"{CANARY}.mp4"
    write_video(path, SyntheticVideo(frames=50, audio=Sweep()))
    return path


@pytest.fixture(scope="module")
def server(video: Path) -> Iterator[Server]:
    server = Server(video.read_bytes())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def text(video: Path) -> Path:
    path = video.with_name("secret.txt")
    path.write_text(f"{CANARY}\n" * 100)
    return path


def hls(target: str) -> str:
    return f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:2,\n{target}\n#EXT-X-ENDLIST\n"


def hls_key(target: str) -> str:
    return f'#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:2,\n{target}\n'


def hls_master(target: str) -> str:
    return f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1280000\n{target}\n"


def dash(target: str) -> str:
    head = '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    place = f'<Representation id="1" bandwidth="1"><BaseURL>{target}</BaseURL></Representation>'
    return f'{head}<Period><AdaptationSet mimeType="video/mp4">{place}</AdaptationSet></Period></MPD>'


def imf(target: str) -> str:
    return (
        '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>urn:uuid:0</Id>'
        f"<ContentTitle>{target}</ContentTitle></CompositionPlaylist>"
    )


def sdp(target: str) -> str:
    media = "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    return f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns={target}\nc=IN IP4 127.0.0.1\nt=0 0\n{media}"


SCRIPTS: dict[str, Callable[[str], str]] = {
    "hls.mp4": hls,
    "hls-local-scheme.ts": lambda target: hls(f"file:{target}"),
    "hls-key.mkv": hls_key,
    "hls-master.webm": hls_master,
    "hls-concat.mov": lambda target: hls(f"concat:{target}|{target}"),
    "hls-subfile.avi": lambda target: hls(f"subfile,,start,0,end,0,,:{target}"),
    "hls-crypto.mpg": lambda target: hls(f"crypto:{target}"),
    "hls-data.mp4": lambda target: hls(f"data:text/plain,{hls(target)}"),
    "concat.mp4": lambda target: f"ffconcat version 1.0\nfile '{target}'\n",
    "concat-plain.mkv": lambda target: f"file '{target}'\nduration 2\n",
    "dash.mp4": dash,
    "imf.mxf": imf,
    "smooth.mp4": lambda target: f'<SmoothStreamingMedia MajorVersion="2"><Url>{target}</Url></SmoothStreamingMedia>',
    "session.ts": sdp,
    "asx.asf": lambda target: f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
    "reference.wmv": lambda target: f"[Reference]\nRef1={target}\nRef2={target}\n",
    "pls.mp3": lambda target: f"[playlist]\nNumberOfEntries=1\nFile1={target}\n",
    "ram.rm": lambda target: f"{target}\n",
    "redirect.mov": lambda target: f"RTSPtext\n{target}\n",
    "quicktime-text.mov": lambda target: (
        f'<?xml version="1.0"?><?quicktime type="application/x-qtl"?><embed src="{target}"/>'
    ),
    "subtitle.mp4": lambda target: f'1\n00:00:00,000 --> 00:00:02,000\n<img src="{target}">\n',
    "ass.mkv": lambda target: f"[Script Info]\nVideo File: {target}\nAudio File: {target}\n[Events]\n",
    "vobsub.mpg": lambda target: f"# VobSub index file, v7\nsize: 720x576\nid: en, index: 0\nsub: {target}\n",
    "frame.mp4": lambda target: f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{target}"/></svg>',
    "concat-uri.mp4": lambda target: f"concat:{target}|{target}",
    "subfile-uri.mp4": lambda target: f"subfile,,start,0,end,0,,:{target}",
    "data-uri.mp4": lambda target: f"data:video/mp4;base64,{target}",
    "metadata.flac": lambda target: f";FFMETADATA1\ntitle={target}\n",
    "cue.wav": lambda target: f'FILE "{target}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
}
"""Playlists, scripts and subtitles as text, each under a name that looks like media."""


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack("!I", 8 + len(body)) + name + body


def replaced(data: bytes, path: tuple[bytes, ...], new: bytes) -> bytes:
    """An MP4 file, or the body of a box, with each box at a path made into another, sizes put right."""
    out, at = b"", 0
    while at + 8 <= len(data):
        size, name = struct.unpack_from("!I4s", data, at)
        body = data[at + 8 : at + size]
        if name == path[0]:
            body = new if len(path) == 1 else replaced(body, path[1:], new)
        out, at = out + box(name, body), at + size
    return out


def external_media(video: Path, target: str) -> bytes:
    """QuickTime whose samples are in another file: an alias and a URL, and nothing of its own."""
    alias = bytes(10) + bytes([4]) + b"disk".ljust(27, b"\0") + bytes(12) + bytes([5]) + b"other".ljust(63, b"\0")
    alias += bytes(16) + struct.pack("!HH", 0, 0) + bytes(16)
    alias += struct.pack("!HH", 2, len(target)) + target.encode() + b"\0" * (len(target) % 2) + b"\xff\xff\0\0"
    entries = box(b"alis", bytes(4) + alias) + box(b"url ", bytes(4) + target.encode() + b"\0")
    references = struct.pack("!II", 0, 2) + entries
    data = replaced(video.read_bytes(), (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"), references)
    return replaced(data, (b"mdat",), b"")


def reference_movie(target: str) -> bytes:
    """QuickTime that says where the movie is."""
    place = box(b"rdrf", bytes(4) + b"url " + struct.pack("!I", len(target) + 1) + target.encode() + b"\0")
    return box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(b"moov", box(b"rmra", box(b"rmda", place)))


def linked_segments(target: str) -> bytes:
    """Matroska that names the files before and after it, and none of its own tracks."""

    def element(identity: bytes, body: bytes) -> bytes:
        return identity + size(len(body)) + body

    def size(count: int) -> bytes:
        return (count | 1 << 28).to_bytes(4, "big")

    names = element(b"\x3c\x83\xab", target.encode()) + element(b"\x3e\x83\xbb", target.encode())
    info = element(b"\x15\x49\xa9\x66", names + element(b"\x3e\xb9\x23", bytes(16)))
    return element(b"\x1a\x45\xdf\xa3", element(b"\x42\x82", b"matroska")) + element(b"\x18\x53\x80\x67", info)


def baits(folder: Path, server: Server, video: Path, text: Path) -> list[Path]:
    """Files that refer to the server, to a video and to a text on this machine."""
    targets = {"web": server.url, "video": str(video), "text": str(text), "relative": f"../canary/{video.name}"}
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for kind, target in targets.items():
        contents = {name: script(target).encode() for name, script in SCRIPTS.items()}
        contents["external.mov"] = external_media(video, target)
        contents["reference-movie.mov"] = reference_movie(target)
        contents["linked.mkv"] = linked_segments(target)
        for name, data in contents.items():
            path = folder / f"{kind}-{name}"
            path.write_bytes(data)
            written.append(path)
    return written


def test_the_bait_is_good(server, video, text, tmp_path):
    """FFmpeg, left to itself, follows such references."""
    assert CANARY in text.read_text()
    assert len(baits(tmp_path / "baits", server, video, text)) > 120
    playlist, script, movie = (tmp_path / name for name in ("list.m3u8", "list.ffconcat", "movie.mov"))
    playlist.write_text(hls(server.url))
    with contextlib.suppress(av.FFmpegError):
        av.open(str(playlist), options={"protocol_whitelist": "file,http,tcp", "extension_picky": "0"}).close()
    assert server.asked
    server.asked.clear()
    script.write_text(SCRIPTS["concat.mp4"](str(video)))
    movie.write_bytes(external_media(video, str(video)))
    for path, options in ((script, {"safe": "0"}), (movie, {"enable_drefs": "1", "use_absolute_path": "1"})):
        with av.open(str(path), options=options) as container:
            assert sum(1 for _ in container.decode(video=0)) == 50


def test_the_decoder_by_itself_follows_nothing(server, video, text, tmp_path):
    """Without the sandbox, whose child could open nothing anyway."""
    os.makedirs(tmp_path / "canary")
    os.symlink(video, tmp_path / "canary" / video.name)
    for path in baits(tmp_path / "baits", server, video, text):
        with path.open("rb") as file, contextlib.suppress(DecodeError, ProbeError):
            probe(file, str(path))
            file.seek(0)
            with VideoReader(file, str(path), audio=False) as reader:
                (found,) = reader.read([FrameRate(fps=2.0).request(0.0, 2.0)], 0.0, 2.0).samples.values()
                assert found is None or isinstance(found, DecodeError), path
    assert server.asked == []


@pytest.mark.parametrize("origin", ["subprocess:Popen", "os:system", "builtins:eval"])
def test_a_strangers_store_calls_nothing(origin, tmp_path):
    """A store says which class made a table, and a search by example makes it again."""
    proof = tmp_path / "proof"
    spec = describe(MeanColour())
    settings = {"args": ["touch", str(proof)]}
    with pytest.raises(UsageError, match="a store does not decide what is imported"):
        restore(spec | {"extractor": origin, "settings": settings})
    assert not proof.exists()


@pytest.fixture(scope="module")
def a_ray_cluster() -> Iterator[None]:
    ray.init(address="local", num_cpus=8, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def texts(store: Store) -> str:
    """Every value of every table of a store, and its other files, as text."""
    tables = ["videos", "clips", "errors/_probe"]
    tables += [f"{kind}/{table}" for kind in ("features", "errors") for table in ("mean_colour", "loudness")]
    rows = [str(store.read(table, part).to_pylist()) for table in tables for part in store.parts(table)]
    others = [path.read_text(errors="replace") for path in Path(store.url).rglob("*.json")]
    return "\n".join(rows + others)


@pytest.mark.slow
@pytest.mark.usefixtures("a_ray_cluster")
def test_files_that_refer_to_others_open_nothing(server, video, text, tmp_path):
    corpus = tmp_path / "corpus"
    os.makedirs(tmp_path / "canary")
    os.symlink(video, tmp_path / "canary" / video.name)
    files = baits(corpus, server, video, text)
    write_video(corpus / "good.mp4", SyntheticVideo(frames=20, audio=Sweep()))
    store = Store(str(tmp_path / "store"))
    summary = vidray.extract(str(corpus), store.url, extractors=[MeanColour(), Loudness()])
    listed = [path for path in files if path.suffix in MEDIA_SUFFIXES]
    assert len(listed) > 120
    assert summary.videos == len(listed) + 1
    assert verify(store.url).is_whole
    done = [row for part in store.parts("clips") for row in store.read("features/mean_colour", part).to_pylist()]
    assert [Path(row["uri"]).name for row in done] == ["good.mp4"]
    assert server.asked == []
    assert CANARY not in texts(store)


NAMES = (
    "a..mp4", "x...mp4", "a..b.mp4", "-i.mp4", "--.mp4", " lead and trail .mp4", "tab\tline\nreturn\r.mp4",
    "quo'te\"s.mp4", "back\\slash.mp4", "100%.mp4", "frame%03d.mp4", "%2e%2e%2f.mp4", "que?ry.mp4", "st*r.mp4",
    "br[ack]et.mp4", "br{ac}e.mp4", "#fragment.mp4", "a&b;c|d.mp4", "$(touch x)`touch y`.mp4", "<b>&lt;i&gt;.mp4",
    "pipe:0.mp4", "file:x.mp4", "concat:a|b.mp4", "http:.mp4", "s3:x.mp4", "C:x.mp4", "ünï¢ødé 视频 🎬.mp4",
    "right\u202eto\u202cleft.mp4", "null\u2400.mp4", "~root.mp4", "~.mp4", "a::b.mp4", "x" * 251 + ".mp4",
    "bell\x07.mp4", "'; DROP TABLE clips; --.mp4",
)  # fmt: skip
BYTE_NAMES = (b"latin-\xe9\xff.mp4", b"%ff-\xff.mp4", b"\xed\xa0\x80.mp4")
FOLDERS = ("..", "[ab]*?", "http:", "x" * 200, "%41", "new\nline")


@pytest.mark.slow
@pytest.mark.usefixtures("a_ray_cluster")
def test_names_are_data(video, tmp_path):
    corpus = tmp_path / "fol[d]er *"
    for folder in FOLDERS[1:]:
        os.makedirs(corpus / folder / ("y" * 120))
    paths = [os.fsencode(corpus / name) for name in NAMES]
    paths += [os.fsencode(corpus) + b"/" + name for name in BYTE_NAMES]
    paths += [os.fsencode(corpus / folder / ("y" * 120) / "z.mp4") for folder in FOLDERS[1:]]
    for number, path in enumerate(paths):
        write_video(tmp_path / "made.mp4", SyntheticVideo(frames=10, width=64 + 2 * number))
        os.rename(tmp_path / "made.mp4", path)
    before = sorted(os.listdir(tmp_path)), sorted(os.listdir(os.fsencode(corpus)))
    store = Store(str(tmp_path / "st[o]re %41"))
    summary = vidray.extract(str(corpus), store.url, extractors=[MeanColour()], planner=FixedStride(2.0))
    assert (summary.videos_failed, summary.done, summary.failed) == (0, len(paths), 0)
    assert verify(store.url).is_whole
    again = vidray.extract(str(corpus), store.url, extractors=[MeanColour()], planner=FixedStride(2.0))
    assert (again.done, again.skipped) == (0, len(paths))
    videos = [row for part in store.parts("videos") for row in store.read("videos", part).to_pylist()]
    widths = {os.fsencode(local_path(row["uri"])): row["width"] for row in videos}
    assert widths == {path: 64 + 2 * number for number, path in enumerate(paths)}
    vidray.build_index(store.url, extractor="mean_colour")
    clips = {
        row["clip_id"]: row["uri"] for part in store.parts("clips") for row in store.read("clips", part).to_pylist()
    }
    first = next(iter(clips))
    result = vidray.search(store.url, clip=first, k=len(paths))
    assert {hit.uri for hit in result.hits} == {uri for clip, uri in clips.items() if clip != first}
    odd = next(uri for uri in clips.values() if "DROP TABLE" in uri)
    quoted = odd.replace("'", "''")
    (hit,) = vidray.search(store.url, clip=first, k=5, where=f"uri = '{quoted}'").hits
    assert hit.uri == odd
    after = sorted(os.listdir(tmp_path)), sorted(os.listdir(os.fsencode(corpus)))
    assert set(after[0]) - set(before[0]) == {"st[o]re %41"}
    assert after[1] == before[1]


@pytest.mark.slow
@pytest.mark.usefixtures("a_ray_cluster")
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "txt"])
def test_a_manifests_names_are_data(suffix, video, tmp_path):
    """Those that a manifest of this kind can hold at all; what is not there is one row, not the end."""
    import csv
    import json

    names = ["100%.mp4", "br[ack]et.mp4", "quo'te\".mp4", "ünï 🎬.mp4", "a,b;c.mp4", "../up.mp4", "no/such.mp4"]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name in names[:-1]:
        write_video(corpus / name, SyntheticVideo(frames=10))
    manifest = corpus / f"manifest.{suffix}"
    with manifest.open("w", newline="") as file:
        if suffix == "csv":
            csv.writer(file).writerows([["uri"], *([name] for name in names)])
        else:
            file.writelines((json.dumps({"uri": name}) if suffix == "jsonl" else name) + "\n" for name in names)
    summary = vidray.extract(str(manifest), str(tmp_path / "store"), extractors=[MeanColour()])
    assert (summary.videos, summary.videos_failed, summary.done) == (len(names), 1, len(names) - 1)
    assert verify(str(tmp_path / "store")).is_whole
