"""Networks that compute less and say the same: layers taken together with the convolution before them.

Pairs are found in a trace of the network by torch.fx. A network that cannot be traced is left as it is.
"""

from __future__ import annotations

import copy
import operator
from collections import Counter
from typing import Any, TypeGuard, TypeVar

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
}
"""What oneDNN calls an activation, and its bounds."""


class FusedConv2d(nn.Module):
    """A convolution with the sum and the activation that follow it, as one call of oneDNN, on a CPU.

    oneDNN applies both to values at hand, where layers of their own would read and write all of them again:
    https://uxlfoundation.github.io/oneDNN/dev_guide_attributes_post_ops.html. Weights are put into the order in which
    its kernels read them when the first pictures come, since that depends on their height and width.
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
                x, weight, self.bias, *self.geometry, self.activation, self.bounds, ""
            )
        activation = None if self.activation == "none" else self.activation
        return onednn._convolution_pointwise_.binary(  # type: ignore[no-any-return]
            summand, x, weight, self.bias, *self.geometry, "add", 1.0, activation, [], None
        )


def can_fuse(dtype: torch.dtype) -> bool:
    """Whether oneDNN computes convolutions of a type with sums and activations on this CPU. On ARM it does not."""
    onednn = torch.ops.mkldnn
    if not torch.backends.mkldnn.is_available() or onednn._is_mkldnn_acl_supported():  # type: ignore[no-untyped-call]
        return False
    return dtype == torch.float32 or bool(onednn._is_mkldnn_bf16_supported())


def fuse_convolutions(model: nn.Module) -> nn.Module:
    """Have 2D convolutions compute the sums and activations that follow them, for a network in eval mode on a CPU.

    The network's own layers are changed; the answer runs them as they were traced. What is added to a convolution's
    answer has its shape.
    """
    graph = _trace(model)
    if graph is None:
        return model
    layers = {node: model.get_submodule(str(node.target)) for node in graph.nodes if node.op == "call_module"}
    calls = Counter(node.target for node in layers)
    for node, layer in layers.items():
        if isinstance(layer, nn.Identity | nn.Dropout):
            _replace(node, node.all_input_nodes[0])
    fused: set[fx.Node] = set()
    for node, layer in layers.items():
        if not _is_plain_convolution(layer) or calls[node.target] > 1 or node.kwargs:
            continue
        conv = FusedConv2d(layer)
        model.set_submodule(str(node.target), conv)
        following = _only_user(node)
        if following is not None and (summand := _summand(following, node, fused)) is not None:
            node.args = (*node.args, summand)
            _replace(following, node)
            following = _only_user(node)
        if (
            following is not None
            and (activation := _activation(following, layers)) is not None
            and (len(node.args) == 1 or activation[0] == "relu")  # torch's sum takes no other along
        ):
            conv.activation, conv.bounds = activation
            _replace(following, node)
        fused.add(node)
    return fx.GraphModule(model, graph) if fused else model


def fold_batch_norms(model: Model) -> Model:
    """Fold each batch norm into the convolution that alone feeds it; in place, in float64, for a network in eval mode.

    Only the pairs are taken from the trace: the network goes on running its own code.
    """
    graph = _trace(model)
    if graph is None:
        return model
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    names = Counter(id(module) for _, module in model.named_modules(remove_duplicate=False))
    for node in list(graph.nodes):
        if node.op != "call_module" or not isinstance(norm := model.get_submodule(node.target), BATCH_NORMS):
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


def _is_plain_convolution(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    return type(layer) is nn.Conv2d and layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _replace(node: fx.Node, by: Any) -> None:
    node.replace_all_uses_with(by)
    node.graph.erase_node(node)


def _activation(node: fx.Node, layers: dict[fx.Node, nn.Module]) -> tuple[str, list[float]] | None:
    return ACTIVATIONS.get(type(layers[node]) if node in layers else node.target)


def _summand(node: fx.Node, conv: fx.Node, fused: set[fx.Node]) -> fx.Node | None:
    """What a sum adds to a convolution, where nothing else needs it from then on: the sum is written over it.

    All in `fused` have run before this convolution.
    """
    if node.op != "call_function" or node.target not in SUMS or len(node.args) != 2 or node.kwargs:
        return None
    other = node.args[0] if node.args[1] is conv else node.args[1]
    if not isinstance(other, fx.Node) or other not in fused:
        return None
    return other if all(user is node or user in fused for user in other.users) else None
