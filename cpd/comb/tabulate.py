"""The arithmetic of a comb: every size of the network as a count of living atoms (see `record.py`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from cpd.comb.axes import Axes, numbered
from cpd.comb.extract import Extracted
from cpd.comb.flow import Flow, operator_name, origin
from cpd.comb.group import Group, IntArray
from cpd.comb.labels import Label, Varying
from cpd.comb.propagate import Axis
from cpd.comb.record import CombRecord, OperatorCost, Ragged, TensorSize
from cpd.comb.trace import Trace
from cpd.comb.units import Units


class Extents:
    """Distinct labelled axes, each as atom numbers of the record."""

    def __init__(self, number_of: IntArray, roots: IntArray) -> None:
        self._number_of, self._roots = number_of, roots
        self._known: dict[bytes, int] = {}
        self.rows: list[IntArray] = []

    def of(self, label: Label) -> int:
        """Number of the extent of `label`, or -1 where nothing of it can go."""
        if label is None:
            return -1
        row = self._number_of[self._roots[label]]
        if (row < 0).all():
            return -1
        key = row.tobytes()
        if key not in self._known:
            self._known[key] = len(self.rows)
            self.rows.append(row)
        return self._known[key]


def tabulate(
    trace: Trace, flow: Flow, labels: dict[Axis, Label], units: Units, extracted: Extracted, ties: list[Group]
) -> tuple[CombRecord, Axes]:
    """The record of a comb; `ties` are its groups with the operators that hold them.

    Returns:
        The record, and every axis of the graph in its atoms.
    """
    closure = units.closure
    rows = [closure.indices[closure.indptr[r] : closure.indptr[r + 1]] for members in extracted.rows for r in members]
    used = np.unique(np.concatenate(rows)) if rows else np.zeros(0, np.int64)
    number_of = np.full(len(flow.atoms), -1, np.int64)
    number_of[used] = np.arange(len(used))
    extents = Extents(number_of, units.roots)
    with_batch = batch_family(flow, units.roots)
    tensors = []
    for name, tensor in trace.tensors.items():
        shape = tuple(tensor.shape)
        axes = tuple(extents.of(labels.get((name, i))) for i in range(len(shape)))
        tensors.append(TensorSize(name, shape, axes, isinstance(tensor, nn.Parameter)))
    operators = []
    for node, calls in flow.macs.items():
        for axes_of in calls:
            factor, numbers = 1.0, []
            for size, label in _flattened(flow, axes_of):
                extent = extents.of(label)
                batch = label is not None and bool(with_batch[units.roots[label]].any())
                if extent >= 0:
                    numbers.append(extent)
                    factor /= trace.batch if batch else 1
                else:
                    factor *= size / (trace.batch if batch else 1)
            module, _ = origin(node)
            operators.append(OperatorCost(node.name, module, operator_name(node), factor, tuple(numbers)))
    record = CombRecord(
        model=trace.digest,
        groups=tuple(ties),
        atoms=len(used),
        unit_atoms=Ragged.of([number_of[r] for r in rows]),
        extents=Ragged.of(extents.rows),
        tensors=tuple(tensors),
        operators=tuple(operators),
        unknown=tuple(f"{name}: {where}" for name, where in flow.unknown.items()),
    )
    return record, numbered(flow, units.roots, number_of, with_batch)


def _flattened(flow: Flow, axes: list[tuple[int, Any]]) -> list[tuple[int, Label]]:
    """Axes of a count in which a varying label and the axes it varies with became one: heads times their channels is
    the number of living channels of all heads."""
    rest: list[tuple[int, Any]] = [axis for axis in axes if not isinstance(axis[1], Varying)]
    for _, label in axes:
        if isinstance(label, Varying):
            for row in label.context:
                at = next(i for i, (_, other) in enumerate(rest) if flow.boxes.same(other, row))
                del rest[at]
            rest.append((label.atoms.size, label.atoms.reshape(-1)))
    return rest


def batch_family(flow: Flow, roots: IntArray) -> npt.NDArray[np.bool_]:
    """(atoms,) True for the batch's atoms and for everything that boxes merged from them."""
    family = np.zeros(len(roots), bool)
    family[roots[flow.batch]] = True
    owner, owned = flow.atoms.ownership()
    while True:
        grown = owned[family[owner] & ~family[owned]]
        if not len(grown):
            return family
        family[grown] = True
