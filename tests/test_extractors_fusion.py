"""Layers taken together: the same answers, and nothing overwritten that is still needed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torchvision import models

from vidray.models import fusion
from vidray.models.fusion import FusedConv2d, can_fuse, fold_batch_norms, fuse_layers

DTYPES = [torch.float32, *([torch.bfloat16] if can_fuse(torch.bfloat16) else [])]
"""What vidray fuses on this CPU: bfloat16 needs AVX-512."""


class Network(nn.Module):
    """Three convolutions of 8 channels, a linear layer and an activation, put together by a function."""

    def __init__(self, together: Callable[[Any, Tensor], Any], activation: Any = nn.ReLU) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.third = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        self.linear = nn.Linear(12, 12)
        self.activation = activation() if isinstance(activation, type) else activation
        self.together = together

    def forward(self, x: Tensor) -> Any:
        return self.together(self, x)


@pytest.fixture(autouse=True)
def inference() -> Iterator[None]:
    """As workers compute: on one thread."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


def frames(count: int = 2, side: int = 12) -> Tensor:
    return torch.randn(count, 8, side, side).to(memory_format=torch.channels_last)


def fused(model: nn.Module) -> fx.GraphModule:
    """The same network, fused; the model stays as it is."""
    changed = fuse_layers(copy.deepcopy(model).eval())
    assert isinstance(changed, fx.GraphModule)
    return changed


def sums(network: fx.GraphModule) -> int:
    """How many sums its convolutions compute."""
    calls = [node for node in network.graph.nodes if node.op == "call_module"]
    return sum(isinstance(network.get_submodule(str(n.target)), FusedConv2d) and len(n.args) == 2 for n in calls)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", fusion.ACTIVATIONS)
