"""The page that is served: who may ask, search and labels in a real browser, originals by ranges."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import av
import fsspec
import numpy as np
import pyarrow as pa
import pytest
from chromium import WAIT_S, chromium
from filling import filled
from media_files import packaged
from report_stores import clip_id, identity, write_report_store
from starlette.requests import Request

import vidray
from vidray.browse.originals import original
from vidray.browse.serving import listening
from vidray.browse.writing import LabelWriter
from vidray.errors import UsageError
from vidray.extractors import resolve
from vidray.planning import FixedStride
from vidray.store import DUPLICATES, Store

pytestmark = pytest.mark.slow

FILE = np.random.default_rng(0).bytes(100_000)


def served(store: str, repository, *options: str) -> tuple[subprocess.Popen, str]:
    command = [sys.executable, "-m", "vidray.cli", "browse", store, "--port", "0", *options]
    environ = {**os.environ, "PYTHONPATH": str(repository)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.startswith("http://"), "the server did not start"
    return process, url


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("browse")
    held = write_report_store(folder / "store", media=str(folder))
    (folder / "shots").mkdir()
    (folder / "shots/video 0000.mp4").write_bytes(FILE)
    vidray.build_index(held.url, extractor="classes")
    # all of video 0 and of video 2 are copies of each other
    copies = [{**identity(n), "group_id": "g", "score": 1.0, "keep": n < 4} for n in (*range(4), *range(8, 12))]
    held.write("duplicates/phash", 0, pa.Table.from_pylist(copies, DUPLICATES), DUPLICATES)
    return held


@pytest.fixture(scope="module")
def server(store, repository):
    process, url = served(store.url, repository)
    yield url
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT_S) == 130
    process.stdout.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as found:
        found.window(1280, 800)
        yield found


@pytest.fixture
def page(browser, server):
    browser.said.clear()
    browser.ask("Page.navigate", url="about:blank")
    browser.open(f"{server}#/clips")
    return browser


def asked(url: str, *, data: bytes | None = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
    request = urllib.request.Request(url, data, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            return answer.status, answer.read(), dict(answer.headers)
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read(), dict(e.headers)


def test_a_text_finds_the_clips_whose_words_say_it(page, store):
    page.run("document.querySelector('[aria-label=Search]').focus()")
    page.type("dog")
    page.key("Enter", "\r")
    page.until("vidray.filters.found?.clips.length")
    found = page.run("vidray.filters.found.clips")
    expected = vidray.search(store.url, text="dog", k=60).hits
    assert found == [int(hit.clip_id, 16) for hit in expected]
    assert found[0] % 3 == 0
    assert page.said == []


def test_a_key_puts_a_label_that_the_table_has_and_u_takes_it_back(page, store):
    page.run("document.querySelector('[aria-label=\"New label\"]').focus()")
    page.type('a "dog", here')
    page.key("Enter", "\r")
    page.run("document.querySelector('[role=listbox]').focus()")
    page.key("ArrowRight")
    page.key("1", "1")
    page.until("document.documentElement.dataset.labeled === '1'")
    rows = store.read("labels/mine", 0).to_pylist()
    assert [(row["clip_id"], row["label"], row["source"]) for row in rows] == [(clip_id(1), 'a "dog", here', "human")]
    page.key("u", "u")
    page.until("document.getElementById('note').textContent.includes('taken back')")
    assert "mine" not in Store(store.url).tables("labels")


def test_all_clips_of_the_video_that_is_chosen_are_kept(page, store):
    page.run("location.hash = '#/overview'")
    page.until("document.querySelectorAll('.duplicates .member button').length === 8")
    page.run("document.querySelector('.duplicates .member[data-video=v2] button').click()")
    page.until("document.getElementById('note').textContent === '8 clips labeled in labels/duplicates'")
    assert page.run("[...document.querySelectorAll('.member.kept')].map((one) => one.dataset.video)") == ["v2"] * 4
    found = {row["clip_id"]: row["label"] for row in store.read("labels/duplicates", 0).to_pylist()}
    assert found == {clip_id(n): "duplicate" if n < 4 else "keep" for n in (*range(4), *range(8, 12))}


def test_hits_outside_the_sample_are_counted_with_the_line_that_finds_them(page, store):
    hits = [{"clip": clip_id(5), "score": 0.5, "text": None}, {"clip": "f" * 32, "score": 0.4, "text": None}]
    told = json.dumps(json.dumps({"hits": hits, "by": "classes", "notes": []}))
    page.run(f"window.fetch = async () => new Response({told})")
    page.run("document.querySelector('[aria-label=Search]').focus()")
    page.type("it's")
    page.key("Enter", "\r")
    page.until("document.querySelector('#tools .chip')?.textContent.endsWith('; 1 more outside this sample')")
    shown = page.run("document.querySelector('#tools .code code').textContent")
    assert shlex.split(shown) == ["vidray", "search", store.url, "--text", "it's"]


def test_what_is_taken_back_are_the_labels_that_were_put_here(tmp_path):
    store = write_report_store(tmp_path / "store", 8, with_thumbnails=False)
    (tmp_path / "theirs.csv").write_text(f"clip_id,label\n{clip_id(0)},theirs\n")
    vidray.import_labels(store.url, tmp_path / "theirs.csv", name="pets")

    def labels() -> dict[str, str]:
        return {row["clip_id"]: row["label"] for row in store.read("labels/pets", 0).to_pylist()}

    writer = LabelWriter(store.url)
    with pytest.raises(UsageError, match="no labels of pets were put here"):
        writer.undo("pets")
    with ThreadPoolExecutor() as pool:
        putting = pool.submit(writer.put, "pets", {clip_id(1): ["caf\u00e9"]})
        while not writer._waiting:
            time.sleep(0.001)
        # it waits for more, and is taken back all the same
        writer.undo("pets")
        putting.result()
    assert labels() == {clip_id(0): "theirs"}
    writer.put("pets", {clip_id(1): ["mine"]})
    vidray.import_labels(store.url, tmp_path / "theirs.csv", name="pets")
    with pytest.raises(UsageError, match="others' since"):
        writer.undo("pets")
    assert labels() == {clip_id(0): "theirs", clip_id(1): "mine"}


def test_what_is_no_video_is_not_served(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "secret.pem").write_text("a secret")
    request = Request({"type": "http", "method": "GET", "headers": []})
    for name in ("pipe.mp4", "secret.pem", "gone.mp4"):
        for uri in (str(tmp_path / name), (tmp_path / name).as_uri()):
            assert original(request, uri).status_code == 404


def test_what_cannot_be_played_falls_back_to_the_storyboard(page):
    page.run(f"location.hash = '#/clip/{clip_id(0)}'")
    page.until("[...document.querySelectorAll('#clip button')].some((one) => one.textContent === 'Play the original')")
    page.run(
        "[...document.querySelectorAll('#clip button')].find((one) => one.textContent === 'Play the original').click()"
    )
    page.until("document.getElementById('note').textContent.includes('storyboard')")
    assert page.run("document.querySelector('#clip video')") is None
    page.key("ArrowRight")
    page.until("document.querySelector('#clip .stage-box .tile').dataset.tile === '1'")


@pytest.mark.parametrize(
    ("span", "first", "stop"),
    [("bytes=0-99", 0, 100), ("bytes=99000-", 99_000, 100_000), ("bytes=-5", 99_995, 100_000)],
)
def test_originals_are_read_by_ranges(server, span, first, stop):
    status, body, headers = asked(f"{server}media/{clip_id(0)}", Range=span)
    assert (status, body) == (206, FILE[first:stop])
    assert headers["content-range"] == f"bytes {first}-{stop - 1}/100000"


@pytest.mark.parametrize("span", ["bytes=0-9,20-29", "bytes=x", "lines=0-9", f"bytes={'9' * 5000}-"])
def test_what_is_not_one_range_is_answered_with_all(server, span):
    status, body, headers = asked(f"{server}media/{clip_id(0)}", Range=span)
    assert (status, body) == (200, FILE)
    assert "content-range" not in headers


def test_an_original_is_never_a_page(server):
    status, body, headers = asked(f"{server}media/{clip_id(0)}")
    assert (status, body, headers["content-type"]) == (200, FILE, "video/mp4")
    assert headers["x-content-type-options"] == "nosniff"
    assert asked(f"{server}media/{clip_id(0)}", Range="bytes=200000-")[0] == 416
    assert asked(f"{server}media/{clip_id(8)}")[0] == 404
    assert asked(f"{server}media/..%2f..%2fetc%2fpasswd")[0] == 404


def test_other_pages_are_refused(server):
    order = json.dumps({"name": "theirs", "clips": {clip_id(0): ["x"]}}).encode()
    assert asked(f"{server}api/label", data=order)[0] == 403
    assert asked(f"{server}api/label", data=order, Origin="http://evil.example")[0] == 403
    assert asked(server, Host="evil.example")[0] == asked(server, Host="[")[0] == 403
    assert asked(f"{server}api/label", data=order, Origin="http://[")[0] == 403
    status, body, _ = asked(f"{server}api/label", data=b'{"name": "../x", "clips": []}', Origin=server.rstrip("/"))
    assert (status, "error" in json.loads(body)) == (400, True)


def test_elsewhere_than_on_loopback_a_token_is_asked_for(store, repository):
    process, url = served(store.url, repository, "--host", "0.0.0.0")
    try:
        bare, _, token = url.partition("?token=")
        assert len(token) >= 32
        bare = bare.replace("0.0.0.0", "127.0.0.1")
        assert asked(bare)[0] == asked(f"{bare}data/manifest.js")[0] == asked(f"{bare}?token=guessed")[0] == 403
        assert asked(f"{bare}data/manifest.js", Cookie=f"vidray={token}")[0] == 200
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.build_opener(NoRedirect).open(f"{bare}?token={token}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirects are looked at, not followed."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        assert "SameSite=strict" in headers["set-cookie"]
        assert "HttpOnly" in headers["set-cookie"]


def test_a_port_that_is_taken_is_said():
    with listening("127.0.0.1", 0) as held, pytest.raises(UsageError, match="give another --port"):
        listening("127.0.0.1", held.getsockname()[1])


def test_an_image_and_a_sound_that_are_sent_find_the_clip_that_they_are_from(tmp_path, repository):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"):
        (folder / name).symlink_to(packaged(name))
    tables = {name: resolve(name) for name in ("efficientnet_lite0", "yamnet")}
    held = filled(tmp_path / "store", folder, tables, FixedStride(10.0))
    for name in tables:
        vidray.build_index(held.url, extractor=name)
    with av.open(str(folder / "bikes.mp4")) as source:
        image = io.BytesIO()
        next(source.decode(video=0)).to_image().save(image, "PNG")
    sound = (folder / "bigbuckbunny.mp4").read_bytes()
    uris = {row["clip_id"]: row["uri"] for row in held.read("clips", 0, ["clip_id", "uri"]).to_pylist()}
    process, url = served(held.url, repository)
    try:
        for kind, data, name in (("image", image.getvalue(), "bikes.mp4"), ("audio", sound, "bigbuckbunny.mp4")):
            status, answer, _ = asked(f"{url}api/search?kind={kind}", data=data, Origin=url.rstrip("/"))
            assert status == 200, answer
            assert uris[json.loads(answer)["hits"][0]["clip"]].endswith(name)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130
        process.stdout.close()


def test_a_remote_original_is_read_by_ranges(tmp_path, repository, s3_bucket):
    held = write_report_store(tmp_path / "store", media=s3_bucket)
    with fsspec.open(f"{s3_bucket}/shots/video 0000.mp4", "wb") as file:
        file.write(FILE)
    process, url = served(held.url, repository)
    try:
        status, body, headers = asked(f"{url}media/{clip_id(0)}", Range="bytes=500-1499")
        assert (status, body, headers["content-range"]) == (206, FILE[500:1500], "bytes 500-1499/100000")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130
        process.stdout.close()
