"""A short form of the campaign of corruptions; `test_verification` has more of them, on a made-up store."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.campaigns.damage import corruptions


def test_there_are_corruptions_of_each_kind():
    assert len(corruptions()) >= 100
    assert {corruption.says.partition("/")[0] for corruption in corruptions()} >= {
        "videos", "clips", "errors", "features", "labels", "index", "vidray.json", "runs", "_intent.json",
    }  # fmt: skip


@pytest.mark.slow
def test_corruptions_are_found_named_and_mended_by_what_is_said(repository):
    command = [sys.executable, "-m", "tests.campaigns.corruptions", "--every", "25"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["corruptions"] == found["found"] == found["repaired"] >= 4
