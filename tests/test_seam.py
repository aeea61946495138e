"""What others bring works with no change under vidray/: samplings, planners, derived extractors, joint models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pytest
from filling import fill, filled
from third_party.own import (
    LOUD,
    Activity,
    Colour,
    MiddleFrame,
    Numbered,
    Still,
    TurnLoudness,
    Turns,
    Warm,
    loudness,
    runs,
)

from vidray.decode import VideoReader
from vidray.errors import SpecMismatchError, UsageError
from vidray.extractors import resolve
from vidray.extractors.registry import table_of
from vidray.extractors.spec import describe, restore
from vidray.extractors.vision.object_events import ObjectEvents
from vidray.extractors.vision.regions_over_time import RegionsOverTime
from vidray.extractors.vision.ssd import Ssd
from vidray.extractors.vision.tracks import Tracks
from vidray.media import Audio, ClipInput, Resize
from vidray.pipeline import name_tables
from vidray.pipeline.levels import bind
from vidray.planning import FixedStride
from vidray.store import Store, check_columns
from vidray.store.changes import outdated, retire
from vidray.store.verification import verify
from vidray.testing import check_extractor

SECONDS = 24
TONES = ((0.5, 3.2), (5.9, 8.4), (9.9, 12.6), (13.0, 13.3), (19.6, 24.0))
RED, GREEN, BLUE = (220, 20, 20), (20, 220, 20), (20, 20, 220)


def write(path: Path, colours: Sequence[tuple[int, int, int]], *, tones: bool = True) -> Path:
    """A video of plain colours, one after the other, with a tone now and then."""
    with av.open(str(path), "w") as container:
        frames: Any = container.add_stream("libx264", rate=10)
        frames.width = frames.height = 64
        frames.pix_fmt = "yuv420p"
        audio: Any = container.add_stream("aac", rate=48_000, layout="mono") if tones else None
        for number in range(SECONDS * 10):
            colour = colours[number * len(colours) // (SECONDS * 10)]
            image = np.full((64, 64, 3), colour, np.uint8)
            container.mux(frames.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        if audio is not None:
            for frame in tone_frames():
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
        container.mux(frames.encode(None))
    return path


def tone_frames() -> list[Any]:
    times = np.arange(SECONDS * 48_000) / 48_000
    is_on = np.any([(times >= start) & (times < end) for start, end in TONES], axis=0)
    samples = (0.3 * is_on * np.sin(2 * np.pi * 440 * times)).astype(np.float32)
    found = []
    for first in range(0, len(samples), 1024):
        frame = av.AudioFrame.from_ndarray(samples[None, first : first + 1024], format="flt", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), first
        found.append(frame)
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write(folder / "mixed.mp4", [RED, GREEN, BLUE, RED])
    write(folder / "silent.mp4", [BLUE, RED], tones=False)
    return folder


def by_clip(store: Store, table: str) -> dict[tuple[str, float], dict[str, Any]]:
    rows = [
        row for part in store.parts(f"features/{table}") for row in store.read(f"features/{table}", part).to_pylist()
    ]
    return {(Path(row["uri"]).stem, row["start_s"]): row for row in rows}


CHAIN = {"activity": Activity(), "turns": Turns(), "turn_loudness": TurnLoudness()}


def whole(path: Path) -> tuple[list[tuple[float, float]], list[float]]:
    """The turns of a file and how loud each is, from all of its audio at once."""
    step_s = Activity().step_s
    with path.open("rb") as file, VideoReader(file, str(path), frames=False) as reader:
        request = Audio(8000).request(0.0, float(SECONDS))
        audio: Any = reader.read([request], 0.0, float(SECONDS)).samples[request]
    steps = [n for n in range(round(SECONDS / step_s)) if loudness(audio, n * step_s, step_s) > LOUD]
    turns = [(first * step_s, stop * step_s) for first, stop in runs(steps)]
    return turns, [loudness(audio, start_s, end_s - start_s) for start_s, end_s in turns]


@pytest.mark.parametrize("length_s", [2.0, 7.0, 10.0])
def test_a_chain_of_three_levels_is_the_same_however_clips_are_cut(corpus: Path, tmp_path: Path, length_s: float):
    store = filled(tmp_path / "store", corpus, CHAIN, FixedStride(length_s))
    turns, loud = by_clip(store, "turns"), by_clip(store, "turn_loudness")
    places = sorted(place for place in turns if place[0] == "mixed")
    found = [turn for place in places for turn in turns[place]["turns"]]
    heard = [value for place in places for value in loud[place]["loudness"]]
    expected_turns, expected_loud = whole(corpus / "mixed.mp4")
    assert [(turn["start_s"], turn["end_s"]) for turn in found] == expected_turns
    assert len(expected_turns) == len(TONES)
    assert heard == pytest.approx(expected_loud, rel=1e-7)
    assert all(turns[place]["turns"] == [] for place in turns if place[0] == "silent")
    assert verify(store.url).is_whole


def test_context_is_cut_at_the_ends_and_says_where_it_begins(corpus: Path, tmp_path: Path):
    seen = filled(tmp_path / "store", corpus, {"context": Contexts()}, FixedStride(10.0))
    rows = by_clip(seen, "context")
    assert [(rows["mixed", start_s]["first_s"], rows["mixed", start_s]["stop_s"]) for start_s in (0.0, 10.0, 20.0)] == [
        (0.0, 13.0),
        (8.5, 23.0),
        (18.5, 24.0),
    ]
    assert [rows["mixed", start_s]["previous_end_s"] for start_s in (0.0, 10.0, 20.0)] == [None, 10.0, 20.0]
    assert rows["silent", 0.0]["first_s"] is None


@dataclass(frozen=True, kw_only=True)
class Contexts:
    """Says what audio it is given."""

    name: str = "context"

    @property
    def inputs(self) -> dict[str, Any]:
        return {"audio": Audio(16_000, before_s=1.5, after_s=3)}

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([("first_s", pa.float64()), ("stop_s", pa.float64()), ("previous_end_s", pa.float64())])

    def load(self, device: str) -> Any:
        def extract(items: Sequence[ClipInput]) -> dict[str, Any]:
            first = [item["audio"].start_s for item in items]
            stop = [at + len(item["audio"].samples) / 16_000 for at, item in zip(first, items, strict=True)]
            return {"first_s": first, "stop_s": stop, "previous_end_s": [item.previous_end_s for item in items]}

        return extract


COLOURS = {"own-colour": Colour(), "warm": Warm(), "numbered": Numbered()}


def test_a_video_scope_extractor_numbers_the_clips_of_each_video(corpus: Path, tmp_path: Path):
    store = filled(tmp_path / "store", corpus, COLOURS, FixedStride(6.0))
    rows = by_clip(store, "numbered")
    assert [rows["mixed", start_s]["number"] for start_s in (0.0, 6.0, 12.0, 18.0)] == [1, None, None, 2]
    videos = store.read("video_features/numbered", 0).to_pylist()
    assert {Path(row["uri"]).stem: row["warm_clips"] for row in videos} == {"mixed": 2, "silent": 2}
    assert verify(store.url).is_whole


def test_a_clip_whose_input_failed_fails_alone_with_kind_input(corpus: Path, tmp_path: Path):
    fails = FailsOnGreen()
    store = filled(tmp_path / "store", corpus, {**COLOURS, "own-colour": fails}, FixedStride(6.0))
    errors = store.read("errors/warm", 0).to_pylist()
    assert [(Path(row["uri"]).stem, row["start_s"], row["stage"], row["kind"]) for row in errors] == [
        ("mixed", 6.0, "input", "input")
    ]
    assert "own-colour: ValueError: green" in errors[0]["message"]
    (row,) = [row for row in store.read("video_features/numbered", 0).to_pylist() if "mixed" in row["uri"]]
    assert (row["warm_clips"], row["failed_clips"]) == (2, 1)
    assert len(store.read("errors/numbered", 0)) == 1
    assert verify(store.url).is_whole


@dataclass(frozen=True, kw_only=True)
class FailsOnGreen(Colour):
    """Raises for green frames."""

    def load(self, device: str) -> Any:
        extract = super().load(device)

        def checked(items: Sequence[ClipInput]) -> Any:
            if any(item["middle"][..., 1].mean() > 100 for item in items):
                raise ValueError("green")
            return extract(items)

        return checked


def test_a_derived_part_is_made_again_when_its_input_has_other_rows(corpus: Path, tmp_path: Path):
    store = filled(tmp_path / "store", corpus, {**COLOURS, "own-colour": FailsOnGreen()}, FixedStride(6.0))
    assert outdated(store, "warm", ["own-colour"]) == []
    before = store.folder.read_bytes("features/warm/part-00000.parquet")
    rows = store.read("features/own-colour", 0)
    turned = pa.array([[0.0, 0.0, 1.0]] * len(rows), rows.schema.field("embedding").type)
    store.write("features/own-colour", 0, rows.set_column(5, "embedding", turned), rows.schema)
    assert outdated(store, "warm", ["own-colour"]) == [0]
    fill(store, {**COLOURS, "own-colour": FailsOnGreen()})
    assert outdated(store, "warm", ["own-colour"]) == outdated(store, "numbered", ["warm"]) == []
    assert store.folder.read_bytes("features/warm/part-00000.parquet") != before
    assert set(store.read("features/warm", 0)["warm"].to_pylist()) == {False}
    assert verify(store.url).is_whole


def test_a_retired_video_leaves_what_is_derived_up_to_date(corpus: Path, tmp_path: Path):
    store = filled(tmp_path / "store", corpus, COLOURS, FixedStride(6.0))
    before = store.read("features/warm", 0)
    gone = next(row["video_id"] for row in before.to_pylist() if "silent" in row["uri"])
    retire(store, [gone])
    assert outdated(store, "warm", ["own-colour"]) == outdated(store, "numbered", ["warm"]) == []
    assert gone not in store.read("features/warm", 0)["video_id"].to_pylist()
    assert gone not in store.read("video_features/numbered", 0)["video_id"].to_pylist()
    assert verify(store.url).is_whole


def test_a_table_whose_input_was_made_anew_is_stale(corpus: Path, tmp_path: Path):
    store = filled(tmp_path / "store", corpus, {"own-colour": Colour(), "warm": Warm()}, FixedStride(12.0))
    store.remove_table("own-colour")
    with pytest.raises(SpecMismatchError, match=r"features/warm is stale: .* made anew since .*--refresh"):
        fill(store, {"own-colour": OtherColour(), "warm": Warm()})


@dataclass(frozen=True, kw_only=True)
class OtherColour(Colour):
    """Another version."""

    version: str = "2"


def test_of_and_defaults_choose_the_table_of_an_input(tmp_path: Path):
    store = Store(str(tmp_path / "store"))
    said: list[str] = []
    two = {"a": Colour(name="a"), "b": Colour(name="b")}
    assert bind(store, {**two, "warm": Warm(of="b")}, said.append).bound["warm"] == {"colour": "b"}
    with pytest.raises(UsageError, match=r"a, b have it; say which, as in -x 'warm\?of=a'"):
        bind(store, {**two, "warm": Warm()}, said.append)
    with pytest.raises(UsageError, match="warm needs a table of 'own/colour': there is no extractor"):
        bind(store, {"warm": Warm()}, said.append)
    assert bind(store, {"a": Colour(name="a"), "warm": Warm()}, said.append).levels() == [["a"], ["warm"]]
    assert said == []


def test_a_table_that_lacks_what_is_taken_of_it_is_refused_before_anything_is_extracted(tmp_path: Path):
    store = Store(str(tmp_path / "store"))
    store.write_spec("other", describe(Colour(name="other")))
    held = {"a": Colour(name="a"), "warm": Warm(of="other")}
    assert bind(store, held, lambda line: None).bound["warm"] == {"colour": "other"}
    events, masks = ObjectEvents(of="other"), RegionsOverTime(of="a")
    with pytest.raises(UsageError, match=r"e takes tracks of a table, which other has not; .* such as -x tracks$"):
        bind(store, {**held, "e": events}, lambda line: None)
    with pytest.raises(UsageError, match=r"m takes masks of a table, which a has not; .* 'person_mask\?masks=true'$"):
        bind(store, {**held, "m": masks}, lambda line: None)
    with pytest.raises(UsageError, match=r"which other has not; name another: of=tracks$"):
        bind(store, {"e": events, "tracks": Tracks(of="boxes"), "boxes": Ssd()}, lambda line: None)
    with pytest.raises(UsageError, match=r"none has it; extract one first, such as -x 'person_mask\?masks=true'$"):
        bind(store, {"masks": RegionsOverTime()}, lambda line: None)
    said: list[str] = []
    assert set(bind(store, {"tracks": Tracks()}, said.append).extractors) == {"tracks", "ssd"}
    assert said == ["tracks needs ssd, which is extracted too, by its defaults: name it with -x for others"]


def test_options_are_the_fields_of_a_description():
    still = "third_party.own:Still"
    assert resolve(f"{still}?fps=3&scale=0.5") == Still(fps=3.0, scale=0.5)
    assert resolve(f"{still}?fps=3", fps=9.0) == Still(fps=3.0)
    assert table_of(f"{still}?name=other&scale=2") == "other"
    assert list(name_tables([still, f"{still}?name=twice&scale=2"])) == ["still", "twice"]
    with pytest.raises(UsageError, match="has no option speed; it has fps, scale"):
        resolve(f"{still}?speed=3")
    with pytest.raises(UsageError, match="option fps must be a number, got 'fast'"):
        resolve(f"{still}?fps=fast")
    with pytest.raises(UsageError, match="two extractors would write the same table, still"):
        name_tables([still, f"{still}?scale=2"])
    weights = "torchvision/resnet50@https://host/w.safetensors?sig=a%20b"
    assert resolve(weights).weights == "https://host/w.safetensors?sig=a%20b"  # type: ignore[attr-defined]


@pytest.mark.parametrize("column", ["uri", "message", "kind", "stage", "decode_warning", "clip_id", "video_row"])
def test_columns_that_every_table_has_are_refused_wherever_an_extractor_is_taken(column: str, tmp_path: Path):
    with pytest.raises(UsageError, match=f"'{column}' is one of vidray's own"):
        check_columns("mine", pa.schema([(column, pa.string())]))
    with pytest.raises(UsageError, match=f"'{column}' is one of vidray's own"):
        bind(Store(str(tmp_path)), {"mine": Mine(column=column)}, print)
    with pytest.raises(AssertionError, match="one of vidray's own"):
        check_extractor(Mine(column=column))


@dataclass(frozen=True, kw_only=True)
class Mine(Still):
    """Has a column of any name."""

    column: str = "mine"

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(self.column, pa.string())])


def test_a_store_imports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "evil.py").write_text("raise SystemExit('evil ran')\n")
    monkeypatch.chdir(tmp_path)
    spec = describe(Still()) | {"extractor": "evil:Still"}
    with pytest.raises(UsageError, match="a store does not decide what is imported: name it with -x evil:Still"):
        restore(spec)
    assert restore(describe(Still()), given=Still()) == Still()


def test_the_conformance_check_takes_all_kinds():
    check_extractor(Colour())
    check_extractor(Still())
    rows = [{"embedding": [1.0, 0.0, 0.5]}] * 4
    check_extractor(Warm(), columns={"colour": rows})
    check_extractor(Numbered(), columns={"warm": [{"warm": True}] * 4})
    with pytest.raises(AssertionError, match="colour are tables: pass columns with 4 rows of each"):
        check_extractor(Warm())
    assert MiddleFrame(resize=Resize(size=8)).nbytes(0.0, 1.0, (16, 32)) == 8 * 16 * 3


def vidray(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])}
    command = [sys.executable, "-m", "vidray.cli", *arguments]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, check=True, timeout=600)


@pytest.mark.slow
def test_a_third_partys_kinds_through_the_command_line(corpus: Path, tmp_path: Path):
    """A sampling, a planner, derived extractors and a joint model: extract, resume, backfill, index, search."""
    own, store = "third_party.own", str(tmp_path / "store")
    plan = ["--planner", f"{own}:Thirds?parts=4"]
    first = vidray("extract", str(corpus), store, "-x", f"{own}:Colour", *plan, "--json", cwd=tmp_path)
    assert json.loads(first.stdout)["done"] == 8
    again = vidray(
        "extract", str(corpus), store, "-x", f"{own}:Numbered", "-x", f"{own}:Warm", *plan, "--json", cwd=tmp_path
    )
    counts = json.loads(again.stdout)
    assert (counts["planned"], counts["done"], counts["failed"]) == (16, 16, 0)
    counts = json.loads(
        vidray("extract", str(corpus), store, "-x", f"{own}:Warm", *plan, "--json", cwd=tmp_path).stdout
    )
    assert (counts["done"], counts["skipped"]) == (0, 8)
    assert '"missing": 0' in vidray("verify", store, "--json", cwd=tmp_path).stdout
    vidray("index", store, "-x", "own/colour", cwd=tmp_path)
    found = json.loads(
        vidray("search", store, "--text", "something green", "-x", f"{own}:Colour", "--json", cwd=tmp_path).stdout
    )
    assert (Path(found["hits"][0]["uri"]).stem, found["hits"][0]["start_s"]) == ("mixed", 6.0)
    query = str(corpus / "silent.mp4")
    found = json.loads(
        vidray("search", store, "--video", query, "--at", "1-2", "-x", f"{own}:Colour", "--json", cwd=tmp_path).stdout
    )
    blue = {(Path(hit["uri"]).stem, hit["start_s"]) for hit in found["hits"][:3]}
    assert blue == {("silent", 0.0), ("silent", 6.0), ("mixed", 12.0)}
