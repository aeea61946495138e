"""cluster.yaml is a cluster that Ray accepts, with the Ray of the lock and files that are there."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def cluster() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return config


def test_ray_accepts_it(cluster: dict[str, Any]) -> None:
    prepared = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    assert prepared["available_node_types"].keys() == {"head", "cpu", "gpu"}
    assert prepared["head_setup_commands"] == prepared["worker_setup_commands"] == cluster["setup_commands"]


def test_ray_sees_a_mistake(cluster: dict[str, Any]) -> None:
    cluster["available_node_types"]["cpu"]["minimum_workers"] = 1
    with pytest.raises(jsonschema.ValidationError, match="minimum_workers"):
        validate_config(prepare_config(cluster))


def test_the_cluster_grows_and_shrinks(cluster: dict[str, Any]) -> None:
    workers = [kind for name, kind in cluster["available_node_types"].items() if name != cluster["head_node_type"]]
    assert all(0 <= kind["min_workers"] < kind["max_workers"] for kind in workers)
    assert sum(kind["max_workers"] for kind in workers) == cluster["max_workers"]


def test_ray_is_the_one_of_the_lock(cluster: dict[str, Any]) -> None:
    locked = re.findall(r"^ray==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    pinned = re.findall(r"ray, version (\S+?)\"", "\n".join(cluster["setup_commands"]))
    assert pinned == locked


def test_the_environment_is_made_of_files_that_are_there(cluster: dict[str, Any]) -> None:
    mounts = {local: remote for remote, local in cluster["file_mounts"].items() if local.startswith("./")}
    assert {local[2:] for local in mounts} == {
        ".ci/env",
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "requirements.lock",
        "vidray",
    }
    assert [local for local in mounts if not (ROOT / local).exists()] == []
    assert all(remote == f"/home/ubuntu/vidray/{local[2:]}" for local, remote in mounts.items())


def test_nobody_without_the_token_reaches_the_cluster(cluster: dict[str, Any]) -> None:
    assert cluster["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"
    for commands in (cluster["head_start_ray_commands"], cluster["worker_start_ray_commands"]):
        starts = [command for command in commands if "ray start" in command]
        assert len(starts) == 1
        assert "RAY_AUTH_MODE=token" in starts[0]


def test_every_node_is_reached_and_may_read_the_storage(cluster: dict[str, Any]) -> None:
    for kind in cluster["available_node_types"].values():
        assert kind["node_config"].keys() >= {"InstanceType", "ImageId", "IamInstanceProfile"}
