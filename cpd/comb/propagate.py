"""Labels over a whole graph: every operator's rule in forward order."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.fx import Node

from cpd.comb.flow import Call, Flow, Labels, operator_name
from cpd.comb.labels import Label
from cpd.comb.rules import RULES, Unruled
from cpd.comb.trace import TRAINING, Trace

Axis = tuple[str, int]  # tensor name, axis


def propagate(trace: Trace, forced: set[str] | None = None) -> tuple[Flow, dict[Axis, Label]]:
    """Run the rules over the graph.

    Args:
        forced: splits whose rows must drop the same columns; grows by those that this pass finds.
    Returns:
        The flow with labels of every value, and the labels of every axis of every float tensor in the state_dict.
    """
    flow = Flow(forced=forced if forced is not None else set())
    axes: dict[Axis, Label] = {}
    flow.batch = flow.atoms.new(trace.batch)
    for node in trace.graph.nodes:
        if node.op == "placeholder":
            flow.labels[node] = _input(flow, node, trace)
            flow.silent[node] = True
            flow.given.add(node)
        elif node.op == "get_attr":
            flow.labels[node] = _attribute(flow, node, trace, axes)
        elif node.op == "call_function":
            flow.labels[node] = _call(flow, node)
            sources = [source for source in node.all_input_nodes if flow.is_tensor(source)]
            if sources and flow.given.issuperset(sources):
                flow.given.add(node)
        elif node.op == "output":
            for source in node.all_input_nodes:
                for label in _flat(flow.labels[source]):
                    if not flow.is_batch(label):
                        flow.lock(label, "output of the model")
    flow.boxes.settle()
    return flow, axes


def _input(flow: Flow, node: Node, trace: Trace) -> Labels:
    """The batch on axis 0; nothing else of an input may go."""
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return []
    return [flow.batch if i == 0 and n == trace.batch else None for i, n in enumerate(value.shape)]


def _attribute(flow: Flow, node: Node, trace: Trace, axes: dict[Axis, Label]) -> Labels:
    name = str(node.target)
    if name == TRAINING:
        return []
    if name in trace.tensors:
        tensor = trace.tensors[name]
        if not tensor.is_floating_point():
            return [None] * tensor.ndim
        # Zeroing a unit's slices silences it; running statistics are no parameters and stay as they are.
        flow.silent[node] = isinstance(tensor, torch.nn.Parameter)
        return [axes.setdefault((name, i), flow.atoms.new(n) if n > 1 else None) for i, n in enumerate(tensor.shape)]
    return _table(flow, node, trace.constants[name])


def _table(flow: Flow, node: Node, table: Tensor) -> Labels:
    """A constant: an axis along which it does not vary takes any label, one along which it does must stay."""
    if not table.is_floating_point():
        return [None] * table.ndim
    labels: Labels = []
    for i, n in enumerate(table.shape):
        label = flow.atoms.new(n) if n > 1 else None
        if label is not None and not bool((table == table.narrow(i, 0, 1)).all()):
            flow.lock(label, f"a table computed when the model was built ({tuple(table.shape)}, axis {i})")
        labels.append(label)
    return labels


def _call(flow: Flow, node: Node) -> Any:
    name = operator_name(node)
    try:
        if name not in RULES:
            raise Unruled
        labels = RULES[name](flow, Call(node, name))
        _written_through(flow, node)
        if isinstance(node.meta.get("val"), Tensor):
            return flow.rooted(labels)
        return [flow.rooted(row) for row in labels] if labels and isinstance(labels[0], list) else labels
    except (Unruled, IndexError, KeyError, TypeError, ValueError, AttributeError) as error:
        # One call outside the rules never fails a model: what enters it stays whole, and the report says so.
        return _without_rule(flow, node, name, error)


_VIEWS = frozenset(
    "slice select view reshape flatten unflatten squeeze unsqueeze transpose permute t expand alias narrow".split()
)


def _written_through(flow: Flow, node: Node) -> None:
    """An operator that writes in place changes every value that its argument is a view of."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable or not node.args:
        return
    source: Any = node.args[0]
    while isinstance(source, Node):
        flow.silent[source] = flow.silent.get(source, False) and flow.silent.get(node, False)
        source = source.args[0] if operator_name(source) in _VIEWS and source.args else None


def _without_rule(flow: Flow, node: Node, name: str, error: Exception) -> Any:
    where = flow.where(node)
    detail = "" if isinstance(error, Unruled) else f" ({type(error).__name__}: {error})"
    locked = False
    batch: Label = None
    for source in node.all_input_nodes:
        for i, label in enumerate(_flat(flow.labels.get(source))):
            if flow.is_batch(label):
                batch = label if batch is None and i == 0 else batch
            else:
                flow.lock(label, f"no rule for {where}{detail}")
                locked = True
    if locked or name not in RULES:
        flow.unknown.setdefault(name, f"{where}{detail}")

    def guess(value: Any) -> Labels:
        if not isinstance(value, Tensor):
            return []
        labels: Labels = [None] * value.ndim
        if batch is not None and value.ndim and value.shape[0] == len(batch):
            labels[0] = batch
        return labels

    value = node.meta.get("val")
    return [guess(v) for v in value] if isinstance(value, (tuple, list)) else guess(value)


def _flat(labels: Any) -> list[Any]:
    """All labels of a value or of several values, None left out."""
    if labels is None:
        return []
    result: list[Any] = []
    for label in labels:
        if isinstance(label, list):
            result += _flat(label)
        elif label is not None:
            result.append(label)
    return result
