"""A file that is lost is told from a storage that is: by the files next to it."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from vidray.errors import DecodeError, StorageGoneError
from vidray.media import Audio, Decoded
from vidray.pipeline.witness import TRIES, WITNESSES, Witnessed, witnesses_of
from vidray.store import VIDEOS, Store

SAMPLING = Audio(sample_rate=8000)


class FromDisk:
    """Reads a file as the sandbox would: silence, or the error of a file that is not there."""

    def __init__(self) -> None:
        self.reads = 0

    def read(self, uri: str, *rest: object) -> Decoded:
        self.reads += 1
        found = None if Path(uri).exists() else DecodeError("not_found", "no such file", uri)
        return Decoded(samples={SAMPLING: found})

    def start(self) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def planned(tmp_path) -> tuple[Store, list[Path]]:
    """A store whose plan has twelve files of two folders, and these files."""
    paths = [tmp_path / "media" / folder / f"{n}.mp4" for folder in "ab" for n in range(6)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"media")
    return _store(tmp_path, paths), paths


def _store(tmp_path: Path, paths: list[Path]) -> Store:
    store = Store(str(tmp_path / "store"))
    rows = [dict.fromkeys(VIDEOS.names) | {"uri": str(path), "status": "ok"} for path in paths]
    store.write("videos", 0, pa.Table.from_pylist(rows, VIDEOS), VIDEOS)
    return store


def test_a_file_that_is_removed_is_an_error_of_its_own(planned):
    store, paths = planned
    for path in paths[:3]:
        path.unlink()
    sandbox = FromDisk()
    decoded = Witnessed(sandbox, store).read(str(paths[0]), (SAMPLING,))
    assert decoded.samples[SAMPLING].kind == "not_found"
    assert sandbox.reads == TRIES


def test_a_folder_that_is_gone_is_a_storage_that_is_gone(planned):
    store, paths = planned
    paths[0].parent.rename(paths[0].parent.parent / "elsewhere")
    with pytest.raises(StorageGoneError, match="run again when it is back, or with --prune"):
        Witnessed(FromDisk(), store).read(str(paths[0]), (SAMPLING,))
    decoded = Witnessed(FromDisk(), store).read(str(paths[-1]), (SAMPLING,))
    assert decoded.samples == {SAMPLING: None}


def test_a_file_that_comes_back_while_its_neighbours_are_asked_is_read(planned, monkeypatch):
    store, paths = planned
    paths[0].unlink()
    reader = Witnessed(FromDisk(), store)
    others = Witnessed._others

    def asked(self, uri):
        paths[0].write_bytes(b"media")
        return others(self, uri)

    monkeypatch.setattr(Witnessed, "_others", asked)
    assert reader.read(str(paths[0]), (SAMPLING,)).samples == {SAMPLING: None}


def test_the_only_file_of_a_plan_is_to_blame_for_itself(tmp_path):
    gone = tmp_path / "gone.mp4"
    decoded = Witnessed(FromDisk(), _store(tmp_path, [gone])).read(str(gone), (SAMPLING,))
    assert decoded.samples[SAMPLING].kind == "not_found"


def test_witnesses_are_of_the_deepest_folder_and_spread_over_it():
    others = [f"s3://b/a/{n:03d}.mp4" for n in range(100)] + ["s3://b/c.mp4", "s3://other/a/1.mp4"]
    found = witnesses_of("s3://b/a/0005.mp4", others)
    assert found == [f"s3://b/a/{n:03d}.mp4" for n in range(0, 100, 100 // WITNESSES)]
    assert witnesses_of("s3://b/d/e.mp4", others[-2:]) == ["s3://b/c.mp4"]
