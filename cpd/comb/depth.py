"""Stochastic depth: identity in eval mode, so a trace would lose it; marked before tracing and put back after.

Source: Huang et al. 2016, arXiv:1603.09382; per sample, scaled by the share that survives, as timm and torchvision do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.fx import Graph, Node

_MARK = torch.ops.aten.feature_alpha_dropout.default  # no vision model traced so far calls it, and it is one node


def stochastic_depth(x: Tensor, p: float, training: bool) -> Tensor:
    """Drop whole samples of `x` (B, ...) with probability `p` while training, and scale the others by 1 / (1 - p)."""
    if not training or p <= 0:
        return x
    survives = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - p)
    return x * survives.div_(1 - p) if p < 1 else x * survives


@contextmanager
def marked(model: nn.Module) -> Iterator[None]:
    """Let every module that drops paths leave a mark in a trace."""
    patched = []
    for module in model.modules():
        p = drop_probability(module)
        if p > 0 and "forward" not in vars(module):
            module.forward = _marking(p)  # type: ignore[method-assign]
            patched.append(module)
    try:
        yield
    finally:
        for module in patched:
            del module.forward


def drop_probability(module: nn.Module) -> float:
    """The probability with which a module drops a sample's path; 0 for any other module.

    There is no common class: libraries write their own, without parameters or children, under names like DropPath,
    SwinDropPath or StochasticDepth.
    """
    name = type(module).__name__.lower()
    if not ("droppath" in name or "stochasticdepth" in name) or any(True for _ in module.children()):
        return 0.0
    p = getattr(module, "drop_prob", getattr(module, "p", 0.0))
    return float(p) if isinstance(p, (int, float)) else 0.0


def restore(graph: Graph, flag: Node) -> None:
    """Turn marks into calls that read the training flag."""
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is _MARK and isinstance(node.args[1], float):
            node.target = stochastic_depth
            node.args = (node.args[0], node.args[1], flag)


def has_marks(graph: Graph) -> bool:
    return any(node.op == "call_function" and node.target is _MARK for node in graph.nodes)


class _marking:
    """A forward that leaves a mark; a class, so that it is copied with the module and compares by value."""

    def __init__(self, p: float) -> None:
        self.p = p

    def __call__(self, x: Tensor) -> Tensor:
        marked_value: Tensor = _MARK(x, self.p, False)
        return marked_value
