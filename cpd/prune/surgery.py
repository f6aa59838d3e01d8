"""Surgery: a comb and a plan -> a smaller module.

The module is the traced graph with every tensor sliced to the positions that live and every number that named a width
rewritten from the labels. It has the dense model's call signature and state_dict names, follows train() and eval(),
takes any batch size, deep-copies, moves and exports like any module. Nothing is masked.
"""

from __future__ import annotations

import copy
import operator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.fx import Graph, GraphModule, Node
from torch.fx.graph import _PyTreeCodeGen, _PyTreeInfo
from torch.utils import _pytree as pytree

from cpd.comb.axes import Axes
from cpd.comb.comb import Comb
from cpd.comb.flow import Call, operator_name
from cpd.comb.labels import Label
from cpd.comb.rules import REWRITES
from cpd.comb.rules.registry import Size
from cpd.prune.cost import CostModel, Keep
from cpd.prune.index import Positions, kept_positions, relative_positions
from cpd.prune.plan import Plan
from cpd.prune.short_paths import shortened
from cpd.prune.slicing import sliced


def prune(model: nn.Module, comb: Comb, plan: Plan) -> nn.Module:
    """Remove from a copy of `model` what `plan` leaves out; `model` is untouched.

    Args:
        comb: of this model or of one with the same architecture.
    Returns:
        A module in the mode (train or eval) of `model`.
    Raises:
        PlanError: the plan was made for another architecture, or cuts a locked group.
    """
    plan.check(comb)
    plan.check_locks(comb)
    return cut(model, comb, plan.keep, kept_positions(comb.record, plan.keep))


def recut(student: nn.Module, comb: Comb, before: Keep, after: Keep) -> nn.Module:
    """Cut a module that was already cut to `before` further down to `after`, with the weights it has now."""
    old, new = kept_positions(comb.record, before), kept_positions(comb.record, after)
    return cut(student, comb, after, relative_positions(old, new))


def cut(source: nn.Module, comb: Comb, keep: Keep, positions: Positions) -> nn.Module:
    """The network that keeps `keep`, its tensors taken from `source` at `positions`."""
    root = _Holder()
    _fill(root, source, comb, positions)
    cutter = _Cutter(comb, keep)
    graph = cutter.graph(root)
    attributes = {node.target: node for node in comb.trace.graph.nodes if node.op == "get_attr"}
    for name, value in comb.trace.constants.items():
        table = sliced(value, [cutter.living(label) for label in comb.axes.of(attributes[name])])
        root.register_buffer(name, _like(table, root), persistent=False)
    for name, value in cutter.numbers.items():
        root.register_buffer(name, _like(value, root), persistent=False)
    pruned = _Pruned(root, graph, type(source).__name__)
    pruned.train(source.training)
    return pruned


class _Holder(nn.Module):
    """A node of the tree of names that the state_dict spells."""


class _Pruned(GraphModule):
    """A graph module that keeps its buffers' persistence when copied."""

    def __init__(self, root: nn.Module, graph: Graph, class_name: str = "Pruned") -> None:
        nn.Module.__init__(self)
        for name, child in root.named_children():
            self.add_module(name, child)
        for name, parameter in root._parameters.items():
            self.register_parameter(name, parameter)
        for name, buffer in root._buffers.items():
            self.register_buffer(name, buffer, persistent=name not in root._non_persistent_buffers_set)
        self.meta: dict[str, Any] = {}
        self.__class__.__name__ = class_name
        graph.on_generate_code(lambda _: shortened)
        self.graph = graph

    def __deepcopy__(self, memo: dict[int, Any]) -> _Pruned:
        root = _Holder()
        for name, child in self.named_children():
            root.add_module(name, copy.deepcopy(child, memo))
        root._parameters = copy.deepcopy(self._parameters, memo)
        root._buffers = copy.deepcopy(self._buffers, memo)
        root._non_persistent_buffers_set = set(self._non_persistent_buffers_set)
        # Children of a GraphModule class share it; each instance has a class of its own, so the copy makes another.
        twin = _Pruned(root, copy.deepcopy(self.graph), type(self).__name__)
        twin.train(self.training)
        return twin


def _fill(root: nn.Module, source: nn.Module, comb: Comb, positions: Positions) -> None:
    """Every parameter and buffer of `source` under its own name; tensors with two names stay one tensor."""
    made: dict[int, Tensor] = {}
    hidden = {
        f"{path}.{leaf}" if path else leaf
        for path, module in source.named_modules()
        for leaf in module._non_persistent_buffers_set
    }
    for name, tensor, trainable in _tensors(source):
        if name in hidden or (name in comb.trace.constants):
            continue
        first = comb.trace.aliases.get(name, name)
        if id(tensor) not in made:
            axes = positions.get(first, ())
            made[id(tensor)] = sliced(tensor.detach(), axes)
            if trainable:
                made[id(tensor)] = nn.Parameter(made[id(tensor)], requires_grad=tensor.requires_grad)
        path, _, leaf = name.rpartition(".")
        owner = _submodule(root, path)
        if trainable:
            owner.register_parameter(leaf, made[id(tensor)])  # type: ignore[arg-type]
        else:
            owner.register_buffer(leaf, made[id(tensor)])


def _tensors(source: nn.Module) -> list[tuple[str, Tensor, bool]]:
    rows = [(n, t, True) for n, t in source.named_parameters(remove_duplicate=False)]
    return rows + [(n, t, False) for n, t in source.named_buffers(remove_duplicate=False)]


