"""Sentences about frames: the library's own answers on seeded networks, at the frames' times, searched like speech."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from filling import filled
from media_files import packaged
from tiny_networks import captioner_folder, writer_folder

from vidray.errors import UsageError, WeightsError
from vidray.extractors import describe, resolve
from vidray.extractors.vision.caption import Caption
from vidray.media import Clip, ClipInput, Frames
from vidray.planning import FixedStride
from vidray.testing import check_extractor

transformers = pytest.importorskip("transformers")


def frames(count: int, seed: int = 0) -> np.ndarray:
    """Noise whose means differ, (T, H, W, 3)."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(0, 50 + 40 * n, (40, 60, 3), dtype=np.uint8) for n in range(count)])


def clip(seen: np.ndarray, start_s: float = 10.0, step_s: float = 5.0) -> ClipInput:
    span = Clip(clip_id="c", video_id="v", uri="u", clip_index=0, start_s=start_s, end_s=start_s + step_s * len(seen))
    return ClipInput(clip=span, values={"frames": Frames(times_s=start_s + step_s * np.arange(len(seen)), frames=seen)})


def librarys_captions(folder: str, seen: np.ndarray) -> list[str]:
    """As its documentation captions an image."""
    network = transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    found = []
    for frame in seen:
        pixels = processor(frame, return_tensors="pt").pixel_values
        ids = network.generate(pixel_values=pixels, do_sample=False, num_beams=1, max_new_tokens=20)
        found += [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
    return found


@pytest.mark.parametrize("kind", ["vit-gpt2", "blip"])
def test_captions_are_the_librarys_own_at_their_frames_times(tmp_path: Path, kind: str):
    folder = captioner_folder(tmp_path / kind, kind)
    seen = frames(4)
    rows: Any = Caption(model=folder, tokens=20).load("cpu")([clip(seen)])
    wanted = librarys_captions(folder, seen)
    assert len(set(wanted)) > 1
    standing = [text for place, text in enumerate(wanted) if text and (place == 0 or text != wanted[place - 1])]
    assert [one["text"] for one in rows["segments"][0]] == standing
    assert rows["text"] == [" ".join(standing)]
    assert rows["segments"][0][0]["start_s"] == 10.0
    assert rows["segments"][0][-1]["end_s"] == 30.0
    assert all(one["start_s"] == 10.0 + 5 * wanted.index(one["text"]) for one in rows["segments"][0])


def test_what_stays_the_same_is_one(tmp_path: Path):
    folder = captioner_folder(tmp_path / "model", "vit-gpt2")
    same = np.repeat(frames(1, seed=3), 3, axis=0)
    rows: Any = Caption(model=folder, tokens=5).load("cpu")([clip(same)])
    assert [(one["start_s"], one["end_s"]) for one in rows["segments"][0]] == [(10.0, 25.0)]


def test_models_that_are_no_captioners_are_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="needs a model, got none"):
        Caption().load("cpu")
    with pytest.raises(WeightsError, match=r"caption: the model .* cannot be loaded"):
        Caption(model=writer_folder(tmp_path / "writer")).load("cpu")
    with pytest.raises(UsageError, match="tokens must be at least 1, got 0"):
        resolve("caption?tokens=0")


def test_it_is_an_extractor(tmp_path: Path):
    folder = captioner_folder(tmp_path / "model", "vit-gpt2")
    check_extractor(Caption(model=folder, tokens=2, fps=0.02))
    assert describe(resolve(f"caption?model={folder}"))["weights"]["source"] == folder


def test_a_caption_is_searched_like_speech(tmp_path: Path):
    from vidray.exports.export import export
    from vidray.retrieval.indexing import index_words
    from vidray.retrieval.search import search

    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "bikes.mp4").symlink_to(packaged("bikes.mp4"))
    folder = captioner_folder(tmp_path / "model", "vit-gpt2")
    store = filled(
        tmp_path / "store",
        tmp_path / "corpus",
        {"caption": Caption(model=folder, tokens=3, fps=0.4)},
        FixedStride(5.0),
    )
    rows = store.read("features/caption", 0, ["clip_id", "video_id", "uri", "start_s", "end_s", "segments"])
    # as if the network had been a real one
    said = [[{**one, "text": "Two people ride their bicycles."} for one in row["segments"]] for row in rows.to_pylist()]
    said[-1] = [{**one, "text": "An empty street."} for one in said[-1]]
    table = store.read("features/caption", 0)
    column = pa.array(said, table.schema.field("segments").type)
    table = table.set_column(table.schema.get_field_index("segments"), "segments", column)
    store.write("features/caption", 0, table, table.schema)
    index_words(store.url, "caption")
    for asked in ("description", None):
        best = search(store.url, text="somebody on a bicycle", modality=asked, k=1).hits[0]
        assert (best.modality, best.extractor, best.text) == (
            "description",
            "caption",
            "Two people ride their bicycles.",
        )
    with pytest.raises(UsageError, match="no index of words of speech"):
        search(store.url, text="a bicycle", modality="speech")
    assert export(store.url, "features/caption", tmp_path / "vtt", to="vtt").rows >= 2
