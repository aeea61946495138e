"""Weights files are read from any storage, and never run."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from safetensors.torch import save_file

from vidray.errors import WeightsError
from vidray.models.weights import load_state_dict, sha256_of, shapes


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("scheme", ["", "file://", "memory://"])
def test_weights_are_read_from_any_storage(scheme: str, suffix: str, tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float16)}
    local = tmp_path / f"w{suffix}"
    save_file(tensors, local) if suffix == ".safetensors" else torch.save(tensors, local)
    url = scheme + str(local)
    if scheme == "memory://":
        fsspec.filesystem("memory").pipe_file(str(local), local.read_bytes())
    loaded = load_state_dict(url)
    assert loaded.keys() == tensors.keys()
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)
    assert shapes(url) == {"a": (2, 3), "b": (2,)}
    assert sha256_of(url) == hashlib.sha256(local.read_bytes()).hexdigest()


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_wrappers_of_training_scripts_are_taken_off(key: str, tmp_path: Path) -> None:
    torch.save({key: {"module.a": torch.ones(2)}, "epoch": 3}, tmp_path / "checkpoint.pt")
    assert list(load_state_dict(str(tmp_path / "checkpoint.pt"))) == ["a"]


class Exploit:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path.touch, (self.path,))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    torch.save({"a": torch.ones(1), "b": Exploit(proof)}, tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Exploit(proof)))
    for name in ("evil.pth", "evil.pkl"):
        for read in (load_state_dict, shapes):
            with pytest.raises(WeightsError, match="not a plain state dict") as raised:
                read(str(tmp_path / name))
            assert "\n" not in str(raised.value)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"", "w.pth"), (b"not weights", "w.pth"), (b"PK\x03\x04broken", "w.pth"), (b"x", "w.safetensors"),
     (b"\xff" * 64, "w.safetensors"), (b"\x04\0\0\0\0\0\0\0null", "w.safetensors")],
)  # fmt: skip
def test_what_is_no_weights_file_is_refused_in_one_line(content: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    for read in (load_state_dict, shapes):
        with pytest.raises(WeightsError, match="w\\.") as raised:
            read(str(tmp_path / name))
        assert "\n" not in str(raised.value)


def test_of_a_text_in_the_place_of_weights_no_byte_is_the_reason(tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_text("hello, no weights")
    with pytest.raises(WeightsError, match=r"w\.txt is not a weights file \(.*\): it is of another kind$"):
        load_state_dict(str(tmp_path / "w.txt"))


def test_a_state_dict_holds_tensors_only(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(1), "epoch": 3}, tmp_path / "mixed.pth")
    with pytest.raises(WeightsError, match="'epoch' is a int"):
        load_state_dict(str(tmp_path / "mixed.pth"))
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match="holds a list"):
        load_state_dict(str(tmp_path / "list.pth"))
