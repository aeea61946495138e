"""Heads on plain numbers: what becomes a feature, and that counts are learned from."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from labeled_stores import rows_of, write_csv, write_store

from vidray.cli import main
from vidray.extractors.vision.regions import COUNTS_TYPE
from vidray.labels.annotations import labeled_clips, read_annotations
from vidray.labels.numbers import has_numbers, number_columns, number_features, number_names
from vidray.pipeline.train import _gather, _with_families
from vidray.store import IDENTITY, Store, features_schema

SCHEMA = pa.schema([("crowd_mean", pa.float32()), ("line_in", pa.int32()), ("counts", COUNTS_TYPE)])
COLUMNS = [[field.name, str(field.type)] for field in SCHEMA]


def people(count: int) -> list[dict[str, object]]:
    return [{"label": "person", "count": count}] if count else []


def test_numbers_and_listed_labels_become_features():
    rows = pa.table(
        {
            "crowd_mean": pa.array([0.5, None, 2.0, float("nan")], pa.float32()),
            "line_in": pa.nulls(4, pa.int32()),
            "is_dark": pa.array([True, False, False, True]),
            "counts": pa.array([people(3), people(1), [{"label": "car", "count": 2}], None], COUNTS_TYPE),
        }
    )
    names = number_names(rows)
    assert names == ("crowd_mean", "is_dark", "counts.car", "counts.person")
    found, usable = number_features(rows, names)
    assert usable.tolist() == [True, False, True, False]
    np.testing.assert_allclose(found.frames, np.array([[0.5, 1, 0, np.log(4)], [2.0, 0, np.log(3), 0]], np.float32))
    assert found.lengths.tolist() == [1, 1]


def test_texts_boxes_and_identities_are_no_numbers():
    columns = [("start_s", "double"), ("text", "string"), ("detections", "list<...>"), *map(tuple, COLUMNS)]
    assert number_columns(columns) == ("crowd_mean", "line_in", "counts")
    assert has_numbers({"columns": columns})
    assert not has_numbers({"columns": [*columns, ("embedding", "fixed_size_list<item: float>[4]")]})
    assert not has_numbers({"columns": [("text", "string")]})


@pytest.fixture
def store(tmp_path) -> Store:
    """Forty videos of a clip, every other one crowded; the first clip's row failed."""
    store = write_store(tmp_path / "store", np.ones((40, 4), np.float32), parts=2)
    store.folder.remove_tree("features/net")
    rng = np.random.default_rng(0)
    store.write_spec("tracks", {"name": "tracks", "columns": COLUMNS})
    first = 0
    for part in store.parts("clips"):
        clips = store.read("clips", part, IDENTITY.names)
        numbers = [int(rng.integers(12, 30) if (first + n) % 2 else rng.integers(0, 5)) for n in range(len(clips))]
        table = clips.append_column(
            "crowd_mean",
            pa.array([n * 0.8 if first + place else None for place, n in enumerate(numbers)], pa.float32()),
        )
        table = table.append_column("line_in", pa.nulls(len(clips), pa.int32()))
        table = table.append_column("counts", pa.array(map(people, numbers), COUNTS_TYPE))
        table = table.append_column("decode_warning", pa.nulls(len(clips), pa.string()))
        store.write("features/tracks", part, table, features_schema(SCHEMA))
        first += len(clips)
    return store


@pytest.fixture
def labels(tmp_path) -> str:
    names = ("empty", "crowded")
    return write_csv(tmp_path / "labels.csv", "uri,label", [f"/media/{v}.mp4,{names[v % 2]}" for v in range(24)])


def test_the_features_of_labeled_clips_are_gathered(store, labels):
    clips = _with_families(store, labeled_clips(store, read_annotations(labels), labels), print)
    (kept, classes, videos, names), examples = _gather(store.url, "tracks", "embedding", clips, 5)
    assert names == ("crowd_mean", "counts.person")
    assert len(kept) == len(classes) == len(videos) == len(examples.clips)
    assert len(kept) == 23
    crowded = examples.clips.frames[np.asarray(examples.classes) == 0]
    assert crowded[:, 1].min() >= np.float32(np.log(13))


@pytest.mark.slow
def test_crowded_is_learned_from_counts(store, labels, capsys):
    assert main(["train", store.url, labels, "--head", "linear", "--name", "busy"]) == 0
    assert main(["label", store.url, "head", "--name", "busy", "--top", "1"]) == 0
    found = dict(rows_of(store, "labels/busy", "clip_id", "label"))
    wanted = {f"clip{row:05d}": ("empty", "crowded")[row % 2] for row in range(40)}
    assert len(found) == 39
    assert found.items() <= wanted.items()
