"""Steps in the pipeline and in queries: what a table says was done is done, once, and however clips are cut."""

from __future__ import annotations

import wave
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
import spoken
from filling import filled

from vidray.errors import SpecMismatchError
from vidray.extractors import resolve
from vidray.extractors.spec import describe
from vidray.index import build_index
from vidray.media import Audio
from vidray.planning import FixedStride
from vidray.retrieval.search import open_search
from vidray.steps.audio import loudness as loudness_step


@dataclass(frozen=True)
class Kept:
    """Keeps all that it hears."""

    rate: int = 16_000

    name = "kept"
    schema = pa.schema([("samples", pa.list_(pa.float32()))])

    @property
    def inputs(self):
        return {"audio": Audio(self.rate)}

    def load(self, device):
        return lambda items: {"samples": [item["audio"].samples for item in items]}


@dataclass(frozen=True)
class Spectrum:
    """A fine spectrum, in which noise shows."""

    name = "spectrum"
    schema = pa.schema([("embedding", pa.list_(pa.float32(), 256))])
    inputs = {"audio": Audio(16_000)}  # noqa: RUF012

    def load(self, device):
        def extract(items):
            parts = [np.array_split(item["audio"].samples - item["audio"].samples.mean(), 256) for item in items]
            return {"embedding": [np.array([part[0] for part in some], np.float32) for some in parts]}

        return extract


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    samples = np.concatenate([samples for samples, _ in spoken.librivox()])[: 18 * spoken.RATE]
    noise = np.random.default_rng(0).normal(0, 0.02, len(samples))
    with wave.open(str(folder / "said.wav"), "wb") as file:
        file.setparams((1, 2, spoken.RATE, 0, "NONE", ""))
        file.writeframes((32767 * (samples + noise)).clip(-32768, 32767).astype("<i2").tobytes())
    return folder


def samples_of(store, table):
    table = f"features/{table}"
    rows = [row for part in store.parts(table) for row in store.read(table, part).to_pylist()]
    return np.concatenate([row["samples"] for row in sorted(rows, key=lambda row: row["start_s"])])


@pytest.mark.slow
def test_denoised_audio_is_the_same_however_clips_are_cut(corpus, tmp_path):
    extractor = {"kept": resolve("test_steps_in_stores:Kept?audio=denoise")}
    found = [
        samples_of(filled(tmp_path / str(length_s), corpus, extractor, FixedStride(length_s)), "kept")
        for length_s in (2.0, 7.0, 10.0)
    ]
    plain = samples_of(filled(tmp_path / "plain", corpus, {"kept": Kept()}, FixedStride(7.0)), "kept")
    assert len(found[0]) == len(plain)
    assert np.abs(found[0] - plain).max() > 0.02
    for other in found[1:]:
        assert np.abs(other - found[0]).max() < 1e-5


def test_a_table_with_steps_refuses_another_extractor_and_queries_take_its_steps(corpus, tmp_path):
    better = resolve("test_steps_in_stores:Spectrum?audio=loudness,noise:db=6")
    store = filled(tmp_path / "store", corpus, {"spectrum": better}, FixedStride(6.0))
    with pytest.raises(SpecMismatchError, match="give the new table a name of its own with --as NAME"):
        store.check_spec("spectrum", describe(Spectrum()))
    build_index(f"{store.url}/features/spectrum", f"{store.url}/index/spectrum")
    # the extractor is named, its steps are the table's
    hits = open_search(store.url).search(audio=str(corpus / "said.wav"), extractor=Spectrum(), k=3).hits
    # without them, or with other noise, it is below 0.9
    assert [hit.score for hit in hits] == pytest.approx([1.0, 1.0, 1.0], abs=1e-3)


def test_tables_with_the_same_steps_share_them(corpus, tmp_path, monkeypatch):
    measured = []
    known = loudness_step.loudness
    monkeypatch.setattr(loudness_step, "loudness", lambda audio: measured.append(audio.start_s) or known(audio))
    named = "test_steps_in_stores:Kept?audio=loudness"
    store = filled(tmp_path / "store", corpus, {"one": resolve(named), "two": resolve(named)}, FixedStride(6.0))
    assert len(measured) == 3
    assert np.array_equal(samples_of(store, "one"), samples_of(store, "two"))
