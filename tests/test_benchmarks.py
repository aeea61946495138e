"""The benchmarks run: their figures are for documents, but a script that rots measures nothing."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from media_files import packaged
from spoken import LIBRIVOX

from vidray.decode import VideoReader, probe
from vidray.media import FrameRate, RawFrames


def benchmark(repository: Path, script: str, *arguments: str | Path) -> dict[str, Any]:
    command = [sys.executable, str(repository / "benchmarks" / script), *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=repository)
    assert run.returncode == 0, run.stderr
    answer: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return answer


def test_the_corpus_maker_makes_what_it_says(repository: Path, tmp_path: Path) -> None:
    arguments = ("--videos", "3", "--shortest", "4", "--longest", "25", "--heights", "120")
    answer = benchmark(repository, "corpus.py", tmp_path / "corpus", *arguments, "--codecs", "h264,mpeg4,av1")
    videos = sorted((tmp_path / "corpus").iterdir())
    assert len(videos) == answer["videos"] == 3
    length_s = 0.0
    for path in videos:
        with path.open("rb") as file:
            info = probe(file, str(path))
            length_s += info.duration_s
            file.seek(0)
            request = FrameRate(fps=1).request(0.0, info.duration_s)
            with VideoReader(file, str(path)) as reader:
                decoded = reader.read([request], 0.0, info.duration_s)
        raw = decoded.samples[request]
        assert isinstance(raw, RawFrames)
        frames = FrameRate(fps=1).collect(raw, 0.0, info.duration_s)
        assert not decoded.warnings
        assert len(frames.frames) == -(-info.duration_s // 1)
    assert length_s == pytest.approx(answer["video_s"], abs=0.1)


@pytest.mark.slow
def test_tracking_is_measured_at_every_rate(repository: Path) -> None:
    answer = benchmark(repository, "tracking.py", 2)
    assert answer["scenes"] == 2
    for rate in (2, 5, 10):
        assert all(0.5 < answer[f"{what}_at_{rate}"]["idf1"] <= 1 for what in ("perfect", "noisy"))
    assert answer["lines_at_10"]["exact"] == 2


@pytest.fixture
def corpus(repository: Path, tmp_path: Path) -> Path:
    arguments = ("--videos", "2", "--shortest", "2", "--longest", "3", "--heights", "120", "--codecs", "mpeg4")
    benchmark(repository, "corpus.py", tmp_path / "corpus", *arguments)
    return tmp_path / "corpus"


def test_ratios_are_medians_of_those_of_each_round(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(repository / "benchmarks")
    end_to_end, processes = map(importlib.import_module, ("end_to_end", "processes"))

    def figures(ceiling_s: float, startup_s: float, peer: tuple[float, float, float]) -> dict[str, dict[str, float]]:
        answers = {
            "own": {"own": {"ceiling_s": ceiling_s}},
            "vidray": {"wall_s": 20.0, "startup_s": startup_s},
            "daft": dict(zip(("wall_s", "startup_s", "network_s"), peer, strict=True)),
        }
        costs = {side: processes.Cost(30.0, 40.0, 0, answer) for side, answer in answers.items()}
        return {side: end_to_end.figures(side, cost) for side, cost in costs.items()}

    # steady 10, 16 and 12 s; of the peer 20, 80 and 60, and from when its network stands 10, 48 and 60
    rounds = [figures(8.0, 10.0, (30, 10, 20)), figures(16.0, 4.0, (90, 10, 42)), figures(11.0, 8.0, (80, 20, 9))]
    found = end_to_end.summary(rounds)
    assert found["vidray"] == {"wall_s": 30.0, "steady_s": 12.0, "loaded_s": 12.0, "cpu_s": 40.0}
    assert found["daft"] == {"wall_s": 30.0, "steady_s": 60.0, "loaded_s": 48.0, "cpu_s": 40.0}
    ratios = {"daft_wall": 1.0, "daft_steady": 5.0, "daft_loaded": 3.0, "daft_cpu": 1.0}
    assert found["ratios"] == {"steady_over_own": 1.091, **ratios}


@pytest.mark.slow
def test_all_sides_of_the_comparison_do_their_work(repository: Path, corpus: Path, tmp_path: Path) -> None:
    arguments = ("--model", "mobilenet_v3_small", "--rounds", "1", "--sides", "plain,own,shared,vidray,loop,ray-data")
    answer = benchmark(repository, "end_to_end.py", corpus, *arguments)
    assert answer["videos"] == 2
    named = {"steady_over_plain", "steady_over_own", "steady_over_shared"}
    named |= {f"{side}_{what}" for side in ("loop", "ray-data") for what in ("wall", "steady", "loaded", "cpu")}
    assert set(answer["ratios"]) == named
    assert all(ratio > 0 for ratio in answer["ratios"].values())
    (tmp_path / "result.json").write_text(json.dumps(answer))
    benchmark(repository, "plot.py", tmp_path / "result.json", "-o", tmp_path / "plot.svg")
    drawn = (tmp_path / "plot.svg").read_text()
    assert drawn.startswith("<svg")
    assert all(label in drawn for label in ("plain Ray Data", "on all cores at once", "vidray, bfloat16"))


@pytest.mark.slow
def test_networks_answer_as_plain_ones_do(repository: Path) -> None:
    answer = benchmark(repository, "extract.py", "--models", "efficientnet_lite0,mobilenet_v3_large", "--rounds", "1")
    for found in answer.values():
        assert found["float32_cosine"]["worst"] > 0.99999
        assert found["bfloat16_cosine"]["worst"] > 0.999
        assert all(found[f"{side}_ms"] > 0 for side in ("plain", "float32", "bfloat16"))


@pytest.mark.slow
def test_what_bfloat16_changes_is_measured(repository: Path, tmp_path: Path) -> None:
    shutil.copy(packaged("bikes.mp4"), tmp_path)
    found = benchmark(repository, "precision.py", str(tmp_path), "--clip-length", "5")["networks"]["efficientnet_lite0"]
    assert found["clips"] == 2
    assert 0.99 < found["worst"] <= found["mean"] < 1
    assert 0 <= found["first_class_changed"] <= 1


@pytest.mark.slow
def test_the_gpu_benchmark_runs_on_cpus(repository: Path, tmp_path: Path) -> None:
    arguments = (tmp_path, "--model", "mobilenet_v3_small")
    subprocess.run(
        [sys.executable, repository / "benchmarks" / "gpu.py", *arguments, "--prepare", "--videos=2", "--longest=8"],
        check=True,
    )
    answer = benchmark(repository, "gpu.py", *arguments, "--device", "cpu", "--seconds", "0.5")
    assert answer["device"] == "cpu"
    assert answer["gpu_busy_percent"] is None
    rates = ("network_frames_per_s", "decode_frames_per_s", "end_to_end_frames_per_s", "over_ceiling")
    assert all(answer[name] > 0 for name in rates)


def test_speech_is_timed(repository: Path) -> None:
    answer = benchmark(
        repository, "speech.py", LIBRIVOX / "sense_and_sensibility_01_austen_64kb-0880.wav", "--repeat", "1"
    )
    assert answer["audio_s"] == pytest.approx(2.99, abs=0.01)
    assert answer["voice_activity_x"] > 0
    assert answer["moonshine_x"] > 0


@pytest.mark.slow
def test_a_long_recording_is_measured(repository: Path) -> None:
    recording = LIBRIVOX / "sense_and_sensibility_01_austen_64kb-0880.wav"
    answer = benchmark(repository, "recording.py", recording, "--hours", "0.01", "-x", "voice_activity")
    found = answer["0.01 h"]
    assert (found["done"], found["failed"]) == (4, 0)
    assert found["largest_mb"] >= found["driver_mb"] > 0


@pytest.mark.slow
def test_the_index_is_measured(repository: Path) -> None:
    answer = benchmark(repository, "index.py", "--clips", "4000", "--dim", "32", "--phases", "lists,codes")
    assert answer["recall"] >= 0.95
    assert answer["codes"]["recall"] >= 0.95
    assert all(kept["hits"] == min(10, kept["kept"]) for kept in answer["filters"].values())
    assert answer["appended"] == 40


def test_the_self_join_is_measured(repository: Path) -> None:
    answer = benchmark(repository, "duplicates.py", "--clips", "12000", "--phases", "join")
    assert answer["join_recall"] >= 0.9
    assert answer["join_over_exact"] > 0
    assert answer["join_truth"] > 0
