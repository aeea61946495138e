"""Networks that compute less and say the same: layers taken together with the one before them.

Pairs are found in a trace of the network by torch.fx. A network that cannot be traced is left as it is.
"""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Model = TypeVar("Model", bound=nn.Module)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
SUMS = (operator.add, operator.iadd, torch.add)

ACTIVATIONS: dict[Any, tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    F.relu: ("relu", []),
    torch.relu: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
    nn.Hardswish: ("hardswish", []),
    nn.Hardsigmoid: ("hardsigmoid", []),
    nn.SiLU: ("swish", []),
    nn.Sigmoid: ("sigmoid", []),
    nn.GELU: ("gelu", []),
    F.gelu: ("gelu", []),
}
"""What oneDNN calls an activation, and its bounds."""


class FusedConv2d(nn.Module):
    """A convolution with the sum and the activation that follow it, as one call of oneDNN, on a CPU.

    oneDNN applies both to values at hand, where layers of their own would read and write all of them again:
    https://uxlfoundation.github.io/oneDNN/dev_guide_attributes_post_ops.html. Weights are put into the order in which
    its kernels read them when the first frames come, since that depends on their height and width.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.geometry = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        self.activation, self.bounds = "none", list[float]()

    def forward(self, x: Tensor, summand: Tensor | None = None) -> Tensor:
        """(N, C, H, W) -> (N, D, h, w); the answer takes the place of a summand, which has its shape."""
        onednn = torch.ops.mkldnn
        weight: Tensor = self.weight
        if not weight.is_mkldnn:
            weight = onednn._reorder_convolution_weight(weight, *self.geometry, list(x.shape))
            self.weight = nn.Parameter(weight, requires_grad=False)
        if summand is None:
            return onednn._convolution_pointwise(  # type: ignore[no-any-return]
                x, weight, self.bias, *self.geometry, self.activation, self.bounds, "none"
            )
        activation = None if self.activation == "none" else self.activation
        return onednn._convolution_pointwise_.binary(  # type: ignore[no-any-return]
            summand, x, weight, self.bias, *self.geometry, "add", 1.0, activation, [], None
        )


class FusedLinear(nn.Module):
    """A linear layer with the activation that follows it, as one call of oneDNN, on a CPU.

    Its weights are in the order that oneDNN's kernels read, for any number of rows.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(linear.weight)
        self.weight, self.bias = nn.Parameter(weight, requires_grad=False), linear.bias
        self.activation, self.bounds = "none", list[float]()

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., E)."""
        return torch.ops.mkldnn._linear_pointwise(  # type: ignore[no-any-return]
            x, self.weight, self.bias, self.activation, self.bounds, "none"
        )


def can_fuse(dtype: torch.dtype) -> bool:
    """Whether oneDNN computes layers of a type with what follows them on this CPU. On ARM it does not."""
    onednn = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or onednn._is_mkldnn_acl_supported():  # type: ignore[no-untyped-call]
        return False
    return dtype == torch.float32 or bool(onednn._is_mkldnn_bf16_supported())


def fuse_layers(model: nn.Module) -> nn.Module:
    """Have 2D convolutions and linear layers compute what follows them, for a network in eval mode on a CPU.

    These are activations, and the sums after convolutions. The network's own layers are changed; the answer runs them
    as they were traced. What is added to a convolution's answer has its shape.
    """
    graph = _trace(model)
    # what is traced refers to this function's variables, and would keep the plain layers among them
    return model if graph is None else _fuse(model, graph)


def _fuse(model: nn.Module, graph: fx.Graph) -> nn.Module:
    layers = {node: model.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"}
    calls = Counter(node.target for node in layers)
    for node, plain in layers.items():
        if isinstance(plain, nn.Identity | nn.Dropout):
            _replace(node, node.all_input_nodes[0])
    read = {str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr"}
    fused: dict[fx.Node, FusedConv2d | FusedLinear] = {}
    for node, plain in layers.items():
        if calls[node.target] > 1 or node.kwargs or node.target in read or (layer := _fused_layer(plain)) is None:
            continue
        model.set_submodule(str(node.target), layer)
        following = _only_user(node)
        if (
            following is not None
            and isinstance(layer, FusedConv2d)
            and (summand := _summand(following, node, fused)) is not None
        ):
            node.args = (*node.args, summand)
            _replace(following, node)
            following = _only_user(node)
        if (
            following is not None
            and (activation := _activation(following, layers)) is not None
            and (len(node.args) == 1 or activation[0] == "relu")  # torch's sum takes no other along
        ):
            layer.activation, layer.bounds = activation
            _replace(following, node)
        fused[node] = layer
    return fx.GraphModule(model, graph) if fused else model


def fold_batch_norms(model: Model) -> Model:
    """Fold each batch norm into the convolution that alone feeds it; in place, in float64, for a network in eval mode.

    Only the pairs are taken from the trace: the network goes on running its own code. Convolutions of a class of their
    own may pad as they like, but must compute with their weights as they are.
    """
    graph = _trace(model)
    if graph is None:
        return model
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    names = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    for node in list(graph.nodes):
        # those of a class of their own may do more, such as an activation
        if node.op != "call_module" or type(norm := model.get_submodule(node.target)) not in BATCH_NORMS:
            continue
        source = node.args[0]
        if not isinstance(source, fx.Node) or source.op != "call_module" or len(source.users) != 1:
            continue
        conv = model.get_submodule(str(source.target))
        used_once = all(calls[n.target] == 1 for n in (node, source)) and names[id(conv)] == names[id(norm)] == 1
        if isinstance(conv, CONVOLUTIONS) and used_once and norm.running_mean is not None:
            model.set_submodule(str(source.target), _folded(conv, norm))
            model.set_submodule(node.target, nn.Identity())
    return model


class _Tracer(fx.Tracer):
    """Subclasses of convolutions, which pad by themselves or take other sizes, are layers too."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (*CONVOLUTIONS, *BATCH_NORMS)) or super().is_leaf_module(m, module_qualified_name)


def _trace(model: nn.Module) -> fx.Graph | None:
    try:
        return _Tracer().trace(model)
    except Exception:
        # tracing runs the network's code on proxies, which may raise anything
        return None


def _folded(conv: Any, norm: Any) -> nn.Module:
    fused: nn.Module = fuse_conv_bn_eval(copy.deepcopy(conv).double(), copy.deepcopy(norm).double())
    return fused.to(next(conv.parameters()).dtype)


def _fused_layer(layer: nn.Module) -> FusedConv2d | FusedLinear | None:
    if type(layer) is nn.Linear:
        return FusedLinear(layer)
    if type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str):
        return FusedConv2d(layer)
    return None


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _replace(node: fx.Node, by: Any) -> None:
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def _activation(node: fx.Node, layers: dict[fx.Node, nn.Module]) -> tuple[str, list[float]] | None:
    layer = layers.get(node)
    if node.kwargs.get("approximate", getattr(layer, "approximate", "none")) != "none":
        return None
    return ACTIVATIONS.get(node.target if layer is None else type(layer))


def _summand(node: fx.Node, conv: fx.Node, fused: Mapping[fx.Node, nn.Module]) -> fx.Node | None:
    """What a sum adds to a convolution, where nothing else needs it from then on: the sum is written over it.

    All in `fused` have run before this convolution.
    """
    if node.op != "call_function" or node.target not in SUMS or len(node.args) != 2 or node.kwargs:
        return None
    other = node.args[0] if node.args[1] is conv else node.args[1]
    if not isinstance(other, fx.Node) or not isinstance(fused.get(other), FusedConv2d):
        return None
    return other if all(user is node or user in fused for user in other.users) else None
