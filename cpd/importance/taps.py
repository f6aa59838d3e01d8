"""Where units are to be seen: the axes of activations that they own positions of, read from the comb.

The comb knows for every value of the traced graph which positions live and die with which unit. So a tap needs no rule
per layer: channels after a convolution, hidden units behind a linear layer, heads and their channels on their way into
an attention and features that a flatten has spread are all positions on some axis.

Two kinds of places count. What is *written*: the output of an operator that multiplies an activation by a weight. What
is *read*: an activation that such an operator, or a product of two activations, is about to sum over; whatever norms
and nonlinearities do to a unit has been done there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from cpd.comb.axes import Axes
from cpd.comb.comb import Comb
from cpd.comb.flow import Call, operator_name
from cpd.importance.observer import Subject
from cpd.prune.cost import CostModel, Keep


@dataclass(frozen=True, eq=False)
class Tap:
    """Units on one axis of one value.

    Attributes:
        node: the value's name in the comb's graph.
        weight: name of what the operator that writes the value multiplies by; "" where that is no plain weight.
        axes: the axis that units own positions of; before it those that its positions differ along (heads that keep
            channels of their own).
        batch: the axis that holds the samples, None where there is none.
        position, unit: (entries,) living position over `axes`, flattened, and the row of a unit that owns it; a
            position has an entry for every unit that does (a channel and its head).
    """

    node: str
    weight: str
    axes: tuple[int, ...]
    batch: int | None
    position: Tensor
    unit: Tensor

    def flat(self, value: Tensor) -> Tensor:
        """The value with this tap's positions on its last axis."""
        moved = value.movedim(self.axes, tuple(range(-len(self.axes), 0)))
        return moved.flatten(-len(self.axes))

    def per_unit(self, rows: Tensor, units: int) -> Tensor:
        """(..., positions) -> (..., units) sums over the positions of each unit."""
        zeros = rows.new_zeros(*rows.shape[:-1], units)
        return zeros.index_add_(-1, self.unit.to(rows.device), rows[..., self.position.to(rows.device)])

    def owned(self, units: int) -> Tensor:
        """(units,) positions that each unit owns here."""
        return torch.bincount(self.unit, minlength=units)


def written(comb: Comb, keep: Keep | None = None) -> list[Tap]:
    """Where operators with weights write units that may go, in forward order.

    A depthwise convolution passes units on and writes none.
    """
    finder = _Finder(comb, keep)
    found = []
    for node in finder.contractions:
        weight = finder.weight(node)
        if weight is not None and not _depthwise(node, weight):
            found += finder.taps(node, node)
    return found


def read(comb: Comb, keep: Keep | None = None) -> list[Tap]:
    """What operators that sum read of units, each value once, in forward order."""
    finder = _Finder(comb, keep)
    sources = [a for node in finder.contractions for a in node.all_input_nodes if a in finder.computed]
    return [tap for source in dict.fromkeys(sources) for tap in finder.taps(source, None)]


def graph_of(subject: Subject) -> tuple[GraphModule, dict[str, Node]]:
    """A copy of the model as a graph for any batch size, and its nodes by their names in the comb's graph."""
    from cpd.prune.surgery import recut

    assert subject.comb is not None
    keep = subject.keep or {}
    module = recut(subject.model, subject.comb, keep, keep)
    assert isinstance(module, GraphModule)
    return module, {node.meta["dense"]: node for node in module.graph.nodes if "dense" in node.meta}


class _Finder:
    """The comb's arrays in the form that taps are found with."""

    def __init__(self, comb: Comb, keep: Keep | None) -> None:
        self.axes: Axes = comb.axes
        record = comb.record
        self._alive = comb.axes.alive(CostModel(record).dead(keep or {}))
        rows = record.unit_atoms
        unit = np.repeat(np.arange(len(rows)), np.diff(rows.start))
        free = np.repeat([g.prunable for g in record.groups], [g.width for g in record.groups])
        may_go = free[unit]
        order = np.argsort(rows.values[may_go], kind="stable")
        self._unit = unit[may_go][order]  # units that may go, by the atom that they own
        self._start = np.searchsorted(rows.values[may_go][order], np.arange(record.atoms + 1))
        names = {operator.name for operator in record.operators}
        self.contractions = [n for n in comb.trace.graph.nodes if n.name in names]
        # What follows from the model's inputs: all others are weights, or made of weights.
        self.computed: set[Node] = set()
        for node in comb.trace.graph.nodes:
            if node.op == "placeholder" or (node.op == "call_function" and self.computed & set(node.all_input_nodes)):
                self.computed.add(node)

    def weight(self, node: Node) -> Node | None:
        """What the operator multiplies by, where that is made of weights."""
        arguments = [a for a in node.all_input_nodes if a not in self.computed]
        matrices = [a for a in arguments if getattr(a.meta.get("val"), "ndim", 0) >= 2]
        return matrices[0] if matrices else None

    def taps(self, node: Node, writer: Node | None) -> list[Tap]:
        labels = self.axes.of(node)
        if any(isinstance(label, list) for label in labels):
            return []  # several results: what takes one of them apart is a value of its own
        follows = [label is not None and bool(self.axes.batch[label].any()) for label in labels]
        batch = follows.index(True) if True in follows else None
        weight = self.weight(writer) if writer is not None else None
        name = str(weight.target) if weight is not None and weight.op == "get_attr" else ""
        found = []
        for axis, label in enumerate(labels):
            if label is None or follows[axis]:
                continue
            along = _rows(labels, follows, axis)
            if along is None:
                continue
            position, unit = self._owners(label)
            if len(unit):
                place = torch.from_numpy(position), torch.from_numpy(unit)
                found.append(Tap(node.name, name, (*along, axis), batch, *place))
        return found

    def _owners(self, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Positions that are left of a label, each with every unit that owns it."""
        atoms = label.reshape(-1)[self._alive[label.reshape(-1)]]
        known = np.flatnonzero(atoms >= 0)
        start, stop = self._start[atoms[known]], self._start[atoms[known] + 1]
        count = stop - start
        position = np.repeat(known, count)
        within = np.arange(count.sum()) - np.repeat(count.cumsum() - count, count)
        return position, self._unit[np.repeat(start, count) + within]


def _rows(labels: Sequence[np.ndarray | None], follows: list[bool], axis: int) -> tuple[int, ...] | None:
    """The axes that a label of several rows varies along; None where they are not to be found on this value."""
    label = labels[axis]
    assert label is not None
    found: list[int] = []
    for size in label.shape[:-1]:
        for other, row in enumerate(labels):
            if other not in (axis, *found) and row is not None and not follows[other] and row.shape == (size,):
                found.append(other)
                break
        else:
            return None
    return tuple(found)


def _depthwise(node: Node, weight: Node) -> bool:
    name = operator_name(node)
    groups = int(Call(node, name).get("groups", 1)) if name.startswith("conv") else 1
    return groups > 1 and bool(weight.meta["val"].shape[1] == 1)
