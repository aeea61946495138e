"""The whole, with real networks on real video: what a table holds is what the network's own code gives."""

from __future__ import annotations

from pathlib import Path

import av
import duckdb
import numpy as np
import pandas
import polars
import pytest
import torch
from media_files import packaged
from safetensors.torch import save_file
from torchvision import models

import vidray
from vidray.errors import SpecMismatchError
from vidray.storage import Folder
from vidray.store import Store

pytestmark = pytest.mark.slow

FPS = 2.0
CLIP_S = 4.0


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """Weights of a resnet50 with batch norms that do something, from a seed."""
    torch.manual_seed(3)
    model = models.resnet50(weights=None)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    path = tmp_path_factory.mktemp("weights") / "resnet50.safetensors"
    save_file(model.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for name in ("bikes.mp4", "bigbuckbunny.mp4"):
        (folder / name).symlink_to(packaged(name))
    return folder


@pytest.fixture(scope="module")
def store(corpus, weights, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("end") / "store"
    extractors = [vidray.resolve(f"torchvision/resnet50@{weights}", fps=FPS), "efficientnet_lite0", "yamnet"]
    summary = vidray.extract(str(corpus), str(folder), extractors=extractors, planner=vidray.FixedStride(CLIP_S))
    assert (summary.done, summary.failed) == (3 * summary.clips, 0)
    return folder


def frames_at(path: Path, times_s: list[float]) -> list[np.ndarray]:
    """The frames on display at these times, as PyAV gives them."""
    with av.open(str(path)) as container:
        frames = [(float(frame.pts * frame.time_base), frame) for frame in container.decode(video=0)]
    first = frames[0][0]
    return [
        [frame for shown_s, frame in frames if shown_s - first <= time_s + 1e-6][-1].to_ndarray(format="rgb24")
        for time_s in times_s
    ]


def test_resnet50_from_a_file_is_torchvisions_own(store, weights):
    from safetensors.torch import load_file

    model = models.resnet50(weights=None).eval()
    model.load_state_dict(load_file(weights))
    model.fc = torch.nn.Identity()
    preset = models.ResNet50_Weights.DEFAULT.transforms()
    rows = pandas.read_parquet(store / "features" / "torchvision-resnet50")
    for row in rows.itertuples():
        times = list(np.arange(row.start_s, row.end_s - 1e-6, 1 / FPS))
        frames = frames_at(Path(row.uri), times)
        with torch.inference_mode():
            expected = model(torch.stack([preset(torch.from_numpy(p).permute(2, 0, 1)) for p in frames])).mean(0)
        found = torch.tensor(np.array(row.embedding))
        assert torch.nn.functional.cosine_similarity(found, expected, dim=0) >= 0.9999


def test_one_line_opens_a_table_in_pandas_polars_and_duckdb(store):
    clips = 3 + 2
    frame = pandas.read_parquet(store / "features" / "yamnet")
    assert len(frame) == clips
    assert polars.read_parquet(store / "features" / "yamnet" / "*.parquet").height == clips
    query = f"SELECT uri, labels[1].label AS label FROM '{store}/features/yamnet/*.parquet' WHERE embedding IS NOT NULL"
    assert {Path(uri).name for uri, _ in duckdb.sql(query).fetchall()} == {"bigbuckbunny.mp4"}
    assert duckdb.sql(f"SELECT * FROM '{store}/errors/*/*.parquet'").fetchall() == []


def test_the_public_calls_of_the_readme(store):
    info = vidray.build_index(str(store), extractor="efficientnet_lite0")
    index = vidray.open_index(str(store), extractor="efficientnet_lite0")
    assert (index.size, index.dim, info.rows) == (5, 1280, 5)
    hits = vidray.search(str(store), video=str(packaged("bikes.mp4")), at=(4.0, 8.0), k=2).hits
    assert (Path(str(hits[0].uri)).name, hits[0].start_s) == ("bikes.mp4", 4.0)
    assert hits[0].score > 0.999
    assert vidray.verify(str(store)).is_whole
    matches = index.search(np.asarray([index.vector(hits[0].clip_id)], np.float32), k=1)
    assert matches.ids[0, 0] == hits[0].clip_id


def test_other_weights_under_the_same_name_are_refused_and_the_same_elsewhere_are_not(corpus, store, weights, tmp_path):
    options = {"planner": vidray.FixedStride(CLIP_S)}
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(weights.read_bytes())
    summary = vidray.extract(str(corpus), str(store), extractors=[f"torchvision/resnet50@{copy}"], **options)
    assert summary.skipped == summary.planned
    save_file({k: v + 1 for k, v in models.resnet50(weights=None).state_dict().items()}, copy)
    with pytest.raises(SpecMismatchError, match="--as NAME"):
        vidray.extract(str(corpus), str(store), extractors=[f"torchvision/resnet50@{copy}"], **options)
    assert Store(str(store)).tables("features") == ["efficientnet_lite0", "torchvision-resnet50", "yamnet"]
    assert not [name for name in Folder(str(store)).sizes() if name.startswith("_")]
