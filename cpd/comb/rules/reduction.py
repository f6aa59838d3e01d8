"""Operators that reduce an axis. A sum over removed zeros is the sum over what is left; a maximum or softmax is not.

Source: torch docs, "Reduction Ops"; design: the denominator of a mean over a labelled axis keeps its dense value.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import Node

from cpd.comb.axes import Axes
from cpd.comb.flow import Call, Flow, Labels
from cpd.comb.rules.registry import Cutting, Unruled, rewrite, rule


@rule("sum", "mean", "linalg_vector_norm", "norm")
def sums(flow: Flow, call: Call) -> Labels:
    """Zeros do not count, so a labelled axis may be summed over when its removed positions are zero."""
    x = call["self"]
    axes = _axes(flow, call)
    labels = flow.of(x)
    for i in axes:
        flow.need_silence([x], labels[i], call.node)
    if "norm" in call.name and call.get("ord", 2) in (0, float("inf"), float("-inf")):
        for i in axes:
            flow.lock(labels[i], f"a norm that counts zeros in {flow.where(call.node)}")
    flow.silent[call.node] = flow.silent.get(x, False)
    return _kept(flow, call, labels, axes)


@rewrite("mean")
def dense_denominator(cut: Cutting, call: Call, new: Node) -> None:
    """A mean over a labelled axis still divides by the dense number of positions."""
    labels, shape = cut.axes.of(call["self"]), cut.axes.shape(call["self"])
    share = 1.0
    for i in _axes(cut.axes, call):
        if labels[i] is not None and cut.is_cut(labels[i]):
            share *= float(cut.alive(labels[i]).sum()) / shape[i]
    if share != 1.0:
        cut.after(new, torch.ops.aten.mul.Tensor, share)


@rule(
    "amax",
    "amin",
    "var",
    "std",
    "prod",
    "any",
    "all",
    "logsumexp",
    "argmax",
    "argmin",
    "std_mean",
    "var_mean",
    "aminmax",
)
def extremes(flow: Flow, call: Call) -> Any:
    """Zeros would count: the axis must stay."""
    labels, axes = flow.of(call["self"]), _axes(flow, call)
    for i in axes:
        flow.lock(labels[i], f"{flow.where(call.node)} looks at all of them")
    result = _kept(flow, call, labels, axes)
    several = isinstance(call.node.meta["val"], (tuple, list))
    flow.silent[call.node] = call.name in ("amax", "amin") and flow.silent.get(call["self"], False)
    return [list(result) for _ in call.node.meta["val"]] if several else result


@rule("max", "min", "median", "mode", "kthvalue")
def extremes_with_index(flow: Flow, call: Call) -> Any:
    """Along one axis: values and indices. Of two values: element by element. Of everything: a number."""
    if flow.is_tensor(call.get("other")):
        operands = [call["self"], call["other"]]
        flow.silent[call.node] = all(flow.silent.get(o, False) for o in operands)
        return flow.broadcast([(flow.of(o), flow.shape(o)) for o in operands], call.node)
    return extremes(flow, call)


@rule("softmax", "_softmax", "log_softmax", "_log_softmax", "cumsum", "cumprod", "logcumsumexp", "softmin", "normalize")
def along(flow: Flow, call: Call) -> Labels:
    """Every position depends on all others of the axis, zeros included."""
    labels = flow.of(call["self"])
    flow.lock(labels[call["dim"]], f"{flow.where(call.node)} looks at all of them")
    flow.silent[call.node] = call.name.startswith("cum") and flow.silent.get(call["self"], False)
    return labels


@rule("topk", "sort")
def ranked(flow: Flow, call: Call) -> Any:
    """Order along an axis, which must stay."""
    labels = flow.of(call["self"])
    flow.lock(labels[call["dim"]], f"{flow.where(call.node)} looks at all of them")
    labels[call["dim"]] = None
    return [list(labels), list(labels)]


def _axes(values: Flow | Axes, call: Call) -> list[int]:
    rank = len(values.shape(call["self"]))
    axes = call.arguments.get("dim")
    if axes is None or (isinstance(axes, (list, tuple)) and not axes):
        return list(range(rank))
    if isinstance(axes, int):
        axes = [axes]
    if not all(isinstance(d, int) for d in axes):
        raise Unruled
    return sorted(d % rank for d in axes)


def _kept(flow: Flow, call: Call, labels: Labels, axes: list[int]) -> Labels:
    if call.get("keepdim", False):
        return [None if i in axes else label for i, label in enumerate(labels)]
    return [label for i, label in enumerate(labels) if i not in axes]
