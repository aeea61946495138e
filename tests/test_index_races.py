"""The short form of the campaign of builders of one index at once."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_of_two_builders_one_builds_and_searches_go_on(repository):
    command = [sys.executable, "-m", "tests.campaigns.index_races", "--rounds", "2", "--only", "local"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["broken"] == []
    assert sum(found["local"][name] for name in found["local"] if name != "searches") == 4
    assert found["local"]["searches"] > 0
