"""The fixtures keep their own promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import fsspec
from conftest import LONGEST, S3Server


def test_a_bucket_is_empty_and_keeps_what_is_written(s3_bucket: str) -> None:
    fs, path = fsspec.core.url_to_fs(s3_bucket, use_listings_cache=False)
    assert fs.find(path) == []
    fs.pipe_file(f"{path}/a/b.bin", b"0123456789")
    assert fs.find(path) == [f"{path}/a/b.bin"]
    assert fs.cat_file(f"{path}/a/b.bin", start=2, end=5) == b"234"


def test_buckets_are_apart(s3_bucket: str, s3: S3Server) -> None:
    assert fsspec.core.url_to_fs(s3_bucket)[0].find(s3_bucket) == []
    assert s3.endpoint_url.startswith("http://127.0.0.1:")


def test_another_process_needs_the_environment_alone(s3_bucket: str, s3: S3Server) -> None:
    write = f"import fsspec; fsspec.open({s3_bucket + '/x'!r}, 'wb').open().close()"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    subprocess.run([sys.executable, "-c", write], env=environ | s3.env, check=True)
    fs, path = fsspec.core.url_to_fs(s3_bucket, use_listings_cache=False)
    assert fs.find(path) == [f"{path}/x"]


def test_what_takes_longest_is_there(repository: Path) -> None:
    assert {f"test_{name}.py" for name in LONGEST} <= {path.name for path in (repository / "tests").iterdir()}
