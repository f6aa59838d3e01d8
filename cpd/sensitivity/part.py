"""The part of a cut network that does other work than the dense one: all that a cut can save or cost time in.

A cut leaves most operators what they were: the same kernels on as many elements. From the first operator that differs
to the last, a stretch is left that can be timed by itself, in both networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Interpreter, Node

from cpd.measure.latency import evaluating
from cpd.sensitivity.walk import Walker

Work = tuple[str, ...]  # per operator, in graph order: what it is called with, values by their shapes


@dataclass(frozen=True, eq=False)
class Part:
    """A stretch of a network's operators as a network of its own.

    Attributes:
        module: takes what the stretch reads, in the order of `reads`, and returns what is read behind it.
        reads: positions of what it reads among the network's inputs and operators; the stretch begins behind them.
        changes: which of those it changes in place.
    """

    module: nn.Module
    reads: tuple[int, ...]
    changes: tuple[bool, ...]

    def arguments(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """`values` of `reads`, those that the stretch changes copied."""
        pairs = zip(values, self.changes, strict=True)
        return tuple(v.clone() if changes and isinstance(v, Tensor) else v for v, changes in pairs)


def work(network: GraphModule, inputs: tuple[Tensor, ...]) -> Work:
    """What every operator of a network does with such inputs, in words.

    Operators with one description run the same kernel on the same shapes, in the same order of memory.
    """
    recorder = _Recorder(network)
    with torch.no_grad(), evaluating(network):
        recorder.run(*inputs)
    return tuple(recorder.seen)


def alike(one: Sequence[str], other: Sequence[str]) -> tuple[int, int]:
    """How many operators do the same in both at the beginning, and behind that at the end."""
    shorter = min(len(one), len(other))
    before = next((i for i in range(shorter) if one[i] != other[i]), shorter)
    behind = next((i for i in range(shorter - before) if one[-1 - i] != other[-1 - i]), shorter - before)
    return before, behind


def part(network: Walker, before: int, behind: int) -> Part:
    """The operators of a network without the first `before` and the last `behind` ones."""
    operators = [node for node in network.nodes if node.op == "call_function"]
    stretch = operators[before : len(operators) - behind]
    inside = set(stretch)
    later = {read for node in operators[len(operators) - behind :] for read in node.all_input_nodes}
    later |= set(network.output.all_input_nodes)
    given = {read: None for node in stretch for read in node.all_input_nodes if read not in inside}
    reads = [node for node in given if node.op != "get_attr"]
    graph = Graph()
    copies: dict[Node, Node] = {node: graph.placeholder(node.name) for node in reads}
    for node in given:
        if node.op == "get_attr":
            copies[node] = graph.get_attr(str(node.target))
    for node in stretch:
        copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in stretch if node in later))
    changed = network.changed_roots(stretch)
    return Part(
        GraphModule(network.module, graph),
        tuple(network.at[node] for node in reads),
        tuple(network.roots[node] in changed for node in reads),
    )


class _Recorder(Interpreter):
    def __init__(self, network: GraphModule) -> None:
        super().__init__(network)
        self.seen: list[str] = []

    def run_node(self, n: Node) -> Any:
        if n.op == "call_function":
            arguments, named = self.fetch_args_kwargs_from_env(n)
            self.seen.append(f"{n.target} {_described(arguments)} {_described(named)}")
        return super().run_node(n)


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        strides = value.stride()
        return tuple(value.shape), tuple(sorted(range(value.ndim), key=lambda axis: -strides[axis]))
    if isinstance(value, (list, tuple)):
        return [_described(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _described(item) for name, item in value.items()}
    return value
