"""Runs some of a traced network's operators on values that are there already."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.node import map_arg

from cpd.measure.recalibrate import is_live_norm

Values = dict[Node, Any]
Norm = Callable[[Node, tuple[Any, ...]], Tensor]

_MAY_RETURN_ITS_INPUT = (
    "dropout",
    "feature_dropout",
    "alpha_dropout",
    "contiguous",
    "to",
    "reshape",
    "flatten",
    "type_as",
)


class Walker:
    """The operators of one graph, by position, and what is needed to run any of them.

    Attributes:
        nodes: placeholders and operators in graph order; attributes are fetched where they are read.
        at: position of each in `nodes`.
    """

    def __init__(self, module: GraphModule) -> None:
        self.module = module
        self.nodes: list[Node] = [n for n in module.graph.nodes if n.op in ("placeholder", "call_function")]
        self.at = {node: i for i, node in enumerate(self.nodes)}
        self.inputs = [node for node in self.nodes if node.op == "placeholder"]
        self.output: Node = next(n for n in module.graph.nodes if n.op == "output")
        self.roots = alias_roots(self.nodes)
        self._attributes: Values = {}

    def attribute(self, node: Node) -> Any:
        """The parameter, buffer or flag that a get_attr node names."""
        if node not in self._attributes:
            path, _, leaf = str(node.target).rpartition(".")
            owner: nn.Module = self.module.get_submodule(path)
            self._attributes[node] = getattr(owner, leaf)
        return self._attributes[node]

    def given(self, images: Tensor) -> Values:
        """Values of the placeholders."""
        return dict(zip(self.inputs, self.module.graph.process_inputs(images), strict=True))

    def run(self, nodes: Sequence[Node], values: Values, norm: Norm | None = None, keep: Iterable[Node] = ()) -> Values:
        """Run `nodes` in their order on top of `values`, which is filled and thinned out on the way.

        Args:
            values: everything that the nodes read and do not compute themselves. Tensors among them that the nodes
                change in place are copied first; those given stay as they are.
            norm: what to do at batch norms whose statistics follow training, instead of using these statistics.
            keep: nodes whose values must still be there afterwards; others go once nothing reads them any more.
        """
        self._make_private(nodes, values)
        last: dict[Node, int] = {}
        for i, node in enumerate(nodes):
            for read in node.all_input_nodes:
                last[read] = i
        staying = set(keep)
        for i, node in enumerate(nodes):
            arguments, named = map_arg((node.args, node.kwargs), lambda n: self._value(n, values))
            if norm is not None and is_live_norm(node):
                values[node] = norm(node, arguments)
            else:
                values[node] = node.target(*arguments, **named)  # type: ignore[operator]
            del arguments, named
            for read in (*node.all_input_nodes, node):
                if last.get(read, i) == i and read not in staying:
                    values.pop(read, None)
        return values

    def result(self, values: Mapping[Node, Any]) -> Any:
        """What the network returns."""
        flat = map_arg(self.output.args[0], lambda n: self._value(n, values))
        return self.module.graph.process_outputs(flat)

    def read_later(self, position: int) -> set[Node]:
        """Nodes before `position` that the network still reads at or after it."""
        later = {read for node in self.nodes[position:] for read in node.all_input_nodes}
        later |= set(self.output.all_input_nodes)
        return {node for node in later if node in self.at and self.at[node] < position}

    def changed_roots(self, nodes: Iterable[Node]) -> set[Node]:
        """Values whose memory the nodes change in place."""
        targets = (changed(node) for node in nodes)
        return {self.roots[target] for target in targets if target is not None and target in self.roots}

    def _value(self, node: Node, values: Mapping[Node, Any]) -> Any:
        return self.attribute(node) if node.op == "get_attr" else values[node]

    def _make_private(self, nodes: Sequence[Node], values: Values) -> None:
        """Copy what the nodes will change in place; values that share memory go on sharing the copy's."""
        roots = self.changed_roots(nodes)
        copies: dict[int, torch.UntypedStorage] = {}
        for node, value in list(values.items()):
            if isinstance(value, Tensor) and self.roots.get(node) in roots:
                memory = value.untyped_storage()
                if memory.data_ptr() not in copies:
                    copies[memory.data_ptr()] = memory.clone()
                fresh = torch.empty(0, dtype=value.dtype, device=value.device)
                values[node] = fresh.set_(
                    copies[memory.data_ptr()], value.storage_offset(), value.size(), value.stride()
                )


def changed(node: Node) -> Node | None:
    """The value that an operator changes in place, None for the many that change none."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return None
    for argument, value in zip(schema.arguments, node.args, strict=False):
        if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, Node):
            return value
    return None


def alias_roots(nodes: Sequence[Node]) -> dict[Node, Node]:
    """Per node the first value whose memory its own may be: views, in-place results and what may be returned as it is."""
    roots: dict[Node, Node] = {}
    for node in nodes:
        source = _source(node)
        roots[node] = roots.get(source, node) if source is not None else node
    return roots


def _source(node: Node) -> Node | None:
    first = next((a for a in node.args if isinstance(a, Node)), None)
    if node.op != "call_function" or first is None or first.op == "get_attr":
        return None
    if node.target is operator.getitem:
        return first
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return None
    if any(value.alias_info is not None for value in schema.returns):
        return first
    return first if schema.name.removeprefix("aten::") in _MAY_RETURN_ITS_INPUT else None
