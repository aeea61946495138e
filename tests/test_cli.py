"""The command line's contract: exit statuses, one line for an error, JSON as the last line of standard output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from corpora import BROKEN, MIXED, write_mixed_corpus

from vidray.cli import main
from vidray.store import Store


def vidray(*arguments: object, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own, as a user would."""
    command = [sys.executable, "-m", "vidray.cli", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env={**os.environ, **(env or {})})


def last_json(result: subprocess.CompletedProcess[str]) -> dict:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "corpus"
    write_mixed_corpus(folder)
    return folder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "nowhere", "store", "-x", "efficientnet_lite0"], "nowhere: no such file or folder"),
        (["extract", ".", "store", "-x", "efficientnet_lite9"], "efficientnet_lite0"),
        (["extract", ".", "store", "-x", "torchvision/resnet5"], "torchvision/resnet50"),
        (["extract", ".", "store", "-x", "nosuchmodule:Thing"], "nosuchmodule"),
        (["extract", ".", "store", "-x", "yamnet", "-x", "efficientnet_lite0", "--as", "one"], "--as names one table"),
        (
            ["extract", ".", "store", "-x", "yamnet", "--clip-length", "0"],
            "clip length must be at least 0.1 s, got 0.0",
        ),
        (["extract", ".", "store", "-x", "yamnet", "--shots", "--stride", "2"], "--shots cuts where the video does"),
        (["extract", ".", "store", "-x", "faces", "--min-score", "1"], "min_score must be in [0, 1), got 1.0"),
        (["extract", ".", "store", "-x", "yamnet"], "no video or audio files"),
        (["plan", "x.mp4", "nosuch://store"], "no storage 'nosuch://'"),
        (["verify", "nowhere"], "no vidray store there"),
        (["index", "nowhere", "-x", "yamnet"], "nowhere"),
        (["search", "nowhere", "--clip", "abc"], "nowhere"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("not a video")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.startswith("vidray: ")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_weights_that_cannot_be_had_are_told_before_anything_is_written_or_started(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setattr("vidray.pipeline.cluster.Cluster.connect", lambda self: pytest.fail("Ray was started"))
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.mp4").write_bytes(b"not probed")
    run = ["extract", str(tmp_path / "corpus"), str(tmp_path / "store"), "-x", "yamnet", "-x", "torchvision/resnet18"]
    assert main(run) == 2
    err = capsys.readouterr().err
    assert "the weights of torchvision/resnet18 cannot be downloaded from https://" in err
    assert "give a file: torchvision/resnet18@FILE" in err
    assert not (tmp_path / "store").exists()


def unreachable(*arguments, **options):
    raise OSError("no route to host")


@pytest.mark.parametrize(
    "arguments",
    [[], ["nosuch"], ["extract", "a", "b"], ["extract", "a", "b", "-x", "yamnet", "--fps", "0"], ["search", "s"],
     ["search", "s", "--clip", "a", "--video", "b"], ["search", "s", "--video", "b", "--at", "5"],
     ["extract", "a", "b", "-x", "yamnet", "--wrong-flag"]],
)  # fmt: skip
def test_wrong_arguments_are_status_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_debug_shows_where_an_error_comes_from():
    from vidray.errors import UsageError

    with pytest.raises(UsageError):
        main(["verify", "nowhere", "--debug"])


def test_python_runs_it_as_a_module():
    done = subprocess.run([sys.executable, "-m", "vidray", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("vidray ")


def test_models_lists_every_family(capsys):
    assert main(["models", "--json"]) == 0
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    assert models["efficientnet_lite0"]["dim"] == 1280
    assert models["yamnet"]["dim"] == 1024
    assert models["torchvision/resnet50"]["kind"] == "frame"
    assert models["torchvision/r2plus1d_18"]["kind"] == "video"
    assert models["torchaudio/WAV2VEC2_BASE"]["kind"] == "audio"
    assert all(set(m) >= {"name", "kind", "dim", "inputs", "weights", "licence", "available"} for m in models.values())


@pytest.mark.parametrize(("outcome", "status"), [("return 3", 3), ("sys.exit(2)", 2), ("raise ValueError", 1)])
def test_what_aborts_while_python_ends_does_not_change_the_exit_status(outcome, status):
    code = f"""
import atexit, os, sys
from vidray import cli

class Native:
    def __del__(self):
        os.abort()

native = Native()

def main(**how):
    atexit.register(print, "all exit functions are done")
    {outcome}

cli.main = main
cli.run()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, "all exit functions are done\n")
    assert ("ValueError" in done.stderr) == (status == 1)


@pytest.mark.slow
def test_extract_a_mixed_folder_with_real_networks_and_label_it_without(mixed, tmp_path):
    corpus = shutil.copytree(mixed, tmp_path / "corpus")
    run = ["extract", corpus, "store", "-x", "efficientnet_lite0", "-x", "yamnet", "--clip-length", "2", "--json"]
    first = last_json(vidray(*run, cwd=tmp_path))
    clips = 2 * len(MIXED)
    assert (first["videos"], first["videos_failed"]) == (len(MIXED) + len(BROKEN), len(BROKEN))
    assert (first["clips"], first["planned"], first["done"], first["failed"]) == (clips, 2 * clips, 2 * clips, 0)
    assert first["startup_s"] > 0
    verified = last_json(vidray("verify", "store", "--json", cwd=tmp_path))
    assert verified == {
        "planned": 2 * clips, "done": 2 * clips, "failed": 0, "missing": 0, "duplicated": 0, "orphaned": 0,
        "damaged": 0, "stale": 0, "unsealed": 0,
    }  # fmt: skip
    again = vidray(*run, cwd=tmp_path)
    assert last_json(again)["skipped"] == 2 * clips
    refused = vidray(*run[:-3], "--clip-length", "3", cwd=tmp_path)
    assert refused.returncode == 2
    assert "use the same, or another store" in refused.stderr
    other = vidray(*run, "--fps", "1", cwd=tmp_path)
    assert other.returncode == 2
    assert "--as NAME" in other.stderr
    shutil.rmtree(corpus)
    labeled = last_json(vidray("label", "store", "classes", "-x", "efficientnet_lite0", "--json", cwd=tmp_path))
    assert (labeled["clips"], labeled["labeled"]) == (clips, clips)


@pytest.mark.slow
def test_an_extractor_from_a_file_next_to_the_job(mixed, tmp_path):
    source = (Path(__file__).parent / "extractors_for_tests.py").read_text()
    (tmp_path / "my_extractors.py").write_text(source)
    summary = last_json(
        vidray("extract", mixed, "store", "-x", "my_extractors:MeanColour", "--as", "mine", "--json", cwd=tmp_path)
    )
    assert summary["done"] == summary["planned"] == len(MIXED)
    assert Store(str(tmp_path / "store")).tables("features") == ["mine"]


@pytest.mark.slow
def test_dry_run_writes_nothing_and_names_what_cannot_be_read(mixed, tmp_path):
    result = vidray("plan", mixed, "store", "--dry-run", cwd=tmp_path)
    assert result.returncode == 0
    told = dict(line.split(maxsplit=1) for line in result.stdout.splitlines() if not line.startswith(" "))
    assert told["videos"] == str(len(MIXED) + len(BROKEN))
    assert told["clips"] == str(len(MIXED))
    assert told["unreadable"] == str(len(BROKEN))
    assert all(name in result.stdout for name in BROKEN)
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_corpus_and_store_on_s3(mixed, tmp_path, s3_bucket):
    from s3fs import S3FileSystem

    S3FileSystem().put(f"{mixed}/", f"{s3_bucket}/corpus/", recursive=True)
    corpus, store = f"{s3_bucket}/corpus", f"{s3_bucket}/store"
    source = (Path(__file__).parent / "extractors_for_tests.py").read_text()
    (tmp_path / "my_extractors.py").write_text(source)
    names = ["-x", "my_extractors:MeanColour", "-x", "my_extractors:Loudness"]
    remote = last_json(vidray("extract", corpus, store, *names, "--json", cwd=tmp_path))
    local = last_json(vidray("extract", mixed, "local", *names, "--json", cwd=tmp_path))
    assert (remote["done"], remote["failed"]) == (local["done"], local["failed"]) == (2 * len(MIXED), 0)
    assert last_json(vidray("verify", store, "--json", cwd=tmp_path))["missing"] == 0
    for table in ("mean_colour", "loudness"):
        far, near = (Store(url).read(f"features/{table}", 0) for url in (store, str(tmp_path / "local")))
        assert far["embedding"].to_pylist() == near["embedding"].to_pylist()
    assert last_json(vidray("extract", corpus, store, *names, "--json", cwd=tmp_path))["skipped"] == 2 * len(MIXED)
