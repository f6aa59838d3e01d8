"""Convolutions: plain, grouped, depthwise and transposed.

Weight of a convolution: (out, in / groups, *kernel); of a transposed one: (in, out / groups, *kernel). With groups the
channels form a box (groups, channels a group) on both sides. All groups share the columns of the weight, so inside a
group what leaves is one column with its channel in every group; a whole group leaves with its input and its output
channels. A depthwise convolution is the case of one channel a group.

Source: torch docs of Conv2d and ConvTranspose2d.
"""

from __future__ import annotations

from torch.fx import Node

from cpd.comb.flow import Call, Flow, Labels
from cpd.comb.labels import Label
from cpd.comb.rules.registry import Cutting, Unruled, rewrite, rule
from cpd.comb.rules.runs import runs_left

_PLAIN = ("conv1d", "conv2d", "conv3d", "convolution")
_TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")


@rule(*_PLAIN)
def convolution(flow: Flow, call: Call) -> Labels:
    """Sums over the input channels (of a group), writes the output channels."""
    if call.get("transposed", False):
        raise Unruled
    x, weight = call["input"], call["weight"]
    lx, lw = flow.of(x), flow.of(weight)
    groups, channels, width = int(call.get("groups", 1)), flow.shape(x)[1], flow.shape(weight)[0]
    _lock_space(flow, call.node, lx, lw)
    out = lw[0]
    inner: Label = lw[1]
    if groups == 1:
        if channels > 1:
            inner = flow.tie(lx[1], lw[1], call.node)
    else:
        _grouped(flow, call.node, lx[1], lw[1], out, groups, channels, width)
    kernel = flow.shape(weight)[2:]
    return _finish(flow, call, out, width, [(n, None) for n in kernel] + [(flow.shape(weight)[1], inner)])


def _grouped(
    flow: Flow, node: Node, x: Label, column: Label, out: Label, groups: int, channels: int, width: int
) -> None:
    where = flow.where(node)
    group_in, within = flow.boxes.split(x, [groups, channels // groups], where)
    group_out, _ = flow.boxes.split(out, [groups, width // groups], f"outputs of {where}")
    flow.tie(group_in, group_out, node)
    if channels > groups:
        flow.tie(within, column, node)  # every group reads the same columns of the weight


@rule(*_TRANSPOSED)
def transposed(flow: Flow, call: Call) -> Labels:
    """The weight's first axis is the input; its second is one group's output channels, shared by all groups."""
    x, weight = call["input"], call["weight"]
    lx, lw = flow.of(x), flow.of(weight)
    groups, channels = int(call.get("groups", 1)), flow.shape(x)[1]
    _lock_space(flow, call.node, lx, lw)
    inner = flow.tie(lx[1], lw[0], call.node) if channels > 1 else None
    out, per_group = lw[1], flow.shape(weight)[1]
    if groups > 1:
        group_in, _ = flow.boxes.split(inner, [groups, channels // groups], flow.where(call.node))
        out = flow.boxes.merge([(groups, group_in), (per_group, lw[1])], flow.where(call.node))
        if group_in is None:
            flow.lock(lw[1], f"groups of fixed number in {flow.where(call.node)}")
    kernel = flow.shape(weight)[2:]
    # Every input position meets the whole kernel, so the count runs over the input's positions.
    axes = [(flow.shape(x)[0], lx[0]), (channels, inner), (per_group, lw[1])]
    flow.count(call.node, [*axes, *[(n, None) for n in [*kernel, *flow.shape(x)[2:]]]])
    return _result(flow, call, out, per_group * groups)


@rewrite(*_PLAIN, *_TRANSPOSED)
def groups_left(cut: Cutting, call: Call, new: Node) -> None:
    """As many groups as have living channels; one a sample where the batch is folded into them."""
    groups = int(call.get("groups", 1))
    x = cut.axes.of(call["input"])[1]
    if groups > 1 and x is not None:
        cut.set(new, "groups", runs_left(cut, x, groups))


def _finish(flow: Flow, call: Call, out: Label, width: int, inner: list[tuple[int, Label]]) -> Labels:
    labels = _result(flow, call, out, width)
    flow.count(call.node, [*zip(flow.shape(call.node), labels, strict=True), *inner])
    return labels


def _result(flow: Flow, call: Call, out: Label, width: int) -> Labels:
    bias, shape = call.get("bias"), flow.shape(call.node)
    if isinstance(bias, Node) and width > 1:
        out = flow.tie(out, flow.of(bias)[0], call.node)
    flow.silent[call.node] = flow.silent.get(call["weight"], False) and (bias is None or flow.silent.get(bias, False))
    return [flow.of(call["input"])[0], out if width > 1 else None, *[None] * (len(shape) - 2)]


def _lock_space(flow: Flow, node: Node, x: Labels, weight: Labels) -> None:
    for label in [*x[2:], *weight[2:]]:
        flow.lock(label, f"space or kernel of {flow.where(node)}")
