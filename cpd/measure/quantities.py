"""What every operator of a traced graph writes, reads and multiplies, as products of axes that plans change.

The same arithmetic as the record's MACs (`cpd.comb.tabulate`), for all operators: norms, activations and copies take
time too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.fx import Node

from cpd.comb.axes import BATCH, FIXED
from cpd.comb.comb import Comb
from cpd.comb.flow import operator_name, origin
from cpd.comb.group import IntArray
from cpd.comb.record import Ragged


@dataclass(frozen=True)
class Product:
    """A number of elements: `constant` times the living sizes of `extents`."""

    constant: float
    extents: tuple[int, ...]


@dataclass(frozen=True)
class Quantities:
    """One operator call, for one batch.

    Attributes:
        writes, reads, weighs: elements of its results, of the values it is given, of the parameters among them.
        macs: multiply-accumulates.
        target: the operator itself, by its full name.
        key: names what it is called with, widths included: calls of equal keys take the same time.
    """

    name: str  # graph node
    module: str
    kind: str
    target: str
    writes: tuple[Product, ...]
    reads: tuple[Product, ...]
    weighs: tuple[Product, ...]
    macs: tuple[Product, ...]
    key: str


@dataclass(frozen=True)
class Inventory:
    """All operators of a graph in its order, and the axes that their products name.

    Attributes:
        extents: atoms of every extent; the first of them are the record's.
        known: how many are the record's.
    """

    operators: tuple[Quantities, ...]
    extents: tuple[npt.NDArray[np.int64], ...]
    known: int

    def sizes(self, dead: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """(extents,) living size of every extent; `dead` is as in `CostModel`."""
        rows = Ragged.of(self.extents)
        if not len(rows):
            return np.zeros(0)
        atoms = np.where(rows.values < 0, len(dead) - 1, rows.values)
        return np.add.reduceat((~dead)[atoms].astype(np.float64), rows.start[:-1])


def take_inventory(comb: Comb, batch: int) -> Inventory:
    """What the operators of a combed model handle at a batch size."""
    return _Inventory(comb, batch).taken()


class _Inventory:
    def __init__(self, comb: Comb, batch: int) -> None:
        self.comb, self.batch = comb, batch
        self.scale = batch / comb.trace.batch
        record = comb.record.extents
        self.extents: list[IntArray] = [record.row(i) for i in range(len(record))]
        self.known = {row.tobytes(): i for i, row in enumerate(self.extents)}
        self.of_record = len(self.extents)
        self.macs: dict[str, list[Product]] = {}
        for row in comb.record.operators:
            self.macs.setdefault(row.name, []).append(Product(row.factor * batch, row.extents))

    def taken(self) -> Inventory:
        rows = [self._operator(node) for node in self.comb.trace.graph.nodes if node.op == "call_function"]
        return Inventory(tuple(rows), tuple(self.extents), self.of_record)

    def _operator(self, node: Node) -> Quantities:
        given = [a for a in node.all_input_nodes if isinstance(a.meta.get("val"), Tensor)]
        shapes = [tuple(a.meta["val"].shape) for a in given]
        plain = [a for a in node.args if not isinstance(a, Node)]
        module, _ = origin(node)
        return Quantities(
            name=node.name,
            module=module,
            kind=operator_name(node),
            target=str(node.target),
            writes=tuple(self._elements(node)),
            reads=tuple(p for a in given if a.op != "get_attr" for p in self._elements(a)),
            weighs=tuple(p for a in given if a.op == "get_attr" for p in self._elements(a)),
            macs=tuple(self.macs.get(node.name, ())),
            key=f"{node.target} {shapes} {plain} {sorted(node.kwargs.items(), key=str)} x{self.scale:g}",
        )

    def _elements(self, node: Node) -> Iterable[Product]:
        value, labels = node.meta.get("val"), self.comb.axes.of_node.get(node.name)
        if isinstance(value, Tensor):
            value, labels = [value], [labels]
        if not isinstance(value, (list, tuple)):
            return
        for position, tensor in enumerate(value):
            if isinstance(tensor, Tensor):
                row = labels[position] if labels is not None and position < len(labels) else None
                yield self._product(list(tensor.shape), row if row is not None else [None] * tensor.ndim)

    def _product(self, shape: list[int], labels: list[Any]) -> Product:
        """Elements of one tensor. Where rows keep positions of their own (heads their channels), the living positions of
        all rows are counted, and the axes of the rows are not counted again."""
        axes = list(zip(shape, labels, strict=True))
        for label in [one for one in labels if one is not None and one.ndim > 1]:
            for rows in label.shape[:-1]:
                same = [i for i, (size, other) in enumerate(axes) if size == rows and other is not label]
                same.sort(key=lambda i: axes[i][1] is None or self._follows(axes[i][1]))
                if same:
                    del axes[same[0]]
        constant, numbers = 1.0, []
        for size, label in axes:
            if label is None or (label < 0).all():
                constant *= size if label is None or label.ndim == 1 else label.size
            else:
                numbers.append(self._extent(label.reshape(-1)))
            constant *= self.scale if label is not None and self._follows(label) else 1.0
        return Product(constant, tuple(numbers))

    def _follows(self, label: IntArray) -> bool:
        """Whether an axis grows with the batch."""
        return bool(self.comb.axes.batch[label].any())

    def _extent(self, label: IntArray) -> int:
        atoms = np.where(label == BATCH, FIXED, label)
        number = self.known.setdefault(atoms.tobytes(), len(self.extents))
        if number == len(self.extents):
            self.extents.append(atoms)
        return number
