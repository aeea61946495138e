"""open_clip's joint models, by a tiny one of random weights: frames and texts in one space, as open_clip has them."""

from __future__ import annotations

import dataclasses
import json
import os

import numpy as np
import pyarrow as pa
import pytest
import torch
from clip_inputs import items, sampling_of

import vidray
from vidray.errors import UsageError, WeightsError
from vidray.extractors import describe, resolve
from vidray.extractors.vision.open_clip import OpenClip, model_names
from vidray.labels import zero_shot
from vidray.labels.joint import JointModel
from vidray.media import Frames, Resize
from vidray.store import CLIPS, Store, features_schema
from vidray.testing import check_extractor

pytestmark = pytest.mark.slow

MODEL = "vidray-tiny"
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of weights for a model that open_clip is told of."""
    import open_clip

    folder = tmp_path_factory.mktemp("open_clip")
    (folder / f"{MODEL}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / f"{MODEL}.json")
    torch.manual_seed(0)
    model = open_clip.create_model(MODEL)
    torch.save(model.state_dict(), folder / "tiny.pt")
    return str(folder / "tiny.pt")


@pytest.fixture(scope="module")
def extractor(weights: str) -> OpenClip:
    found = resolve(f"open_clip/{MODEL}@{weights}", per_frame=True)
    assert isinstance(found, OpenClip)
    return found


def frames(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def test_it_keeps_an_extractors_promises(extractor):
    check_extractor(extractor)
    assert extractor.name == f"open_clip/{MODEL}"
    assert sampling_of(extractor).resize == Resize(size=32, crop=(32, 32), interpolation="bicubic")


def test_vectors_are_open_clips_own(extractor, weights):
    import open_clip

    model, _, preprocess = open_clip.create_model_and_transforms(MODEL, pretrained=weights)
    model.eval()
    clip = Frames(times_s=np.arange(3.0), frames=frames(3, 1))
    columns = extractor.load("cpu")(items([clip]))
    from PIL import Image

    with torch.inference_mode():
        batch = torch.stack([preprocess(Image.fromarray(frame)) for frame in clip.frames])
        expected = model.encode_image(batch, normalize=True).numpy()
        texts = open_clip.get_tokenizer(MODEL)(["a dog", "traffic"])
        read = model.encode_text(texts, normalize=True).numpy()
    np.testing.assert_allclose(columns["embedding"][0], expected.mean(axis=0), atol=1e-5)
    tower = extractor.load_text()
    np.testing.assert_allclose(tower.embed(["a dog", "traffic"]), read, atol=1e-5)
    assert tower.scale == pytest.approx(float(model.logit_scale.detach().exp()))
    assert tower.bias is None


@pytest.fixture
def store(tmp_path, extractor) -> Store:
    """Four clips and their table; the last clip has no embedding."""
    store = Store(str(tmp_path / "store"))
    store.write_config({"clip_length_s": 10.0})
    plain = dataclasses.replace(extractor, per_frame=False)
    store.write_spec("clip", describe(plain))
    vectors = plain.load("cpu")(items([Frames(times_s=np.zeros(1), frames=frames(1, seed)) for seed in range(3)]))
    rows = [
        {"clip_id": f"c{n}", "video_id": "v", "uri": "/v.mp4", "clip_index": n, "start_s": 10.0 * n,
         "end_s": 10.0 * n + 10, "part": 0, "block": 0, "embedding": vectors["embedding"][n] if n < 3 else None}
        for n in range(4)
    ]  # fmt: skip
    schema = features_schema(plain.schema)
    store.write("clips", 0, pa.Table.from_pylist(rows, CLIPS), CLIPS)
    store.write("features/clip", 0, pa.Table.from_pylist(rows, schema), schema)
    return store


def test_zero_shot_labels_are_probabilities_against_saying_nothing(store, extractor):
    labeler = vidray.zero_shot_labeler(store.url, ["a dog", "traffic"])
    assert isinstance(labeler, JointModel)
    summary = vidray.label(store.url, labeler, name="words")
    assert (summary.labeled, summary.labels) == (3, 6)
    rows = store.read("labels/words", 0).to_pylist()
    assert {row["source"] for row in rows} == {"zero-shot"}
    tower = extractor.load_text()
    vectors = np.stack(store.read("features/clip", 0)["embedding"].to_pylist()[:3])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nothing = tower.embed(["a photo", "a picture", "an image", "a frame of a video", "something"]).mean(axis=0)
    dog = tower.embed(["a dog", "a photo of a dog"]).mean(axis=0)
    expected = 1 / (1 + np.exp(-tower.scale * (vectors @ (dog / np.linalg.norm(dog)) - vectors @ nothing)))
    given = [row["score"] for row in sorted(rows, key=lambda row: row["clip_id"]) if row["label"] == "a dog"]
    np.testing.assert_allclose(given, expected, atol=1e-4)


def test_search_by_text_is_by_cosine_in_the_index(store):
    with pytest.raises(UsageError, match="no index of 'clip'"):
        vidray.search(store.url, text="a dog")
    vidray.build_index(store.url, extractor="clip")
    result = vidray.search(store.url, text="a dog", k=2)
    labeler = vidray.zero_shot_labeler(store.url, ["a dog"])
    rows = store.read("features/clip", 0).slice(0, 3)
    vectors = np.stack(rows["embedding"].to_pylist())
    cosines = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)) @ labeler.vectors[0]
    best = np.argsort(-cosines)[:2]
    assert [hit.clip_id for hit in result.hits] == [f"c{n}" for n in best]
    np.testing.assert_allclose([hit.score for hit in result.hits], cosines[best], atol=2e-3)
    assert result.query == {"text": "a dog"}


def test_a_bias_makes_the_models_own_probability(store, monkeypatch):
    labeler = zero_shot("clip", store.spec("clip"), ["a dog"])
    tower = dataclasses.replace(labeler._tower, bias=-3.0)
    monkeypatch.setitem(labeler.__dict__, "_tower", tower)
    rows = store.read("features/clip", 0)
    vector = np.array(rows["embedding"][0].as_py())
    cosine = vector @ labeler.vectors[0] / np.linalg.norm(vector)
    assert labeler.scores(rows)[0, 0] == pytest.approx(1 / (1 + np.exp(3.0 - tower.scale * cosine)), abs=1e-4)
    assert labeler.scores(rows)[3, 0] == 0


def test_wrong_names_and_weights_are_refused(extractor, tmp_path):
    with pytest.raises(UsageError, match="no model 'ViT-Z'"):
        resolve("open_clip/ViT-Z")
    with pytest.raises(UsageError, match="no weights 'nobody' of ViT-B-32; there are openai, "):
        resolve("open_clip/ViT-B-32/nobody")
    torch.save({"x": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(WeightsError, match="of another network"):
        dataclasses.replace(extractor, weights=str(tmp_path / "other.pt")).load("cpu")


def test_a_tag_decides_the_frames_and_is_part_of_what_the_table_is():
    siglip = resolve("open_clip/ViT-B-16-SigLIP")
    assert sampling_of(siglip).resize == Resize(size=(224, 224), crop=None, interpolation="bicubic")
    assert siglip.weights_record == {"source": "open_clip ViT-B-16-SigLIP/webli", "sha256": None}
    spec = describe(resolve("open_clip/ViT-B-32/laion2b_s34b_b79k"))
    assert spec["extractor"] == spec["name"] == "open_clip/ViT-B-32/laion2b_s34b_b79k"
    # OpenAI's own weights want another activation than this configuration has
    assert resolve("open_clip/ViT-B-32").weights_record["source"] == "open_clip ViT-B-32/laion2b_e16"
    assert resolve("open_clip/ViT-B-32-quickgelu").weights_record["source"] == "open_clip ViT-B-32-quickgelu/openai"


def test_models_are_listed_without_importing_open_clip():
    assert {"ViT-B-32", "ViT-B-16-SigLIP"} <= set(model_names())
    assert os.path.sep not in "".join(model_names())
