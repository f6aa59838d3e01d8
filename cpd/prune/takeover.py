"""What a cut removes, the rest takes over: layers that read removed channels are given new weights for those that stay.

A removed channel is often much like a mixture of others. With x_K the channels that a convolution or linear layer goes on
reading and x_R those it loses, on some images and at all positions, C their covariance and m their mean,

    A = C_RK (C_KK + r I)^-1                least squares: x_R is nearest to m_R + A (x_K - m_K)
    W_K <- W_K + W_R A                      so the layer's output changes least
    b   <- b + W_R (m_R - A m_K)

Without a bias the batch norm behind it, if there is one, has its running mean lowered by as much instead; without either C
is the second moment and nothing is added. This is the reconstruction of He et al. 2017 (arXiv:1707.06168, section 3.1),
done in closed form by channels: a kernel's positions share A, which then needs channels x channels moments instead of
patches x patches. The ridge r keeps A small where images are few: (1/1000 + channels / positions) of C's mean diagonal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from cpd.comb.flow import Call, operator_name
from cpd.measure.latency import evaluating
from cpd.measure.recalibrate import is_live_norm
from cpd.prune.index import Positions

# By operator the axis of its input that the weight's second axis reads.
_CHANNEL = {"conv1d": 1, "conv2d": 1, "conv3d": 1, "linear": -1}
_WIDEST = 2048  # channels: a linear layer may read a flattened image, whose products would fill the memory
_RIDGE = 1e-3
_MEAN, _TRAINING, _MOMENTUM = 3, 5, 6  # arguments of aten.batch_norm


@dataclass(frozen=True, eq=False)
class Mixture:
    """What takes over from the inputs that a weight loses, float64 on the CPU.

    Attributes:
        kept, gone: positions along the weight's second axis.
        weights: (gone, kept), A above.
        offset: (gone,) m_R - A m_K, zeros where nothing can hold it.
        holder: the bias that it is added to, or the running mean that it is taken from; "" for neither.
        sign: 1 for a bias, -1 for a running mean.
    """

    kept: Tensor
    gone: Tensor
    weights: Tensor
    offset: Tensor
    holder: str = ""
    sign: float = 1.0


def mixtures(network: GraphModule, positions: Positions, batches: Iterable[Tensor]) -> dict[str, Mixture]:
    """For every weight that is about to lose inputs: the lost ones, told by those that stay.

    Grouped and transposed convolutions are left out, and weights that something else uses, too, such as an embedding
    that is also the head. Batch norm sees the batch's own statistics, as in training; nothing of the network changes.

    Args:
        network: as `cpd.prune` gives it, before the cut.
        positions: per tensor and axis what the cut leaves, see `cpd.prune.index.relative_positions`.
        batches: images on the network's device.
    """
    readers = {node: name for node, name in _readers(network).items() if _loses(network, name, positions)}
    if not readers:
        return {}
    seen = _Moments(network, readers)
    with torch.no_grad(), evaluating(network):
        for images in batches:
            seen.run(images)
    holders = _holders(readers)
    return {
        name: _mixture(seen, name, torch.as_tensor(positions[name][1]), *holders.get(name, ("", 1.0)))
        for name in seen.products
    }


def take_over(module: nn.Module, found: Mapping[str, Mixture]) -> None:
    """Give the inputs that stay the weights that make up for the others; the weights of those are left for surgery."""
    tensors = dict(module.named_parameters(remove_duplicate=False)) | dict(module.named_buffers(remove_duplicate=False))
    with torch.no_grad():
        for name, mixture in found.items():
            weight = tensors[name]
            wide = weight.detach().double().cpu()
            lost = wide[:, mixture.gone]
            wide[:, mixture.kept] += torch.einsum("og...,gk->ok...", lost, mixture.weights)
            weight.copy_(wide)
            if mixture.holder:
                moved = lost.flatten(2).sum(2) @ mixture.offset if lost.dim() > 2 else lost @ mixture.offset
                held = tensors[mixture.holder]
                held.copy_(held.double().cpu() + mixture.sign * moved)


def _readers(network: GraphModule) -> dict[Node, str]:
    """Operators that read channels through a weight of their own, by that weight's name."""
    found: dict[Node, str] = {}
    spoilt: set[str] = set()
    for node in network.graph.nodes:
        if node.op != "get_attr":
            continue
        for user in node.users:
            call = Call(user, operator_name(user)) if user.op == "call_function" else None
            reads = call is not None and call.name in _CHANNEL and call["weight"] is node and call["input"] is not node
            if reads and call is not None and call.get("groups", 1) == 1:
                found[user] = str(node.target)
            else:
                spoilt.add(str(node.target))
    return {node: name for node, name in found.items() if name not in spoilt}


