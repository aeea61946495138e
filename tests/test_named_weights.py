"""A store's word is not enough to fetch anything, to open a device, or to name weights in two ways."""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from vidray.errors import UsageError, WeightsError
from vidray.extractors import describe, named_weights, resolve, restore


def spec_of(origin: str, **settings: object) -> dict:
    spec = describe(resolve("torchvision/resnet18"))
    return {**spec, "extractor": origin, "settings": {**spec["settings"], **settings}}


@pytest.fixture
def asked():
    """The requests that reach a server which a store could name."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            paths.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    thread.join()
    server.server_close()


def test_no_url_is_asked_for_a_store(asked):
    url, paths = asked
    for weights in (f"{url}/w.safetensors", f"simplecache::{url}/w.safetensors", "s3://bucket/w.safetensors"):
        with pytest.raises(UsageError, match="nothing is fetched because a store says so"):
            restore(spec_of(f"torchvision/resnet18@{weights}"))
    with pytest.raises(UsageError, match="beside its name"):
        restore(spec_of("torchvision/resnet18", weights=f"{url}/w.safetensors"))
    with pytest.raises(UsageError, match="options in its name"):
        restore(spec_of("torchvision/resnet18?weights=/dev/zero"))
    assert paths == []


@pytest.mark.parametrize("name", ["/dev/zero", "/proc/self/mem", "fifo", "link", "folder", "nothing"])
def test_no_special_file_is_opened(tmp_path, name):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    with pytest.raises(WeightsError, match=r"no regular file|no such file"):
        restore(spec_of(f"torchvision/resnet18@{tmp_path / name}"))


def test_no_model_of_a_hub_is_fetched_for_a_store(tmp_path):
    for name, option in (("whisper", "size"), ("sentiment", "model")):
        spec = {**spec_of(name), "settings": {option: "someone/model"}}
        with pytest.raises(UsageError, match=f"name it yourself with -x '.*{option}=someone/model'"):
            restore(spec)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.bin").write_bytes(b"weights")
    assert restore(describe(resolve(f"whisper?size={folder}"))) == resolve(f"whisper?size={folder}")
    assert restore(describe(resolve("whisper?size=tiny"))) == resolve("whisper?size=tiny")


@pytest.mark.parametrize(
    ("name", "option", "file"),
    [
        ("sentiment", "model", "model.safetensors"),
        ("text_embedding", "model", "1_Pooling/config.json"),
        ("whisper", "size", "model.bin"),
        ("moonshine", "folder", "tokenizer.bin"),
    ],
)
def test_no_special_file_of_a_folder_is_opened(tmp_path, name, option, file):
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).symlink_to("/dev/zero")
    spec = {**spec_of(name), "settings": {option: str(tmp_path)}}
    with pytest.raises(WeightsError, match=f"{file}, which the store names, are no regular file"):
        restore(spec)


def test_a_folder_without_a_slash_is_looked_at_too(tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    os.mkfifo(tmp_path / "mine" / "model.bin")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="are no regular file"):
        restore({**spec_of("whisper"), "settings": {"size": "mine"}})


def test_a_whole_disk_is_no_model(tmp_path, monkeypatch):
    monkeypatch.setattr(named_weights, "MOST_FILES", 2)
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match="has more than 2 files"):
        restore({**spec_of("whisper"), "settings": {"size": str(tmp_path)}})


def test_the_file_beside_a_graph_is_looked_at_and_known(tmp_path):
    (tmp_path / "mine.pb").write_bytes(b"graph")
    (tmp_path / "mine.pbtxt").write_bytes(b"layers")
    extractor = resolve(f"ssd@{tmp_path}/mine.pb")
    spec = describe(extractor)
    assert restore(spec) == extractor
    (tmp_path / "mine.pbtxt").write_bytes(b"others")
    with pytest.raises(WeightsError, match="are not those that made the table"):
        restore(spec)
    (tmp_path / "mine.pbtxt").unlink()
    (tmp_path / "mine.pbtxt").symlink_to("/dev/zero")
    with pytest.raises(WeightsError, match="are no regular file"):
        restore(spec)