@pytest.mark.parametrize("name", ["second", "linear"])
def test_an_activation_is_computed_by_the_layer_before_it(name: str, activation: Any, dtype: torch.dtype) -> None:
    plain = Network(lambda self, x: self.activation(getattr(self, name)(x)), activation).to(dtype)
    plain.get_submodule(name).weight *= 30
    network = fused(plain)
    assert [node.op for node in network.graph.nodes] == ["placeholder", "call_module", "output"]
    x = frames().to(dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(network(x), plain(x), rtol=tolerance, atol=tolerance)


def residual(self: Any, x: Tensor) -> Tensor:
    shortcut = self.first(x)
    return self.activation(self.third(self.activation(self.second(shortcut))) + shortcut)  # type: ignore[no-any-return]


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_and_the_relu_after_it_are_computed_by_the_convolution(dtype: torch.dtype) -> None:
    plain = Network(residual).to(dtype)
    network = fused(plain)
    assert sums(network) == 1
    assert [n.op for n in network.graph.nodes] == ["placeholder", *["call_module"] * 3, "output"]
    x = frames().to(dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(network(x), plain(x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("gelu", [nn.GELU(approximate="tanh"), lambda x: F.gelu(x, approximate="tanh")])
def test_another_gelu_than_the_exact_one_stays_a_layer(gelu: Any) -> None:
    plain = Network(lambda self, x: self.activation(self.linear(x)), gelu)
    network = fused(plain)
    assert len(network.graph.nodes) == 4
    x = frames()
    torch.testing.assert_close(network(x), plain(x))


def test_a_layer_whose_weights_are_read_elsewhere_stays_as_it_is() -> None:
    plain = Network(lambda self, x: self.activation(self.linear(self.first(x))) @ self.linear.weight)
    x = frames()
    torch.testing.assert_close(fused(plain)(x), plain(x))


def test_after_a_sum_other_activations_stay_layers_of_their_own() -> None:
    plain = Network(residual, nn.Hardswish)
    network = fused(plain)
    assert sums(network) == 1
    x = frames()
    torch.testing.assert_close(network(x), plain(x))


def sum_with_its_own_input(self: Any, x: Tensor) -> Tensor:
    shortcut = self.first(x)
    return self.third(shortcut) + shortcut  # type: ignore[no-any-return]


def summand_needed_afterwards(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    shortcut = self.first(x)
    return self.third(self.second(shortcut)) + shortcut, shortcut.mean(1)


def summand_seen_through_a_view(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    shortcut = self.first(x)
    half, _ = shortcut.chunk(2, dim=1)
    return self.third(self.second(shortcut)) + shortcut, half


def sum_with_the_networks_input(self: Any, x: Tensor) -> Tensor:
    return self.third(x) + x  # type: ignore[no-any-return]


def sum_with_a_linear_layers_answer(self: Any, x: Tensor) -> Tensor:
    shortcut = self.linear(x.contiguous())
    return self.third(self.second(shortcut)) + shortcut  # type: ignore[no-any-return]


def sum_of_a_convolution_with_itself(self: Any, x: Tensor) -> Tensor:
    y = self.third(x)
    return y + y  # type: ignore[no-any-return]


def convolution_used_twice(self: Any, x: Tensor) -> Tensor:
    return self.activation(self.third(self.third(x)))  # type: ignore[no-any-return]


def sum_with_a_factor(self: Any, x: Tensor) -> Tensor:
    return torch.add(self.third(self.second(x)), self.first(x), alpha=2)


def summand_of_two_sums(self: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    shortcut = self.first(x)
    return self.second(x) + shortcut, self.third(x) + shortcut


def summand_changed_in_place(self: Any, x: Tensor) -> Tensor:
    shortcut = self.first(x)
    y = F.relu(shortcut, inplace=True)
    return self.third(self.second(y)) + shortcut  # type: ignore[no-any-return]


def sum_in_another_type(self: Any, x: Tensor) -> Tensor:
    shortcut = self.first(x)
    summed: Tensor = self.third(self.second(shortcut)).double() + shortcut
    return summed.float()


def convolution_of_two_names(self: Any, x: Tensor) -> Tensor:
    self.alias = self.third
    return self.activation(self.third(self.second(x)) + self.alias(x))  # type: ignore[no-any-return]


def convolution_called_by_name(self: Any, x: Tensor) -> Tensor:
    return self.activation(self.third(input=x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "together",
    [
        sum_with_its_own_input,
        summand_needed_afterwards,
        summand_seen_through_a_view,
        sum_with_the_networks_input,
        sum_with_a_linear_layers_answer,
        sum_of_a_convolution_with_itself,
        convolution_used_twice,
        sum_with_a_factor,
        summand_of_two_sums,
        summand_changed_in_place,
        sum_in_another_type,
        convolution_of_two_names,
        convolution_called_by_name,
    ],
)
def test_nothing_is_overwritten_that_is_still_needed(together: Callable[[Any, Tensor], Any]) -> None:
    plain = Network(together)
    network = fuse_layers(copy.deepcopy(plain).eval())
    x = frames()
    given = x.clone()
    torch.testing.assert_close(network(x), plain(given))
    assert torch.equal(x, given)
    assert not isinstance(network, fx.GraphModule) or sums(network) == 0


def test_the_order_of_a_sum_does_not_matter() -> None:
    def late_shortcut(self: Any, x: Tensor) -> Tensor:
        y = self.third(x)
        return F.relu(y + self.first(x))

    plain = Network(late_shortcut)
    network = fused(plain)
    assert sums(network) == 1
    x = frames()
    torch.testing.assert_close(network(x), plain(x))


@pytest.mark.parametrize("name", ["resnet50", "mobilenet_v2"])
def test_a_residual_network_is_left_with_no_sum_of_its_own(name: str) -> None:
    plain = fold_batch_norms(models.get_model(name, weights=None).eval())
    network = fused(plain)
    targets = {node.target for node in network.graph.nodes if node.op == "call_function"}
    assert not targets & set(fusion.SUMS)
    assert sums(network) == {"resnet50": 16, "mobilenet_v2": 10}[name]
    x = torch.randn(2, 3, 64, 64)
    expected = plain(x)
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "resnet50"])
def test_the_first_frames_decide_nothing_of_later_answers(name: str) -> None:
    plain = fold_batch_norms(models.get_model(name, weights=None).eval())
    early, late = fused(plain), fused(plain)
    x = torch.randn(16, 3, 96, 96).to(memory_format=torch.channels_last)
    early(x[:1])
    assert torch.equal(early(x), late(x))


def test_frames_of_other_numbers_and_sizes_than_the_first() -> None:
    plain = Network(lambda self, x: residual(self, self.linear(x.unfold(3, 12, 4)).mean(-1)))
    network = fused(plain)
    for x in (frames(2), frames(5), frames(1, side=20), frames(2)):
        torch.testing.assert_close(network(x), plain(x))


def test_threads_share_a_network_from_its_first_frames_on() -> None:
    plain = Network(residual)
    network = fused(plain)
    x = frames(8, side=32)
    expected = plain(x)

    def run(_: int) -> Tensor:
        with torch.inference_mode():
            return network(x)  # type: ignore[no-any-return]

    with ThreadPoolExecutor(4) as threads:
        for answer in threads.map(run, range(12)):
            torch.testing.assert_close(answer, expected)


def test_convolutions_that_do_more_than_torchs_are_left_alone() -> None:
    class Doubling(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    model = nn.Sequential(Doubling(8, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"))
    assert fuse_layers(model.eval()) is model


def test_without_onednn_nothing_is_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_fuse(torch.float32)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not can_fuse(torch.float32)


def test_convolutions_of_a_class_of_their_own_are_folded() -> None:
    model = models.video.r3d_18(weights=None).eval()
    assert not any(isinstance(layer, nn.BatchNorm3d) for layer in fold_batch_norms(model).modules())


def test_a_batch_norm_that_does_more_is_not_folded() -> None:
    class Activated(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.gelu(super().forward(x))

    model = nn.Sequential(nn.Conv2d(8, 8, 1), Activated(8)).eval()
    model[1].running_mean = torch.full((8,), 2.0)
    x = frames()
    torch.testing.assert_close(fold_batch_norms(copy.deepcopy(model))(x), model(x))


def test_a_shared_convolution_is_not_folded() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.first, self.second = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.conv(self.first(self.conv(x))))  # type: ignore[no-any-return]

    model = Shared().eval()
    model.first.running_mean, model.second.running_var = torch.full((3,), 2.0), torch.full((3,), 5.0)
    inputs = torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(fold_batch_norms(copy.deepcopy(model))(inputs), model(inputs))
    assert isinstance(fold_batch_norms(model).first, nn.BatchNorm2d)


def test_a_network_that_cannot_be_traced_is_left_alone() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x)) if x.sum() > 0 else x  # type: ignore[no-any-return]

    model = Branching().eval()
    assert isinstance(fold_batch_norms(model).norm, nn.BatchNorm2d)
    assert fuse_layers(model) is model
