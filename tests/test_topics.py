"""Topics of made texts: the five true ones, each called by its own words, as labels of clips and of videos."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from labeled_stores import clip_row
from sklearn.metrics import adjusted_rand_score
from talks import CLIPS_A_VIDEO, TOPICS, topic_texts

from vidray.cli import main
from vidray.errors import UsageError
from vidray.extractors.text.embedding import TextEmbedding
from vidray.labels.topics import group, telling_words, topic_labeler
from vidray.models.sentences import embed_sentences
from vidray.store import CLIPS, IDENTITY, VIDEOS, Store, features_schema

TEXTS = pa.schema([("text", pa.string())])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Thirty videos of three clips each, with texts and their vectors; the last clip has no text."""
    store = Store(str(tmp_path_factory.mktemp("store")))
    store.write_config({"clip_length_s": 10.0})
    texts = [text for _, some in topic_texts() for text in some]
    held: list[str | None] = [*texts[:-1], None]
    vectors = [*embed_sentences(texts[:-1]).tolist(), None]
    clips = [clip_row(row, CLIPS_A_VIDEO, 0) for row in range(len(held))]
    videos = [{"video_id": f"v{number}", "uri": f"/media/{number}.mp4"} for number in range(len(topic_texts()))]
    store.write("clips", 0, pa.Table.from_pylist(clips, CLIPS), CLIPS)
    store.write("videos", 0, pa.Table.from_pylist(videos, VIDEOS), VIDEOS)
    embedding = TextEmbedding().schema
    for table, schema, values in (("said", TEXTS, held), ("text_embedding", embedding, vectors)):
        rows = pa.Table.from_pylist(clips).select(IDENTITY.names)
        rows = rows.append_column(schema.names[0], pa.array(values, schema.types[0]))
        rows = rows.append_column("decode_warning", pa.nulls(len(clips), pa.string()))
        store.write(f"features/{table}", 0, rows, features_schema(schema))
    columns = [["embedding", str(embedding.types[0])]]
    source = {"text": {"kind": "Columns", "modality": "text", "columns": ["text"], "table": "said"}}
    store.write_spec("said", {"name": "said", "columns": [["text", "string"]], "inputs": {}})
    store.write_spec("text_embedding", {"name": "text_embedding", "columns": columns, "inputs": source})
    return store


def test_the_topics_of_made_texts_are_found(store: Store, capsys: pytest.CaptureFixture[str]):
    assert main(["label", store.url, "topics"]) == 0
    said = capsys.readouterr().err
    assert "5 topics: " in said
    truth = [topic for topic, some in topic_texts() for _ in some][:-1]
    rows = store.read("labels/topics-text_embedding", 0).to_pylist()
    assert len(rows) == len(truth), "a clip without a text has no topic"
    assert adjusted_rand_score(truth, [row["label"] for row in rows]) >= 0.9
    assert all(0 < row["score"] <= 1 for row in rows)
    best: dict[str, dict[str, float]] = {}
    for row in store.read("video_labels/topics-text_embedding", 0).to_pylist():
        best.setdefault(row["video_id"], {})[row["label"]] = row["score"]
    found = [max(best[f"v{number}"], key=best[f"v{number}"].__getitem__) for number in range(len(best))]
    assert adjusted_rand_score([topic for topic, _ in topic_texts()], found) >= 0.9


def test_topics_are_called_by_words_of_their_own(store: Store):
    labeler = topic_labeler(store.url, count=5)
    assert len(labeler.names) == 5
    for name in labeler.names:
        words = name.split(", ")
        assert len(words) == 3
        owners = Counter(topic for word in words for topic, some in TOPICS.items() if word in " ".join(some).lower())
        assert owners.most_common(1)[0][1] == 3, name
    assert np.array_equal(labeler.centres, topic_labeler(store.url, count=5).centres)


def test_too_few_texts_are_refused(store: Store):
    with pytest.raises(UsageError, match="has 89 clips with a text; topics need 200"):
        topic_labeler(store.url, count=200)


def test_groups_are_as_many_as_part_best_and_names_differ():
    generator = np.random.default_rng(0)
    truth = np.repeat(np.arange(4), 25)
    vectors = np.eye(16)[truth] + 0.1 * generator.standard_normal((100, 16))
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    groups, centres = group(unit, None)
    assert adjusted_rand_score(truth, groups) == 1.0
    assert centres.shape == (4, 16)
    names = telling_words(["dog bone", "dog bone", "dog bone", ""], np.array([0, 0, 1, 2]), 3)
    assert len(set(names)) == 3


def test_texts_that_are_all_alike_are_one_topic():
    vectors = np.tile(np.float32([[0.6, 0.8]]), (9, 1))
    groups, centres = group(vectors, None)
    assert groups.tolist() == [0] * 9
    assert centres == pytest.approx(np.float32([[0.6, 0.8]]))
