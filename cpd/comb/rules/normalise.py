"""Normalisation and dropout: labels pass with the layer's own parameters; statistics run over the units that are left.

Source: torch docs of BatchNorm2d, LayerNorm, GroupNorm, RMSNorm; design: what is evaluated is the cut network.
"""

from __future__ import annotations

from torch.fx import Node

from cpd.comb.flow import Call, Flow, Labels
from cpd.comb.rules.registry import Cutting, rewrite, rule


@rule("batch_norm", "instance_norm")
def batch_norm(flow: Flow, call: Call) -> Labels:
    """One scale, shift, mean and variance a channel (axis 1)."""
    labels = flow.of(call["input"])
    for name in ("weight", "bias", "running_mean", "running_var"):
        if isinstance(call.get(name), Node) and labels[1] is not None:
            labels[1] = flow.tie(labels[1], flow.of(call[name])[0], call.node)
        elif isinstance(call.get(name), Node):
            flow.lock(flow.of(call[name])[0], f"it scales an axis of fixed size in {flow.where(call.node)}")
    # Scale and shift zeroed, a removed channel is zero; without them it is minus mean over deviation.
    affine = isinstance(call.get("weight"), Node) and isinstance(call.get("bias"), Node)
    standardised = call.get("running_mean") is None and flow.silent.get(call["input"], False)
    flow.silent[call.node] = affine or standardised
    return labels


@rule("layer_norm", "rms_norm")
def layer_norm(flow: Flow, call: Call) -> Labels:
    """Statistics over the last axes, one scale and shift a position of them."""
    labels = flow.of(call["input"])
    axes = len(call["normalized_shape"])
    affine = isinstance(call.get("weight"), Node)
    for name in ("weight", "bias"):
        if isinstance(call.get(name), Node):
            for i, own in enumerate(flow.of(call[name])):
                if flow.shape(call[name])[i] > 1:
                    labels[i - axes] = flow.tie(labels[i - axes], own, call.node)
    flow.silent[call.node] = affine or flow.silent.get(call["input"], False)
    if flow.removable(labels[:-axes]):  # a removed row is normalised too and still gets the shift
        flow.silent[call.node] = call.get("bias") is None and flow.silent.get(call["input"], False)
    if not affine:  # which positions left is read off the values, and those must say so
        for label in labels[-axes:]:
            flow.need_silence([call["input"]], label, call.node)
    return labels


@rewrite("layer_norm", "rms_norm")
def shape_left(cut: Cutting, call: Call, new: Node) -> None:
    """The normalised shape is that of the units left."""
    axes, labels, shape = len(call["normalized_shape"]), cut.axes.of(call["input"]), cut.axes.shape(call["input"])
    cut.set(new, "normalized_shape", [cut.size(labels[i - axes], shape[i - axes]) for i in range(axes)])


@rule("group_norm")
def group_norm(flow: Flow, call: Call) -> Labels:
    """Statistics over the channels of a group; groups are as many as before, or leave whole."""
    labels, channels, groups = flow.of(call["input"]), flow.shape(call["input"])[1], int(call["num_groups"])
    for name in ("weight", "bias"):
        if isinstance(call.get(name), Node):
            labels[1] = flow.tie(labels[1], flow.of(call[name])[0], call.node)
    if groups > 1:
        flow.boxes.split(labels[1], [groups, channels // groups], flow.where(call.node))
    flow.silent[call.node] = isinstance(call.get("weight"), Node) and isinstance(call.get("bias"), Node)
    return labels


@rewrite("group_norm")
def norm_groups_left(cut: Cutting, call: Call, new: Node) -> None:
    """As many groups as have living channels."""
    groups, label = int(call["num_groups"]), cut.axes.of(call["input"])[1]
    if groups > 1 and label is not None and cut.is_cut(label):
        cut.set(new, "num_groups", int(cut.alive(label).reshape(groups, -1).any(1).sum()))


@rule("stochastic_depth", "dropout", "feature_dropout", "alpha_dropout", "native_dropout")
def dropout(flow: Flow, call: Call) -> Labels:
    """Zeros stay zeros."""
    x = call.node.args[0]
    flow.silent[call.node] = isinstance(x, Node) and flow.silent.get(x, False)
    return flow.raw(x)
