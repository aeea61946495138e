"""A network that a processor computes wrongly in bfloat16 runs in float32, with a word."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vidray.models.precision import LEAST_COSINE, cosine, in_precision, noise

SAMPLE = noise(1, 3, 16, 16).float()


class WrongInBfloat16(nn.Module):
    """Computes something else in bfloat16, as oneDNN does with some convolutions on some processors."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layer(x)
        return found if found.dtype == torch.float32 else found.flip(1) - found


def build_of(model: type[nn.Module]):
    return lambda precision: model().to(torch.bfloat16 if precision == "bfloat16" else torch.float32)


def answer(network: nn.Module) -> Tensor:
    return network(SAMPLE.to(next(network.parameters()).dtype)).float()


def test_a_wrong_network_runs_in_float32_and_says_so(capfd: pytest.CaptureFixture[str]):
    options = {"precision": "bfloat16", "device": "cpu", "what": "mine"}
    chosen = in_precision(build_of(WrongInBfloat16), answer, **options)
    assert next(chosen.parameters()).dtype == torch.float32
    assert "this processor computes mine wrongly in bfloat16 (cosine" in capfd.readouterr().err


def test_a_right_one_stays_as_it_was_asked_for(capfd: pytest.CaptureFixture[str]):
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 8, 3)
    kinds = {"bfloat16": torch.bfloat16, "float32": torch.float32}

    def build(precision: str) -> nn.Module:
        copy = nn.Conv2d(3, 8, 3)
        copy.load_state_dict(layer.state_dict())
        return copy.to(kinds[precision])

    for precision, kind in kinds.items():
        chosen = in_precision(build, answer, precision=precision, device="cpu", what="mine")
        assert next(chosen.parameters()).dtype == kind
    assert capfd.readouterr().err == ""


def test_what_is_no_number_is_wrong():
    assert cosine(torch.tensor([1.0, float("nan")]), torch.ones(2)) == 0.0 < LEAST_COSINE
    assert cosine(torch.zeros(2), torch.zeros(2)) == 1.0
    assert cosine(torch.ones(3), torch.ones(3)) == pytest.approx(1.0)
