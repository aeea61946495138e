"""Frames of clips as images: the true ones, by clip and time, before and after steps."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from filling import filled
from PIL import Image

from vidray.cli import main
from vidray.errors import UsageError
from vidray.exports.frames import export_frames
from vidray.planning import FixedStride
from vidray.store import Store
from vidray.testing import SyntheticVideo, read_frame_number, write_video

FPS = 25


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Two videos of four seconds in clips of two, without any table of features."""
    folder = tmp_path_factory.mktemp("corpus")
    for name in ("a", "b"):
        write_video(folder / f"{name}.mp4", SyntheticVideo(frames=100, fps=FPS))
    return filled(tmp_path_factory.mktemp("store"), folder, {}, FixedStride(2.0))


def clips_of(store):
    return [row for part in store.parts("clips") for row in store.read("clips", part).to_pylist()]


def number_of(path):
    return read_frame_number(np.asarray(Image.open(path)))


def test_a_frame_is_that_on_display_at_its_time(store, tmp_path, capsys):
    clip = next(row for row in clips_of(store) if row["start_s"] == 2.0)
    command = ["export", store.url, "frames", "--clip", clip["clip_id"], "--at", "0.5", "-o", str(tmp_path), "--json"]
    assert main(command) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["clips"], said["images"], said["failed"]) == (1, 1, [])
    (file,) = tmp_path.iterdir()
    assert file.name == f"{clip['clip_id']}-2.500.png"
    assert number_of(file) == 62


def test_those_of_a_filter_each_in_its_middle(store, tmp_path):
    summary = export_frames(store.url, tmp_path, where="start_s = 0", to="jpeg")
    assert (summary.clips, summary.images) == (2, 2)
    assert sorted(number_of(file) for file in tmp_path.iterdir()) == [25, 25]
    assert {file.suffix for file in tmp_path.iterdir()} == {".jpeg"}


def test_with_steps_before_and_after(store, tmp_path):
    clip = clips_of(store)[0]["clip_id"]
    summary = export_frames(store.url, tmp_path, clip=clip, steps="noise:sigma=10")
    assert summary.images == 2
    files = [tmp_path / f"{clip}-1.000-{name}.png" for name in ("before", "after")]
    before, after = (np.asarray(Image.open(file), float) for file in files)
    assert 5 < (before - after).std() < 11


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "give one of --clip and --where"),
        ({"clip": "none"}, r"no clip 'none'; .* vidray export .*store\S* clips --to csv -o clips\.csv$"),
        (
            {"where": "start_s = 0", "at_s": 2.0},
            r"lasts 2\.000 s; .* got 2; leave .* out by --where '\(start_s = 0\) AND end_s - start_s > 2'$",
        ),
        ({"where": "start_s = 0", "steps": "polish"}, "there is no step 'polish' for frames"),
        ({"where": "start_s = 0", "steps": ","}, "there is no step '' for frames"),
    ],
)
def test_what_cannot_be_meant_is_refused(store, tmp_path, options, complaint):
    with pytest.raises(UsageError, match=complaint):
        export_frames(store.url, tmp_path, **options)
    assert not list(tmp_path.iterdir())


def test_options_of_frames_and_of_tables_are_not_mixed(store, tmp_path, capsys):
    assert main(["export", store.url, "clips", "--to", "csv", "--steps", "light", "-o", str(tmp_path / "x.csv")]) == 2
    assert main(["export", store.url, "clips", "-o", str(tmp_path / "x.csv")]) == 2
    assert main(["export", store.url, "frames", "--to", "csv", "-o", str(tmp_path)]) == 2


def test_a_file_that_is_gone_is_said(store, tmp_path):
    clip = clips_of(store)[-1]
    hidden = tmp_path / "hidden.mp4"
    Path(clip["uri"]).rename(hidden)
    try:
        summary = export_frames(store.url, tmp_path / "out", where="true")
    finally:
        hidden.rename(clip["uri"])
    assert summary.images == 2
    assert len(summary.failed) == 2
    assert clip["uri"] in summary.failed[0]


def test_many_files_that_are_gone_are_a_few_lines_and_a_remedy(store, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("vidray.cli.export.FAILURES_NAMED", 2)
    videos = sorted({clip["uri"] for clip in clips_of(store)})
    for uri in videos:
        Path(uri).rename(f"{uri}.gone")
    try:
        assert main(["export", store.url, "frames", "--where", "true", "-o", str(tmp_path / "out")]) == 1
    finally:
        for uri in videos:
            Path(f"{uri}.gone").rename(uri)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" at ")[0] for line in said[:2]] == [f"  cannot use {videos[0]}"] * 2
    assert said[2:] == [
        "  and 2 more; --json has all of them",
        f"where files have moved: vidray move {store.url} OLD NEW",
    ]


def test_a_store_without_clips_is_said(tmp_path):
    store = Store(str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    with pytest.raises(UsageError, match="no vidray store there"):
        export_frames(store.url, tmp_path / "out", where="true")
    store.write_config(FixedStride(2.0).config)
    with pytest.raises(UsageError, match="there are no clips yet"):
        export_frames(store.url, tmp_path / "out", where="true")


def test_no_file_is_written_outside_of_the_folder(store, tmp_path, monkeypatch):
    """A clip's id is as a store has it, and a store may be a stranger's."""
    read = Store.read

    def strange(self, table, part, columns=None):
        rows = read(self, table, part, columns)
        return rows.set_column(0, "clip_id", pa.array([f"../escaped{place}" for place in range(len(rows))]))

    monkeypatch.setattr(Store, "read", strange)
    with pytest.raises(UsageError, match=r"ids must be of letters and digits"):
        export_frames(store.url, tmp_path / "out", clip="../escaped0")
    assert not list(tmp_path.rglob("*escaped*"))