def _holders(readers: Mapping[Node, str]) -> dict[str, tuple[str, float]]:
    """By weight what can hold a constant for it and nothing else, and its sign."""
    found: dict[str, tuple[str, float]] = {}
    for node, name in readers.items():
        bias, users = Call(node, operator_name(node)).get("bias"), list(node.users)
        if list(readers.values()).count(name) > 1:
            continue
        if isinstance(bias, Node) and bias.op == "get_attr" and len(bias.users) == 1:
            found[name] = (str(bias.target), 1.0)
        elif bias is None and len(users) == 1 and is_live_norm(users[0]) and users[0].args[0] is node:
            mean = users[0].args[_MEAN]
            if isinstance(mean, Node) and len(mean.users) == 1:
                found[name] = (str(mean.target), -1.0)
    return found


def _loses(network: GraphModule, name: str, positions: Positions) -> bool:
    axes = positions.get(name, ())
    return len(axes) > 1 and axes[1] is not None and network.get_parameter(name).shape[1] <= _WIDEST


class _Moments(Interpreter):
    """Sums of the channels that weights read and of their products, over images and positions."""

    def __init__(self, network: GraphModule, readers: Mapping[Node, str]) -> None:
        super().__init__(network)
        self.readers = readers
        self.products: dict[str, Tensor] = {}
        self.sums: dict[str, Tensor] = {}
        self.count: dict[str, int] = {}

    def run_node(self, n: Node) -> Any:
        if n in self.readers:
            name, call = self.readers[n], Call(n, operator_name(n))
            x: Tensor = self.env[call["input"]]
            rows = x.detach().movedim(_CHANNEL[call.name], 0).flatten(1).float()  # (channels, images and positions)
            self.products[name] = self.products.get(name, 0.0) + (rows @ rows.T).cpu().double()
            self.sums[name] = self.sums.get(name, 0.0) + rows.sum(1).cpu().double()
            self.count[name] = self.count.get(name, 0) + rows.shape[1]
        if is_live_norm(n):
            arguments = list(self.fetch_args_kwargs_from_env(n)[0])
            arguments[_TRAINING], arguments[_MOMENTUM] = True, 0.0  # the running statistics stay as they are
            return n.target(*arguments)  # type: ignore[operator]  # an operator: is_live_norm
        return super().run_node(n)


def _mixture(seen: _Moments, name: str, kept: Tensor, holder: str, sign: float) -> Mixture:
    count = seen.count[name]
    moments, mean = seen.products[name] / count, seen.sums[name] / count
    if holder:
        moments = moments - mean[:, None] * mean
    stays = torch.zeros(len(moments), dtype=torch.bool)
    stays[kept] = True
    gone = torch.nonzero(~stays)[:, 0]
    among = moments[kept][:, kept]
    ridge = (_RIDGE + len(kept) / count) * among.diagonal().mean() + 1e-12
    among = among + ridge * torch.eye(len(kept), dtype=among.dtype)
    weights = torch.linalg.solve(among, moments[kept][:, gone]).T
    offset = mean[gone] - weights @ mean[kept] if holder else torch.zeros(len(gone), dtype=torch.float64)
    return Mixture(kept, gone, weights, offset, holder, sign)