def _submodule(root: nn.Module, path: str) -> nn.Module:
    for name in path.split(".") if path else []:
        if name not in root._modules:
            root.add_module(name, _Holder())
        root = root._modules[name]  # type: ignore[assignment]
    return root


def _like(table: Tensor, root: nn.Module) -> Tensor:
    """A table on the device and, where it is floating, in the precision of the network's own tensors."""
    anchor = next((t for t in [*root.parameters(), *root.buffers()] if t.is_floating_point()), table)
    return table.to(anchor.device, anchor.dtype if table.is_floating_point() else table.dtype)


class _Cutter:
    """Copies the dense graph with the numbers that widths appear in rewritten (the `Cutting` of the rules)."""

    def __init__(self, comb: Comb, keep: Keep) -> None:
        self.comb = comb
        self.axes: Axes = comb.axes
        self.numbers: dict[str, Tensor] = {}
        self._alive = comb.axes.alive(CostModel(comb.record).dead(keep))
        self._cache: dict[int, tuple[npt.NDArray[np.int64], tuple[npt.NDArray[np.bool_], bool, bool]]] = {}
        self._batch_node: Node | None = None
        self._new: dict[Node, Node] = {}

    # What rewrites ask

    def alive(self, label: Label) -> npt.NDArray[np.bool_]:
        assert label is not None
        return self._state(label)[0]

    def is_cut(self, label: Label) -> bool:
        return label is not None and self._state(label)[1]

    def living(self, label: Label) -> npt.NDArray[np.int64] | None:
        return np.flatnonzero(self.alive(label)) if label is not None and self.is_cut(label) else None

    def size(self, label: Label, dense: int) -> Size:
        if label is None:
            return dense
        alive, _, batch = self._state(label)
        if alive.ndim > 1:  # living rows are equally long
            return int(alive.sum(-1).max())
        count = int(alive.sum())
        if not batch:
            return count
        per_sample = count // self.comb.trace.batch
        node = self._batch_size()
        return node if per_sample == 1 else self._graph.call_function(operator.mul, (node, per_sample))

    def set(self, new: Node, name: str, value: Any) -> None:
        schema = new.target._schema.arguments  # type: ignore[union-attr]
        position = next(i for i, a in enumerate(schema) if a.name == name)
        if name in new.kwargs or position >= len(new.args):
            new.kwargs = {**new.kwargs, name: value}
        else:
            new.update_arg(position, value)

    def after(self, new: Node, target: Any, *args: Any) -> Node:
        with self._graph.inserting_after(new):
            result = self._graph.call_function(target, (new, *args))
        self._replaced[new] = result
        return result

    def constant(self, values: npt.NDArray[np.int64]) -> Node:
        name = f"_positions_{len(self.numbers)}"
        self.numbers[name] = torch.from_numpy(np.ascontiguousarray(values))
        return self._graph.create_node("get_attr", name)

    # Copying

    def graph(self, root: nn.Module) -> Graph:
        """The new graph; `root` already holds the tensors it will read."""
        self._graph = Graph()
        self._replaced: dict[Node, Node] = {}
        dense = self.comb.trace.graph
        self._first_input = next((n for n in dense.nodes if n.op == "placeholder" and _has_batch_axis(n)), None)
        for node in dense.nodes:
            if node.op == "output":
                continue
            copied = self._graph.node_copy(node, lambda n: self._new[n])
            copied.meta = {}
            if node.op == "call_function":
                self._rewrite(node, copied)
            self._new[node] = self._replaced.get(copied, copied)
            self._new[node].meta["dense"] = node.name  # by which the same value is found in the comb's graph
        output = next(n for n in dense.nodes if n.op == "output")
        self._output(output)
        return self._graph

    def _rewrite(self, node: Node, copied: Node) -> None:
        name = operator_name(node)
        if name not in REWRITES:
            return
        # Sizes that follow the batch are nodes; they must stand before the node that uses them.
        with self._graph.inserting_before(copied):
            REWRITES[name](self, Call(node, name), copied)

    def _batch_size(self) -> Node:
        if self._batch_node is None:
            assert self._first_input is not None
            source = self._new[self._first_input]
            with self._graph.inserting_after(source):
                self._batch_node = self._graph.call_function(torch.ops.aten.sym_size.int, (source, 0))
        return self._batch_node

    def _output(self, node: Node) -> None:
        values = [self._new[a] if isinstance(a, Node) else a for a in node.args[0]]  # type: ignore[union-attr]
        spec_in, spec_out = self.comb.trace.in_spec, self.comb.trace.out_spec
        names = [n.name for n in self._graph.nodes if n.op == "placeholder"]
        plain_in = (
            spec_in.num_leaves == len(names) and spec_in == pytree.tree_flatten((tuple(range(len(names))), {}))[1]
        )
        if plain_in and spec_out == pytree.tree_flatten(0)[1]:
            self._graph.output(values[0])
            return
        self._graph.output(values)
        args = [f"arg_{i}" for i in range(spec_in.children()[0].num_children)] + list(
            spec_in.children()[1].context or []
        )
        self._graph.set_codegen(_PyTreeCodeGen(_PyTreeInfo(args, spec_in, spec_out)))

    def _state(self, label: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.bool_], bool, bool]:
        known = self._cache.get(id(label))  # the label is kept beside its state: an id is only good while it lives
        if known is None:
            alive = self._alive[label]
            state = (alive, not bool(alive.all()), bool(self.axes.batch[label].any()))
            known = self._cache[id(label)] = (label, state)
        return known[1]


def _has_batch_axis(node: Node) -> bool:
    return getattr(node.meta.get("val"), "ndim", 0) > 0
